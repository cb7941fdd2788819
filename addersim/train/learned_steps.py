"""Steps that training may move: which edges have one, and the parameter that stands for it."""

from __future__ import annotations

import math

import torch
from torch import nn

from addersim.network.node import Node
from addersim.network.quantized import QuantizedNetwork
from addersim.quantization.fuse import role
from addersim.quantization.requantize import Layout


def learnable(plan: Layout) -> list[str]:
    """Return the rounded edges whose steps can be learned: somebody computes with them, and they are not tied."""
    tied = plan.choices.output_stage != "multiplier_shift"
    found = []
    for name in [node.name for node in plan.qnet.nodes if node.stage is not None and not node.unrounded]:
        roles = [role(node) for node in _readers(plan.qnet, name)]
        power_of_two = math.frexp(plan.formats[name].step)[0] == 0.5
        if roles and "join" not in roles and not (tied and power_of_two):
            found.append(name)
    return found


def _readers(qnet: QuantizedNetwork, name: str) -> list[Node]:
    """Return the nodes that compute with an edge, behind those that move its codes; concatenations too."""
    found = []
    for node in qnet.consumers(name):
        found += [node] if node.stage is not None or role(node) == "join" else _readers(qnet, node.name)
    return found


def logarithm(value: float) -> nn.Parameter:
    """Return the logarithm of a step: whatever moves it, the step stays positive."""
    return nn.Parameter(torch.tensor(math.log(value), dtype=torch.float64))
