"""The adder sums in plain PyTorch: any device, float32 or float64, temporaries of bounded size.

The float32 loops in C are the fast path on the CPU; these functions serve everything else. They go tap by tap of the
kernel and, for each tap, piece by piece of the images, so that besides tensors of the size of x, w and y no temporary
has more elements than they are told.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

Pair = tuple[int, int]


@dataclass(frozen=True)
class Geometry:
    """How a kernel moves over an image; pairs are (vertical, horizontal)."""

    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int

    def output_size(self, x: Tensor, w: Tensor) -> Pair:
        """Return (P, Q) = floor((H + 2 padding - dilation (R - 1) - 1) / stride) + 1."""
        p, q = (
            (x.shape[2 + i] + 2 * self.padding[i] - self.dilation[i] * (w.shape[2 + i] - 1) - 1) // self.stride[i] + 1
            for i in (0, 1)
        )
        return p, q


@dataclass(frozen=True)
class _Piece:
    """Some images, output channels and output rows at one tap: x (n, groups, 1, C, p, Q), w (groups, k, C, 1, 1)."""

    tap: Pair
    n: slice
    k: slice
    p: slice
    x: Tensor
    w: Tensor


def forward(x_nchw: Tensor, w_kcrs: Tensor, how: Geometry, elements: int) -> Tensor:
    """Return ``y_nkpq = -sum |x - w|``; ``elements`` bounds the temporaries."""
    y = _by_groups(x_nchw.new_zeros(len(x_nchw), len(w_kcrs), *how.output_size(x_nchw, w_kcrs)), how)
    for at in _pieces(x_nchw, w_kcrs, how, elements):
        y[at.n, :, at.k, at.p] -= (at.x - at.w).abs_().sum(3)
    return y.flatten(1, 2)


def input_grad(gy_nkpq: Tensor, x_nchw: Tensor, w_kcrs: Tensor, how: Geometry, elements: int) -> Tensor:
    """Return ``gx_nchw = sum_k clamp(w - x, -1, 1) * gy``; ``elements`` bounds the temporaries."""
    gy, (vertical, horizontal) = _by_groups(gy_nkpq, how), how.padding
    H, W = x_nchw.shape[2:]
    padded = x_nchw.new_zeros(*x_nchw.shape[:2], H + 2 * vertical, W + 2 * horizontal)
    for at in _pieces(x_nchw, w_kcrs, how, elements):
        field = _field(padded, at.tap, (gy.shape[3], gy.shape[4]), how)
        field[at.n, :, :, at.p] += (at.w - at.x).clamp_(-1, 1).mul_(gy[at.n, :, at.k, None, at.p]).sum(2)
    return padded[:, :, vertical : vertical + H, horizontal : horizontal + W].contiguous()


def sign_grad(gy_nkpq: Tensor, x_nchw: Tensor, w_kcrs: Tensor, how: Geometry, elements: int) -> Tensor:
    """Return ``gw_kcrs = sum_npq sign(x - w) * gy``; ``elements`` bounds the temporaries."""
    gy, gw = _by_groups(gy_nkpq, how), w_kcrs.new_zeros(w_kcrs.shape)
    by_groups = gw.view(how.groups, len(gw) // how.groups, *gw.shape[1:])
    for at in _pieces(x_nchw, w_kcrs, how, elements):
        r, s = at.tap
        by_groups[:, at.k, :, r, s] += (at.x - at.w).sign_().mul_(gy[at.n, :, at.k, None, at.p]).sum((0, 4, 5))
    return gw


def _by_groups(y_nkpq: Tensor, how: Geometry) -> Tensor:
    """Return (N, groups, K/groups, P, Q)."""
    N, K, P, Q = y_nkpq.shape
    return y_nkpq.view(N, how.groups, K // how.groups, P, Q)


def _field(padded_nchw: Tensor, tap: Pair, size: Pair, how: Geometry) -> Tensor:
    """Return what one tap sees of padded images, (N, groups, C, P, Q), as a view."""
    rows, columns = (
        slice(tap[i] * how.dilation[i], tap[i] * how.dilation[i] + (size[i] - 1) * how.stride[i] + 1, how.stride[i])
        for i in (0, 1)
    )
    return _by_groups(padded_nchw[:, :, rows, columns], how)


def _pieces(x: Tensor, w: Tensor, how: Geometry, elements: int) -> Iterator[_Piece]:
    """Yield pieces whose differences have at most ``elements`` elements, or else are one row of one channel."""
    (P, Q), K = how.output_size(x, w), len(w) // how.groups
    padded = F.pad(x, (how.padding[1], how.padding[1], how.padding[0], how.padding[0]))
    row = x.shape[1] * Q
    images = max(1, elements // max(1, row * P * K))
    channels = min(K, max(1, elements // max(1, row * P * images)))
    rows = min(P, max(1, elements // max(1, row * images * channels)))
    for r in range(w.shape[2]):
        for s in range(w.shape[3]):
            field = _field(padded, (r, s), (P, Q), how)[:, :, None]
            at_tap = w[:, :, r, s].view(how.groups, K, w.shape[1])[..., None, None]
            for n in (slice(i, i + images) for i in range(0, len(x), images)):
                for k in (slice(i, i + channels) for i in range(0, K, channels)):
                    for p in (slice(i, i + rows) for i in range(0, P, rows)):
                        yield _Piece((r, s), n, k, p, field[n, ..., p, :], at_tap[:, k])
