"""The registered operations ``addersim::adder_conv2d`` and ``addersim::adder_linear`` with their gradients.

``torch.export`` and ``torch.compile`` see one node each. Sources: see :mod:`addersim.nn.functional`.
"""

from __future__ import annotations

from collections.abc import Sequence

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
WEIGHT_GRADIENTS = ("full", "sign")
TEMPORARY_BYTES = 1 << 24

HOW = "int[] stride, int[] padding, int[] dilation, int groups"
OPTIONS = f'str weight_gradient="full", int temporary_bytes={TEMPORARY_BYTES}'


def _geometry(x: Tensor, w: Tensor, stride: Ints, padding: Ints, dilation: Ints, groups: int) -> Geometry:
    """Return the geometry, after checking everything the C loops rely on."""
    _check_tensors(x, w, groups)
    for name, pair, least in (("stride", stride, 1), ("padding", padding, 0), ("dilation", dilation, 1)):
        if len(pair) != 2 or min(pair) < least:
            raise InputError(f"adder_conv2d: {name} is {list(pair)}, expected two integers >= {least}")
    how = Geometry((stride[0], stride[1]), (padding[0], padding[1]), (dilation[0], dilation[1]), groups)
    if min(how.output_size(x, w)) < 1:
        raise InputError(f"adder_conv2d: the kernel of w {tuple(w.shape)} is larger than x {tuple(x.shape)}")
    return how


def _check_tensors(x: Tensor, w: Tensor, groups: int) -> None:
    if x.dim() != 4 or w.dim() != 4:
        raise InputError(f"adder_conv2d: x has {x.dim()} axes and w {w.dim()}, expected N C H W and K C R S")
    if groups < 1 or x.shape[1] != w.shape[1] * groups or w.shape[0] % groups:
        raise InputError(f"adder_conv2d: x {tuple(x.shape)}, w {tuple(w.shape)}, groups={groups} do not fit together")
    if x.dtype != w.dtype or x.device != w.device or not x.dtype.is_floating_point:
        raise InputError(f"adder_conv2d: x is {x.dtype} on {x.device}, w {w.dtype} on {w.device}; they must agree")


def check_options(weight_gradient: str, temporary_bytes: int) -> None:
    """Raise InputError unless ``weight_gradient`` and ``temporary_bytes`` make sense."""
    if weight_gradient not in WEIGHT_GRADIENTS:
        raise InputError(f"weight_gradient must be 'full' or 'sign', got {weight_gradient!r}")
    if temporary_bytes < 1:
        raise InputError(f"temporary_bytes must be positive, got {temporary_bytes}")


def _wide(*tensors: Tensor) -> list[Tensor]:
    """Return half precision as float32: an adder sum is a large offset plus a small signal, so it is rounded once."""
    return [t.float() if t.element_size() < 4 else t for t in tensors]


def _fast(*tensors: Tensor) -> bool:
    return all(t.dtype == torch.float32 and t.device.type == "cpu" for t in tensors)


def _arrays(*tensors: Tensor) -> tuple[NDArray[np.float32], ...]:
    return tuple(t.contiguous().numpy() for t in tensors)


