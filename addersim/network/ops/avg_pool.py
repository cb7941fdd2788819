"""Average pooling as an exact sum: no division, no rounding, any window.

The output's integers are the window's sum and its step is the input's divided by the number of pixels, so
the edge is ``ceil(log2(R*S))`` bits wider. Where padded pixels do not count (``count_include_pad=False``)
border windows hold fewer pixels; L is then the least common multiple of the numbers of pixels, a sum over n
pixels is multiplied by ``L / n``, and the step is divided by L: still exact.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any

import numpy as np

from addersim.arithmetic.datapath import Kind
from addersim.arithmetic.fixed import Ints
from addersim.arithmetic.primitives import Count
from addersim.arithmetic.window import Window
from addersim.errors import InputError
from addersim.network.graph import Network
from addersim.network.node import EdgeFormat, Formats, Node, Shape
from addersim.network.ops import (
    OPS,
    Arguments,
    Edge,
    Facts,
    Floats,
    Imported,
    Op,
    counts,
    float_counts,
    pair,
    words,
)
from addersim.network.ops.max_pool import pool_attributes, pool_window


class AvgPool(Op):
    """``torch.nn.AvgPool2d``, ``AdaptiveAvgPool2d`` where it divides, and ``mean`` over both image axes."""

    kind = "avg_pool"
    aten = (
        "aten.avg_pool2d.default",
        "aten.adaptive_avg_pool2d.default",
        "aten._adaptive_avg_pool2d.default",
        "aten.mean.dim",
    )
    role = "sum"

    def from_aten(self, arguments: Arguments) -> Imported:
        x: Edge = arguments["self"]
        if "kernel_size" not in arguments:
            return Imported((x.name,), _whole_windows(x.shape, arguments))
        if arguments.get("divisor_override") is not None:
            raise InputError("divisor_override is not supported: average over the pixels of the window")
        include = bool(arguments.get("count_include_pad", True))
        return Imported((x.name,), {**pool_attributes(arguments), "count_include_pad": include, "squeeze": False})

    def shape(self, node: Node, *shapes: Shape) -> Shape:
        out = (shapes[0][0], *pool_window(node).out_size(*shapes[0][1:]))
        return out[:1] if node.attrs["squeeze"] else out

    def float_run(self, node: Node, *xs: Floats) -> Floats:
        factor_pq, pixels = window_factors(node, xs[0].shape[1:3])
        window = pool_window(node)
        (py, px), (P, Q) = window.padding, factor_pq.shape
        padded = np.pad(xs[0], ((0, 0), (py, py), (px, px), (0, 0)))
        taps = [padded[:, window.rows(r, P), window.columns(s, Q)] for r in range(window.R) for s in range(window.S)]
        y = sum(taps) * (factor_pq[:, :, None] / pixels).astype(xs[0].dtype)
        return np.asarray(y[:, 0, 0, :] if node.attrs["squeeze"] else y)

    def torch_run(self, node: Node, *xs: Any) -> Any:
        import torch

        a, include = node.attrs, node.attrs["count_include_pad"]
        y = torch.nn.functional.avg_pool2d(xs[0], a["kernel"], a["stride"], a["padding"], count_include_pad=include)
        return y[:, :, 0, 0] if a["squeeze"] else y

    def window(self, node: Node) -> Window:
        return pool_window(node)

    def pad_code(self, node: Node, x: EdgeFormat) -> int:
        # A pixel that does not count must add nothing at all, not even the zero point.
        return x.zero_point if node.attrs["count_include_pad"] else 0

    def constants(self, node: Node, *shapes: Shape) -> Mapping[str, Ints]:
        return {"factor_pq": window_factors(node, shapes[0][1:])[0]}

    def fixed_run(self, node: Node, formats: Formats, kernels: ModuleType, *xs: Ints) -> tuple[Ints, Facts]:
        factor_pq, _ = window_factors(node, xs[0].shape[1:3])
        y = kernels.sum_pool(xs[0], pool_window(node), self.pad_code(node, formats[0]), factor_pq)
        return (y[:, 0, 0, :] if node.attrs["squeeze"] else y), Facts()

    def out_format(self, node: Node, x: EdgeFormat, shape: Shape) -> EdgeFormat:
        """Return the format of the exact sum: step / L, zero point * L, ``ceil(log2(L))`` bits more."""
        _, pixels = window_factors(node, shape[1:])
        bits = x.bits + math.ceil(math.log2(pixels))
        return EdgeFormat(bits, x.signed, x.step / pixels, x.zero_point * pixels)

    def primitives(self, node: Node, network: Network, array: Kind | None) -> list[Count]:
        tensor, window = network.tensors[node.name], pool_window(node)
        outputs = words(tensor.shape)
        additions = outputs * (window.R * window.S - 1)
        if tensor.format is None:
            return float_counts(node, "other", additions, "add") + float_counts(node, "other", outputs, "multiply")
        factor_pq, _ = window_factors(node, network.in_shapes(node)[0][1:])
        scaled = outputs if np.any(factor_pq != 1) else 0
        rows = counts(node, "other", additions, ("add", tensor.format.bits))
        return rows + counts(node, "other", scaled, ("multiply", tensor.format.bits, int(factor_pq.max()).bit_length()))

    def examples(self) -> Iterable[tuple[Node, tuple[Shape, ...]]]:
        for kernel, stride, padding, include in ((2, 2, 0, True), (3, 2, 1, True), (3, 2, 1, False)):
            attrs = {"kernel": (kernel,) * 2, "stride": (stride,) * 2, "padding": (padding,) * 2, "dilation": (1, 1)}
            yield (
                Node("layer", self.kind, ("x",), {**attrs, "count_include_pad": include, "squeeze": False}),
                ((3, 7, 6),),
            )


def _whole_windows(shape: Shape, arguments: Arguments) -> dict[str, object]:
    """Return the attributes of adaptive pooling where it divides, or of a mean over height and width."""
    H, W = shape[1:]
    squeeze = False
    if "dim" in arguments:
        if sorted(d % 4 for d in arguments["dim"]) != [2, 3]:
            raise InputError(f"mean over axes {arguments['dim']} is not supported, only over height and width")
        P, Q, squeeze = 1, 1, not arguments.get("keepdim", False)
    else:
        P, Q = pair(arguments["output_size"])
    if H % P or W % Q:
        raise InputError(f"adaptive pooling of {H} x {W} to {P} x {Q} has windows of unequal size")
    kernel = (H // P, W // Q)
    attrs: dict[str, object] = {"kernel": kernel, "stride": kernel, "padding": (0, 0), "dilation": (1, 1)}
    return {**attrs, "count_include_pad": True, "squeeze": squeeze}


def window_factors(node: Node, image: tuple[int, ...]) -> tuple[Ints, int]:
    """Return (factor_pq, L): the sum at (p, q) times its factor, divided by L, is the average there."""
    window = pool_window(node)
    P, Q = window.out_size(*image)
    if node.attrs["count_include_pad"]:
        return np.ones((P, Q), np.int64), window.R * window.S
    (py, px) = window.padding
    inside = np.pad(np.ones(image, np.int64), ((py, py), (px, px)))
    taps = [inside[window.rows(r, P), window.columns(s, Q)] for r in range(window.R) for s in range(window.S)]
    pixels_pq = np.sum(taps, axis=0)
    least = int(np.lcm.reduce(pixels_pq.ravel()))
    return least // pixels_pq, least


OPS.add(AvgPool.kind, AvgPool())
