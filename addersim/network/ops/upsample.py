"""Nearest-neighbour upsampling by whole factors. Moves words, computes nothing."""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from addersim.arithmetic.fixed import Ints
from addersim.errors import InputError
from addersim.network.node import Formats, Node, Shape
from addersim.network.ops import OPS, Arguments, Facts, Floats, Imported, Op, pair


class Upsample(Op):
    """``torch.nn.Upsample(mode="nearest")``; attribute ``factors`` is (vertical, horizontal)."""

    kind = "upsample"
    aten = ("aten.upsample_nearest2d.vec", "aten.upsample_nearest2d.default")

    def from_aten(self, arguments: Arguments) -> Imported:
        x = arguments["input"] if "input" in arguments else arguments["self"]
        scales, size = arguments.get("scale_factors"), arguments.get("output_size")
        H, W = x.shape[1:]
        wanted = [size[0] / H, size[1] / W] if size is not None else [float(s) for s in scales or ()]
        if any(f != int(f) for f in wanted):
            raise InputError(f"nearest upsampling by {wanted} is not supported, only by whole factors")
        return Imported((x.name,), {"factors": pair(wanted)})

    def shape(self, node: Node, *shapes: Shape) -> Shape:
        C, H, W = shapes[0]
        return (C, H * node.attrs["factors"][0], W * node.attrs["factors"][1])

    def float_run(self, node: Node, *xs: Floats) -> Floats:
        return _repeat(node, xs[0])

    def torch_run(self, node: Node, *xs: Any) -> Any:
        import torch

        factors = [float(factor) for factor in node.attrs["factors"]]
        return torch.nn.functional.interpolate(xs[0], scale_factor=factors, mode="nearest")

    def fixed_run(self, node: Node, formats: Formats, kernels: ModuleType, *xs: Ints) -> tuple[Ints, Facts]:
        return _repeat(node, xs[0]), Facts()

    def examples(self) -> Iterable[tuple[Node, tuple[Shape, ...]]]:
        yield Node("layer", self.kind, ("x",), {"factors": (2, 3)}), ((3, 4, 4),)


def _repeat(node: Node, x_nhwc: NDArray[Any]) -> NDArray[Any]:
    return np.repeat(np.repeat(x_nhwc, node.attrs["factors"][0], axis=1), node.attrs["factors"][1], axis=2)


OPS.add(Upsample.kind, Upsample())
