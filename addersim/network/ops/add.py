"""Residual addition: ``y = a + b``; on integers two products are aligned, added and rounded once.

Each branch arrives as p = t * M_k + A_k with its own shift n_k. The one with the smaller shift moves left by
the difference (exact), then there is one rounding with the larger shift and one clamp, which is also the
rectifier where one follows.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from types import ModuleType

import numpy as np

from addersim.arithmetic.datapath import Kind
from addersim.arithmetic.primitives import Count
from addersim.errors import InputError
from addersim.kernels.plan import AddPlan
from addersim.network.graph import Network
from addersim.network.node import Formats, Node, Shape
from addersim.network.ops import (
    OPS,
    Arguments,
    Edge,
    Floats,
    Imported,
    Op,
    Runner,
    counts,
    float_counts,
    words,
)
from addersim.network.ops.array_layer import finish_counts, pointwise


class Add(Op):
    """``a + b`` of two tensors of one shape."""

    kind = "add"
    aten = ("aten.add.Tensor", "aten.add_.Tensor")
    role = "add"

    def from_aten(self, arguments: Arguments) -> Imported:
        a, b = arguments["self"], arguments["other"]
        if arguments.get("alpha", 1) != 1:
            raise InputError("add with alpha is not supported")
        if isinstance(b, np.ndarray) and b.shape == (a.shape[0], *[1] * (len(a.shape) - 1)):
            return _bias(a, b.reshape(-1))
        if not isinstance(b, Edge):
            raise InputError("add takes two tensors of the network or a bias per channel, no other constant")
        return Imported((a.name, b.name))

    def shape(self, node: Node, *shapes: Shape) -> Shape:
        if shapes[0] != shapes[1]:
            raise InputError(f"add of shapes {shapes[0]} and {shapes[1]}")
        return shapes[0]

    def float_run(self, node: Node, *xs: Floats) -> Floats:
        return np.asarray(xs[0] + xs[1])

    def prepared(self, node: Node, formats: Formats, kernels: ModuleType) -> Runner:
        p, q, out = formats
        stage, (a, b, n) = node.output_stage, (node.params[key] for key in ("shift_a_k", "shift_b_k", "shift_k"))
        low = out.zero_point if stage.relu else out.format.min
        return partial(pointwise, kernels.residual(AddPlan(a, b, n, p.format, q.format, stage, low, out.format.max)))

    def primitives(self, node: Node, network: Network, array: Kind | None) -> list[Count]:
        tensor = network.tensors[node.name]
        outputs = words(tensor.shape)
        if node.stage is None or tensor.format is None:
            return float_counts(node, "other", outputs, "add")
        unequal = np.mean(node.params["shift_a_k"] != node.params["shift_b_k"])
        p = node.stage.product.bits
        rows = counts(node, "other", round(outputs * unequal), ("shift", p)) + counts(
            node, "other", outputs, ("add", p)
        )
        finish = finish_counts(node, node.stage, outputs, tensor.format.bits)
        return rows + [Count(c.layer, "other", c.primitive, c.times) for c in finish]

    def examples(self) -> Iterable[tuple[Node, tuple[Shape, ...]]]:
        yield Node("layer", self.kind, ("x", "x")), ((3, 4, 4),)


def _bias(x: Edge, bias_k: Floats) -> Imported:
    """A bias per channel is a batch norm that only shifts, so it joins the layer in front."""
    ones = np.ones_like(bias_k)
    params = {"gamma_k": ones, "beta_k": bias_k, "mean_k": 0 * ones, "var_k": ones}
    return Imported((x.name,), {"eps": 0.0}, params, "batch_norm")


OPS.add(Add.kind, Add())
