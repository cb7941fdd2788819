"""Adder convolution: ``y[k,p,q] = bias[k] - sum over r,s,c of |x[c,p+r,q+s] - w[k,r,s,c]|``.

Chen et al., AdderNet: Do We Really Need Multiplications in Deep Learning?, CVPR 2020, eq. 2. A padded
pixel is a 0 that takes part: it contributes ``-|0 - w|``.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from addersim.arithmetic.window import Window
from addersim.kernels import _native
from addersim.network.node import Node, Shape
from addersim.network.ops import OPS, Arguments, Floats, Imported
from addersim.network.ops.array_layer import ArrayLayer, patches
from addersim.network.ops.conv2d import window_arguments, window_examples


class AdderConv2d(ArrayLayer):
    """``addersim.nn.AdderConv2d`` with any stride, zero padding, dilation and groups."""

    kind = "adder_conv2d"
    aten = ("addersim.adder_conv2d.default",)
    array = "adder"

    def from_aten(self, arguments: Arguments) -> Imported:
        return window_arguments(arguments, arguments["w"])

    def float_run(self, node: Node, *xs: Floats) -> Floats:
        window, w_krsc = self.window(node), node.params["w_krsc"]
        if xs[0].dtype == w_krsc.dtype == np.float32:
            return np.asarray(node.params.get("bias_k", np.float32(0)) + _compiled(xs[0], w_krsc, window))
        x_npqrsc = patches(xs[0], window)
        parts = [
            l1_distance(x.reshape(*x.shape[:3], -1), w.reshape(len(w), -1))
            for x, w in zip(np.split(x_npqrsc, window.groups, axis=-1), np.split(w_krsc, window.groups), strict=True)
        ]
        return np.asarray(node.params.get("bias_k", 0) - np.concatenate(parts, axis=-1))

    def examples(self) -> Iterable[tuple[Node, tuple[Shape, ...]]]:
        return window_examples(self.kind)


def _compiled(x_nhwc: Floats, w_krsc: Floats, window: Window) -> Floats:
    """Return ``-sum |x - w|`` in float32 from the compiled core, which lays images out as torch does."""
    x_nchw, w_kcrs = (np.ascontiguousarray(np.moveaxis(a, -1, 1)) for a in (x_nhwc, w_krsc))
    y_nkpq = np.empty((len(x_nchw), len(w_krsc), *window.out_size(*x_nchw.shape[2:])), np.float32)
    how = tuple(window.stride), tuple(window.padding), tuple(window.dilation), window.groups
    _native.adder_forward(x_nchw, w_kcrs, y_nkpq, *how)
    return np.ascontiguousarray(np.moveaxis(y_nkpq, 1, -1))


def l1_distance(x: Floats, w_kd: Floats) -> Floats:
    """Return ``sum over d of |x[..., d] - w[k, d]|`` with axis k last; one output channel at a time."""
    out = np.empty((*x.shape[:-1], len(w_kd)), x.dtype)
    for k, w_d in enumerate(w_kd):
        out[..., k] = np.abs(x - w_d).sum(axis=-1)
    return out


OPS.add(AdderConv2d.kind, AdderConv2d())
