"""Rectifier: ``y = max(x, 0)``; on integers 0.0 is the zero point.

Behind a layer or a residual addition the quantiser makes it the clamp of the output stage instead.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType
from typing import Any

import numpy as np

from addersim.arithmetic.datapath import Kind
from addersim.arithmetic.fixed import Ints
from addersim.arithmetic.primitives import Count
from addersim.network.graph import Network
from addersim.network.node import Formats, Node, Shape
from addersim.network.ops import OPS, Arguments, Facts, Floats, Imported, Op, counts, float_counts, words


class Relu(Op):
    """``torch.nn.ReLU``."""

    kind = "relu"
    role = "rectifier"
    aten = ("aten.relu.default", "aten.relu_.default")

    def from_aten(self, arguments: Arguments) -> Imported:
        return Imported((arguments["self"].name,))

    def float_run(self, node: Node, *xs: Floats) -> Floats:
        return np.maximum(xs[0], 0)

    def torch_run(self, node: Node, *xs: Any) -> Any:
        return xs[0].relu()

    def fixed_run(self, node: Node, formats: Formats, kernels: ModuleType, *xs: Ints) -> tuple[Ints, Facts]:
        return np.maximum(xs[0], formats[0].zero_point), Facts()

    def primitives(self, node: Node, network: Network, array: Kind | None) -> list[Count]:
        tensor = network.tensors[node.name]
        if tensor.format is None:
            return float_counts(node, "other", words(tensor.shape), "compare")
        return counts(node, "other", words(tensor.shape), ("compare", tensor.format.bits))

    def examples(self) -> Iterable[tuple[Node, tuple[Shape, ...]]]:
        yield Node("layer", self.kind, ("x",)), ((3, 4, 4),)


OPS.add(Relu.kind, Relu())
