"""One pass of images through a network of integers that is made anew on the way, node by node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from addersim.arithmetic.fixed import Ints
from addersim.kernels import native
from addersim.network.node import EdgeFormat, Node, Tensor
from addersim.network.ops import OPS
from addersim.network.quantized import QuantizedNetwork
from addersim.quantization.fuse import Fused
from addersim.quantization.requantize import Layout, renewed

Reals32 = NDArray[np.float32]


@dataclass
class Pass:
    """The nodes so far, and the integers of their edges, channels last, from the simulator's kernels."""

    plan: Layout
    parts: dict[str, Fused]
    nodes: dict[str, Node] = field(default_factory=dict)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    integers: dict[str, Ints] = field(default_factory=dict)

    def begin(self, images: NDArray[Any]) -> EdgeFormat:
        """Turn images, N C H W, into codes; return the input's format."""
        first = self.plan.qnet.nodes[0]
        self.renew(first)
        form = self.form(first.name)
        self.integers[first.name], _ = native.quantise(images, form.step, form.zero_point, form.format)
        return form

    def renew(self, old: Node) -> None:
        """Make a node's integers from the parameters in ``parts``."""
        node, form = renewed(self.plan, self.parts, old, self.nodes, self.tensors)
        self.nodes[old.name] = replace(node, attrs={**node.attrs, "float_edge": old.attrs["float_edge"]})
        self.tensors[old.name] = Tensor(self.plan.qnet.tensors[old.name].shape, form)

    def take(self, old: Node, params: Mapping[str, Reals32]) -> None:
        """Make a layer's integers from other parameters of its batch norm."""
        part = self.parts[old.name]
        assert part.norm is not None
        norm = replace(part.norm, params={**part.norm.params, **params})
        self.parts[old.name] = replace(part, norm=norm)
        self.renew(old)

    def execute(self, name: str) -> None:
        """Run a node."""
        self.integers[name] = self._run(self.nodes[name])

    def centred(self, name: str) -> Ints | None:
        """Return a layer's t, the accumulator less B_k: its output stage with M_k = 1 and A_k = 0. No layer: None."""
        node = self.nodes[name]
        if node.datapath is None or node.stage is None:
            return None
        K = len(node.params["bias_k"])
        plain = {"multiplier_k": np.ones(K, np.int64), "offset_k": np.zeros(K, np.int64)}
        stage = replace(node.stage, product=node.stage.centred, finish=False)
        return self._run(replace(node, stage=stage, params={**node.params, **plain}))

    def statistics(self, name: str, t: Ints) -> tuple[Reals32, Reals32]:
        """Return mean and variance per channel of what an adder layer's batch norm gets; dead channels keep theirs."""
        norm, node = self.parts[name].norm, self.nodes[name]
        assert norm is not None
        var_k, mean_k = (v.numpy() for v in torch.var_mean(torch.from_numpy(t).flatten(0, -2).float(), 0, correction=0))
        step, dead = self.form(node.inputs[0]).step, (node.params["multiplier_k"] == 0) | (var_k == 0)
        found = {"mean_k": norm.params["mean_k"] + step * mean_k, "var_k": step**2 * var_k}
        mean_k, var_k = (np.where(dead, norm.params[key], value).astype(np.float32) for key, value in found.items())
        return mean_k, var_k

    def form(self, name: str) -> EdgeFormat:
        """Return an edge's format."""
        return self.tensors[name].integers

    def network(self) -> QuantizedNetwork:
        """Return the network that was run."""
        return QuantizedNetwork(self.plan.qnet.name, tuple(self.nodes.values()), self.tensors)

    def _run(self, node: Node) -> Ints:
        formats = tuple(self.form(name) for name in (*node.inputs, node.name))
        return OPS[node.kind].prepared(node, formats, native)(*(self.integers[name] for name in node.inputs))[0]
