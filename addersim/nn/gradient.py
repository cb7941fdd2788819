"""The adaptive learning rate of adder layers, as one function between backward and the optimiser's step."""

from __future__ import annotations

import math

import torch
from torch import nn

from addersim.errors import InputError
from addersim.nn.layers import AdderConv2d, AdderLinear


def scale_adder_gradients(module: nn.Module, eta: float) -> None:
    """Scale, in place, the gradient of every adder weight: ``g *= eta * sqrt(k) / max(||g||_2, 1e-12)``.

    k is the number of weights of the layer and the norm runs over the whole layer, so that all layers move by
    the same amount per weight (Chen et al., CVPR 2020, eqs. 12 and 13; huawei-noah/AdderNet adder.py has
    eta = 0.2, the paper's MNIST network 0.1). Call it after ``loss.backward()`` and before
    ``optimiser.step()``: weight decay and momentum act on the scaled gradient. Layers without a gradient are
    left alone.

    Raises
    ------
    InputError
        If ``eta`` is not a positive number.
    """
    if not (math.isfinite(eta) and eta > 0):
        raise InputError(f"eta must be a positive number, got {eta}")
    for layer in module.modules():
        if isinstance(layer, AdderConv2d | AdderLinear) and layer.weight.grad is not None:
            grad = layer.weight.grad
            norm = torch.linalg.vector_norm(grad).clamp_min(1e-12)
            grad.mul_(eta * math.sqrt(grad.numel()) / norm)
