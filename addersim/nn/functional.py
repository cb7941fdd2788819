"""The adder operations of PyTorch: ``y = -sum |x - w|`` with the gradients of AdderNet.

Source: Chen et al., "AdderNet: Do We Really Need Multiplications in Deep Learning?", CVPR 2020, eqs. 2, 5
and 6; ``adder.py`` of huawei-noah/AdderNet. The operations are registered as ``addersim::adder_conv2d`` and
``addersim::adder_linear``, so that ``torch.export`` and ``torch.compile`` see one node each.

The gradients are not the derivatives of ``|x - w|``: ``dL/dw = sum (x - w) gy`` (full precision) and
``dL/dx = sum_k clamp(w - x, -1, 1) gy`` (HardTanh).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import addersim.kernels._native as _native
from addersim.errors import InputError
from addersim.nn import plain
from addersim.nn.plain import Geometry

Ints = Sequence[int]
ONE, ZERO = (1, 1), (0, 0)


def adder_conv2d(
    x: Tensor, w: Tensor, stride: Ints = ONE, padding: Ints = ZERO, dilation: Ints = ONE, groups: int = 1
) -> Tensor:
    """Return ``y[n,k,p,q] = -sum_{c,r,s} |x[n,c,..] - w[k,c,r,s]|``; padded pixels take part with x = 0.

    Parameters
    ----------
    x
        (N, C, H, W), floating point.
    w
        (K, C/groups, R, S), of the same type.
    stride, padding, dilation
        Two integers each, as in :func:`torch.nn.functional.conv2d`.
    groups
        Divides C and K.

    Returns
    -------
    Tensor
        (N, K, P, Q). float32 on the CPU runs on the C loops, anything else in plain PyTorch.

    Raises
    ------
    InputError
        If the shapes or types do not fit together.
    """
    y: Tensor = _conv2d(x, w, list(stride), list(padding), list(dilation), groups)
    return y


def adder_linear(x: Tensor, w: Tensor) -> Tensor:
    """Return ``y[..., k] = -sum_c |x[..., c] - w[k, c]|`` for x (..., C) and w (K, C).

    Raises
    ------
    InputError
        If the shapes or types do not fit together.
    """
    y: Tensor = _linear(x, w)
    return y


def _geometry(x: Tensor, w: Tensor, stride: Ints, padding: Ints, dilation: Ints, groups: int) -> Geometry:
    """Return the geometry, after checking everything the C loops rely on."""
    if x.dim() != 4 or w.dim() != 4:
        raise InputError(f"adder_conv2d: x has {x.dim()} axes and w {w.dim()}, expected N C H W and K C R S")
    if groups < 1 or x.shape[1] != w.shape[1] * groups or w.shape[0] % groups:
        raise InputError(f"adder_conv2d: x {tuple(x.shape)}, w {tuple(w.shape)}, groups={groups} do not fit together")
    if x.dtype != w.dtype or x.device != w.device or not x.dtype.is_floating_point:
        raise InputError(f"adder_conv2d: x is {x.dtype} on {x.device}, w {w.dtype} on {w.device}; they must agree")
    for name, pair, least in (("stride", stride, 1), ("padding", padding, 0), ("dilation", dilation, 1)):
        if len(pair) != 2 or min(pair) < least:
            raise InputError(f"adder_conv2d: {name} is {list(pair)}, expected two integers >= {least}")
    how = Geometry((stride[0], stride[1]), (padding[0], padding[1]), (dilation[0], dilation[1]), groups)
    if min(how.output_size(x, w)) < 1:
        raise InputError(f"adder_conv2d: the kernel of w {tuple(w.shape)} is larger than x {tuple(x.shape)}")
    return how


def _fast(*tensors: Tensor) -> bool:
    return all(t.dtype == torch.float32 and t.device.type == "cpu" for t in tensors)


def _arrays(*tensors: Tensor) -> tuple[NDArray[np.float32], ...]:
    return tuple(t.contiguous().numpy() for t in tensors)


@torch.library.custom_op(
    "addersim::adder_conv2d",
    mutates_args=(),
    schema="(Tensor x, Tensor w, int[] stride, int[] padding, int[] dilation, int groups) -> Tensor",
)
def _conv2d(x: Tensor, w: Tensor, stride: Ints, padding: Ints, dilation: Ints, groups: int) -> Tensor:
    how = _geometry(x, w, stride, padding, dilation, groups)
    if not _fast(x, w):
        return plain.forward(x, w, how)
    y = x.new_empty(x.shape[0], w.shape[0], *how.output_size(x, w))
    _native.adder_forward(*_arrays(x, w, y), how.stride, how.padding, how.dilation, groups)
    return y


@_conv2d.register_fake
def _(x: Tensor, w: Tensor, stride: Ints, padding: Ints, dilation: Ints, groups: int) -> Tensor:
    how = _geometry(x, w, stride, padding, dilation, groups)
    return x.new_empty(x.shape[0], w.shape[0], *how.output_size(x, w))


@torch.library.custom_op(
    "addersim::adder_conv2d_input_grad",
    mutates_args=(),
    schema="(Tensor gy, Tensor x, Tensor w, int[] stride, int[] padding, int[] dilation, int groups) -> Tensor",
)
def _conv2d_input_grad(
    gy: Tensor, x: Tensor, w: Tensor, stride: Ints, padding: Ints, dilation: Ints, groups: int
) -> Tensor:
    how = _geometry(x, w, stride, padding, dilation, groups)
    if not _fast(gy, x, w):
        return plain.input_grad(gy, x, w, how)
    gx = x.new_empty(x.shape)
    _native.adder_input_grad(*_arrays(x, w, gy, gx), how.stride, how.padding, how.dilation, groups)
    return gx


@_conv2d_input_grad.register_fake
def _(_gy: Tensor, x: Tensor, *_: object) -> Tensor:
    return x.new_empty(x.shape)


def _conv2d_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, w, *ctx.geometry = inputs
    ctx.save_for_backward(x, w)


def _conv2d_backward(ctx: Any, gy: Tensor) -> tuple[Tensor | None, ...]:
    """Eq. 6 for x. For w, ``sum (x - w) gy`` is a convolution's weight gradient minus ``w * sum gy``."""
    x, w = ctx.saved_tensors
    gx = gw = None
    if ctx.needs_input_grad[0]:
        gx = _conv2d_input_grad(gy, x, w, *ctx.geometry)
    if ctx.needs_input_grad[1]:
        stride, padding, dilation, groups = ctx.geometry
        only_w = [False, True, False]
        _, product, _ = torch.ops.aten.convolution_backward(
            gy, x, w, None, stride, padding, dilation, False, [0, 0], groups, only_w
        )
        gw = product - w * gy.sum((0, 2, 3))[:, None, None, None]
    return gx, gw, None, None, None, None


