"""The adder operations of PyTorch: ``y = -sum |x - w|`` with the gradients of AdderNet.

Source: Chen et al., "AdderNet: Do We Really Need Multiplications in Deep Learning?", CVPR 2020, eqs. 2, 5
and 6; ``adder.py`` of huawei-noah/AdderNet.

The gradients are not the derivatives of ``|x - w|``: ``dL/dx = sum_k clamp(w - x, -1, 1) gy`` (HardTanh), and
``dL/dw = sum (x - w) gy`` (full precision). ``weight_gradient="sign"`` takes the derivative, ``sum sign(x - w) gy``
with sign(0) = 0, which the paper compares with. The clipped and the sign gradient have no derivative of their own: a
second backward through them raises. There is no forward mode: ``torch.func.jvp`` raises, tangents of
``torch.autograd.forward_ad`` get lost. ``torch.compile`` around ``torch.func.grad`` fails.

Float32 on the CPU runs on loops in C, half precision as float32 that is rounded once at the end, and under
``torch.autocast`` float32 stays float32: an adder sum is a large offset plus a small signal, and half precision keeps
the offset only. Anything else runs in plain PyTorch, whose temporaries ``temporary_bytes`` bounds; the full gradient of
w alone is a convolution's, with whatever memory PyTorch takes for that. It was tested on the CPU in float64, and on the
meta device, but not on a GPU.
"""

from __future__ import annotations

import torch
from torch import Tensor

from addersim.nn.autograd import Conv2d, Linear, transformed
from addersim.nn.operations import ONE, TEMPORARY_BYTES, ZERO, Ints, conv2d, linear


def adder_conv2d(
    x: Tensor,
    w: Tensor,
    stride: Ints = ONE,
    padding: Ints = ZERO,
    dilation: Ints = ONE,
    groups: int = 1,
    weight_gradient: str = "full",
    temporary_bytes: int = TEMPORARY_BYTES,
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
    weight_gradient
        ``"full"`` for ``x - w``, ``"sign"`` for ``sign(x - w)``.
    temporary_bytes
        Where the C loops do not apply: the most memory of one temporary beyond the sizes of x, w and y. One row of
        one output channel, ``C * Q`` numbers, is the least.

    Returns
    -------
    Tensor
        (N, K, P, Q), of the type of x.

    Raises
    ------
    InputError
        If the shapes or types do not fit together, or an option makes no sense.

    Notes
    -----
    The C loops (float32 on a CPU) take ``|x - w|`` as ``2 max(x, w) - x - w``, maxima off the sum of x and w. That
    rounds like adding up distances, unless x and w have an offset in common that is large beside their differences:
    then take the offset off both, which changes nothing, or use float64.
    """
    how = (list(stride), list(padding), list(dilation), groups, weight_gradient, temporary_bytes)
    if transformed():
        y: Tensor = Conv2d.apply(*_cast(x, w), *how)  # type: ignore[no-untyped-call]
    else:
        y = conv2d(x, w, *how)
    return y


def adder_linear(x: Tensor, w: Tensor, weight_gradient: str = "full", temporary_bytes: int = TEMPORARY_BYTES) -> Tensor:
    """Return ``y[..., k] = -sum_c |x[..., c] - w[k, c]|`` for x (..., C) and w (K, C).

    The options are those of :func:`adder_conv2d`.

    Raises
    ------
    InputError
        If the shapes or types do not fit together, or an option makes no sense.
    """
    how = (weight_gradient, temporary_bytes)
    if transformed():
        y: Tensor = Linear.apply(*_cast(x, w), *how)  # type: ignore[no-untyped-call]
    else:
        y = linear(x, w, *how)
    return y


def _cast(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Do what autocast does to the registered operations."""
    if torch.is_autocast_enabled(tensors[0].device.type):
        return tuple(t.float() if t.element_size() < 4 else t for t in tensors)
    return tensors
