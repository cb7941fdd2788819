"""Multiplier convolution: ``y[k,p,q] = bias[k] + sum over r,s,c of x[c,p+r,q+s] * w[k,r,s,c]``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from addersim.errors import InputError
from addersim.network.node import Node, Shape
from addersim.network.ops import OPS, Arguments, Floats, Imported, pair
from addersim.network.ops.array_layer import ArrayLayer, patches


class Conv2d(ArrayLayer):
    """``torch.nn.Conv2d`` with any stride, zero padding, dilation and groups."""

    kind = "conv2d"
    aten = ("aten.conv2d.default", "aten.convolution.default", "aten.conv2d.padding")
    array = "multiplier"

    def from_aten(self, arguments: Arguments) -> Imported:
        return window_arguments(arguments, arguments["weight"])

    def float_run(self, node: Node, *xs: Floats) -> Floats:
        window, w_krsc = self.window(node), node.params["w_krsc"]
        x_npqrsc = patches(xs[0], window)
        parts = []
        for x, w in zip(np.split(x_npqrsc, window.groups, axis=-1), np.split(w_krsc, window.groups), strict=True):
            parts.append(np.tensordot(x, w, axes=([3, 4, 5], [1, 2, 3])))
        return np.asarray(np.concatenate(parts, axis=-1) + node.params.get("bias_k", 0))

    def examples(self) -> Iterable[tuple[Node, tuple[Shape, ...]]]:
        return window_examples(self.kind)


def window_arguments(arguments: Arguments, weight: Any) -> Imported:
    """Return edges, window and parameters from the arguments of ``conv2d`` or ``adder_conv2d``."""
    if any(arguments.get("output_padding") or ()) or arguments.get("transposed"):
        raise InputError("transposed convolution is not supported")
    dilation = pair(arguments.get("dilation", (1, 1)))
    attrs = {
        "stride": pair(arguments.get("stride", (1, 1))),
        "padding": _padding(arguments.get("padding", (0, 0)), weight.shape[2:], dilation),
        "dilation": dilation,
        "groups": int(arguments.get("groups", 1)),
    }
    params = {"w_krsc": np.ascontiguousarray(weight.transpose(0, 2, 3, 1))}
    if arguments.get("bias") is not None:
        params["bias_k"] = arguments["bias"]
    x = arguments.get("input", arguments.get("x"))
    return Imported((x.name,), attrs, params)


def _padding(stated: Any, kernel: tuple[int, int], dilation: tuple[int, int]) -> tuple[int, int]:
    if stated != "same":
        return pair((0, 0) if stated == "valid" else stated)
    extent = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    if any(e % 2 for e in extent):
        raise InputError("padding 'same' of an even kernel pads one side more; pad explicitly")
    return pair([e // 2 for e in extent])


def window_examples(kind: str) -> Iterable[tuple[Node, tuple[Shape, ...]]]:
    """Yield plain, strided and padded, dilated, grouped and depthwise layers."""
    rng = np.random.default_rng(7)
    cases = [
        (3, 4, 3, 1, 0, 1, 1),
        (4, 6, 3, 2, 1, 1, 1),
        (4, 4, 2, 1, 2, 2, 1),
        (4, 6, 3, 1, 1, 1, 2),
        (4, 4, 3, 1, 1, 1, 4),
    ]
    for i, (C, K, R, stride, padding, dilation, groups) in enumerate(cases):
        attrs = {"stride": (stride,) * 2, "padding": (padding,) * 2, "dilation": (dilation,) * 2, "groups": groups}
        params = {"w_krsc": rng.normal(size=(K, R, R, C // groups)).astype(np.float32)}
        if i % 2:
            params["bias_k"] = rng.normal(size=K).astype(np.float32)
        yield Node("layer", kind, ("x",), attrs, params), ((C, 7, 6),)


OPS.add(Conv2d.kind, Conv2d())