_conv2d.register_autograd(_conv2d_backward, setup_context=_conv2d_setup)


def _as_images(rows: Tensor) -> Tensor:
    """Return (..., C) as images of one pixel, (N, C, 1, 1)."""
    return rows.reshape(-1, rows.shape[-1], 1, 1)


def _check_linear(x: Tensor, w: Tensor) -> None:
    if w.dim() != 2 or x.dim() < 1 or x.shape[-1] != w.shape[1]:
        raise InputError(f"adder_linear: x {tuple(x.shape)} and w {tuple(w.shape)}, expected (..., C) and (K, C)")


@torch.library.custom_op("addersim::adder_linear", mutates_args=(), schema="(Tensor x, Tensor w) -> Tensor")
def _linear(x: Tensor, w: Tensor) -> Tensor:
    _check_linear(x, w)
    y: Tensor = _conv2d(_as_images(x), w[:, :, None, None], ONE, ZERO, ONE, 1)
    return y.reshape(*x.shape[:-1], w.shape[0])


@_linear.register_fake
def _(x: Tensor, w: Tensor) -> Tensor:
    _check_linear(x, w)
    return x.new_empty(*x.shape[:-1], w.shape[0])


@torch.library.custom_op(
    "addersim::adder_linear_input_grad", mutates_args=(), schema="(Tensor gy, Tensor x, Tensor w) -> Tensor"
)
def _linear_input_grad(gy: Tensor, x: Tensor, w: Tensor) -> Tensor:
    gx: Tensor = _conv2d_input_grad(_as_images(gy), _as_images(x), w[:, :, None, None], ONE, ZERO, ONE, 1)
    return gx.reshape(x.shape)


@_linear_input_grad.register_fake
def _(_gy: Tensor, x: Tensor, *_: object) -> Tensor:
    return x.new_empty(x.shape)


def _linear_setup(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _linear_backward(ctx: Any, gy: Tensor) -> tuple[Tensor | None, Tensor | None]:
    x, w = ctx.saved_tensors
    gx = gw = None
    if ctx.needs_input_grad[0]:
        gx = _linear_input_grad(gy, x, w)
    if ctx.needs_input_grad[1]:
        rows = gy.reshape(-1, w.shape[0])
        gw = rows.t() @ x.reshape(-1, w.shape[1]) - w * rows.sum(0)[:, None]
    return gx, gw


_linear.register_autograd(_linear_backward, setup_context=_linear_setup)