@torch.library.custom_op(
    "addersim::adder_conv2d", mutates_args=(), schema=f"(Tensor x, Tensor w, {HOW}, {OPTIONS}) -> Tensor"
)
def conv2d(
    x: Tensor,
    w: Tensor,
    stride: Ints,
    padding: Ints,
    dilation: Ints,
    groups: int,
    weight_gradient: str = "full",
    temporary_bytes: int = TEMPORARY_BYTES,
) -> Tensor:
    """Return ``y_nkpq = -sum |x - w|``."""
    how, dtype = _geometry(x, w, stride, padding, dilation, groups), x.dtype
    check_options(weight_gradient, temporary_bytes)
    x, w = _wide(x, w)
    if not _fast(x, w):
        return plain.forward(x, w, how, temporary_bytes // x.element_size()).to(dtype)
    y = x.new_empty(x.shape[0], w.shape[0], *how.output_size(x, w))
    _native.adder_forward(*_arrays(x, w, y), how.stride, how.padding, how.dilation, groups)
    return y.to(dtype)


@conv2d.register_fake
def _(
    x: Tensor, w: Tensor, stride: Ints, padding: Ints, dilation: Ints, groups: int,
    weight_gradient: str = "full", temporary_bytes: int = TEMPORARY_BYTES,
) -> Tensor:  # fmt: skip
    how = _geometry(x, w, stride, padding, dilation, groups)
    check_options(weight_gradient, temporary_bytes)
    return x.new_empty(x.shape[0], w.shape[0], *how.output_size(x, w))


@torch.library.custom_op(
    "addersim::adder_conv2d_input_grad",
    mutates_args=(),
    schema=f"(Tensor gy, Tensor x, Tensor w, {HOW}, int temporary_bytes) -> Tensor",
)
def conv2d_input_grad(
    gy: Tensor, x: Tensor, w: Tensor, stride: Ints, padding: Ints, dilation: Ints, groups: int, temporary_bytes: int
) -> Tensor:
    """Return ``gx_nchw = sum_k clamp(w - x, -1, 1) * gy``."""
    how, dtype = _geometry(x, w, stride, padding, dilation, groups), x.dtype
    gy, x, w = _wide(gy, x, w)
    if not _fast(gy, x, w):
        return plain.input_grad(gy, x, w, how, temporary_bytes // x.element_size()).to(dtype)
    gx = x.new_empty(x.shape)
    _native.adder_input_grad(*_arrays(x, w, gy, gx), how.stride, how.padding, how.dilation, groups)
    return gx.to(dtype)


@conv2d_input_grad.register_fake
def _(_gy: Tensor, x: Tensor, *_: object) -> Tensor:
    return x.new_empty(x.shape)


@torch.library.custom_op(
    "addersim::adder_conv2d_sign_grad",
    mutates_args=(),
    schema=f"(Tensor gy, Tensor x, Tensor w, {HOW}, int temporary_bytes) -> Tensor",
)
def conv2d_sign_grad(
    gy: Tensor, x: Tensor, w: Tensor, stride: Ints, padding: Ints, dilation: Ints, groups: int, temporary_bytes: int
) -> Tensor:
    """Return ``gw_kcrs = sum_npq sign(x - w) * gy``."""
    how, dtype = _geometry(x, w, stride, padding, dilation, groups), x.dtype
    gy, x, w = _wide(gy, x, w)
    if not _fast(gy, x, w):
        return plain.sign_grad(gy, x, w, how, temporary_bytes // x.element_size()).to(dtype)
    gw = w.new_zeros(w.shape)
    _native.adder_sign_grad(*_arrays(x, w, gy, gw), how.stride, how.padding, how.dilation, groups)
    return gw.to(dtype)


@conv2d_sign_grad.register_fake
def _(_gy: Tensor, _x: Tensor, w: Tensor, *_: object) -> Tensor:
    return w.new_empty(w.shape)


def conv2d_full_grad(
    gy: Tensor, x: Tensor, w: Tensor, stride: Ints, padding: Ints, dilation: Ints, groups: int
) -> Tensor:
    """Return ``gw_kcrs = sum_npq (x - w) * gy``: a convolution's weight gradient minus ``w * sum gy``."""
    dtype, only_w = w.dtype, [False, True, False]
    gy, x, w = _wide(gy, x, w)
    _, product, _ = torch.ops.aten.convolution_backward(
        gy, x, w, None, stride, padding, dilation, False, [0, 0], groups, only_w
    )
    gw: Tensor = product - w * gy.sum((0, 2, 3))[:, None, None, None]
    return gw.to(dtype)


def linear_full_grad(gy: Tensor, x: Tensor, w: Tensor) -> Tensor:
    """Return ``gw_kc = sum (x - w) * gy`` over all axes of x but the last."""
    dtype = w.dtype
    gy, x, w = _wide(gy.reshape(-1, w.shape[0]), x.reshape(-1, w.shape[1]), w)
    return (gy.t() @ x - w * gy.sum(0)[:, None]).to(dtype)


def as_images(rows: Tensor) -> Tensor:
    """Return (..., C) as images of one pixel, (N, C, 1, 1)."""
    return rows.reshape(-1, rows.shape[-1], 1, 1)


def _check_linear(x: Tensor, w: Tensor) -> None:
    if w.dim() != 2 or x.dim() < 1 or x.shape[-1] != w.shape[1]:
        raise InputError(f"adder_linear: x {tuple(x.shape)} and w {tuple(w.shape)}, expected (..., C) and (K, C)")


@torch.library.custom_op("addersim::adder_linear", mutates_args=(), schema=f"(Tensor x, Tensor w, {OPTIONS}) -> Tensor")
def linear(x: Tensor, w: Tensor, weight_gradient: str = "full", temporary_bytes: int = TEMPORARY_BYTES) -> Tensor:
    """Return ``y[..., k] = -sum_c |x[..., c] - w[k, c]|``."""
    _check_linear(x, w)
    y: Tensor = conv2d(as_images(x), w[:, :, None, None], ONE, ZERO, ONE, 1, weight_gradient, temporary_bytes)
    return y.reshape(*x.shape[:-1], w.shape[0])


@linear.register_fake
def _(x: Tensor, w: Tensor, weight_gradient: str = "full", temporary_bytes: int = TEMPORARY_BYTES) -> Tensor:
    _check_linear(x, w)
    check_options(weight_gradient, temporary_bytes)
    return x.new_empty(*x.shape[:-1], w.shape[0])
