"""Max pooling: the largest value of every window; padded pixels never win."""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType
from typing import Any

import numpy as np

from addersim.arithmetic.datapath import Kind
from addersim.arithmetic.fixed import Ints
from addersim.arithmetic.primitives import Count
from addersim.arithmetic.window import Window
from addersim.errors import InputError
from addersim.network.graph import Network
from addersim.network.node import Formats, Node, Shape
from addersim.network.ops import (
    OPS,
    Arguments,
    Facts,
    Floats,
    Imported,
    Op,
    counts,
    float_counts,
    pair,
    words,
)


class MaxPool(Op):
    """``torch.nn.MaxPool2d``; codes keep their format."""

    kind = "max_pool"
    aten = ("aten.max_pool2d.default", "aten.max_pool2d_with_indices.default")

    def from_aten(self, arguments: Arguments) -> Imported:
        return Imported((arguments["self"].name,), pool_attributes(arguments))

    def shape(self, node: Node, *shapes: Shape) -> Shape:
        return (shapes[0][0], *pool_window(node).out_size(*shapes[0][1:]))

    def float_run(self, node: Node, *xs: Floats) -> Floats:
        window = pool_window(node)
        (py, px), (P, Q) = window.padding, window.out_size(xs[0].shape[1], xs[0].shape[2])
        padded = np.pad(xs[0], ((0, 0), (py, py), (px, px), (0, 0)), constant_values=-np.inf)
        taps = [padded[:, window.rows(r, P), window.columns(s, Q)] for r in range(window.R) for s in range(window.S)]
        return np.asarray(np.maximum.reduce(taps))

    def torch_run(self, node: Node, *xs: Any) -> Any:
        import torch

        a = node.attrs
        return torch.nn.functional.max_pool2d(xs[0], a["kernel"], a["stride"], a["padding"], a["dilation"])

    def window(self, node: Node) -> Window:
        return pool_window(node)

    def fixed_run(self, node: Node, formats: Formats, kernels: ModuleType, *xs: Ints) -> tuple[Ints, Facts]:
        return kernels.max_pool(xs[0], pool_window(node)), Facts()

    def primitives(self, node: Node, network: Network, array: Kind | None) -> list[Count]:
        tensor, window = network.tensors[node.name], pool_window(node)
        times = words(tensor.shape) * (window.R * window.S - 1)
        if tensor.format is None:
            return float_counts(node, "other", times, "compare")
        return counts(node, "other", times, ("compare", tensor.format.bits))

    def examples(self) -> Iterable[tuple[Node, tuple[Shape, ...]]]:
        for kernel, stride, padding, dilation in ((2, 2, 0, 1), (3, 2, 1, 1), (2, 1, 1, 2)):
            attrs = {"kernel": (kernel,) * 2, "stride": (stride,) * 2, "padding": (padding,) * 2}
            yield Node("layer", self.kind, ("x",), {**attrs, "dilation": (dilation,) * 2}), ((3, 7, 6),)


def pool_attributes(arguments: Arguments) -> dict[str, tuple[int, int]]:
    """Return kernel, stride, padding and dilation of a pooling layer; refuse windows cut by ``ceil_mode``."""
    if arguments.get("ceil_mode"):
        raise InputError("ceil_mode = True is not supported: it pools windows that the image's edge cuts")
    kernel = pair(arguments["kernel_size"])
    return {
        "kernel": kernel,
        "stride": pair(arguments.get("stride") or kernel),
        "padding": pair(arguments.get("padding", 0)),
        "dilation": pair(arguments.get("dilation", 1)),
    }


def pool_window(node: Node) -> Window:
    """Return the sliding window of a pooling node."""
    (R, S), a = node.attrs["kernel"], node.attrs
    return Window(R, S, a["stride"], a["padding"], a["dilation"])


OPS.add(MaxPool.kind, MaxPool())
