"""The adder sums in plain PyTorch: any device, any floating type, temporaries of bounded size.

The float32 loops in C are the fast path on the CPU; these functions serve everything else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

PIECE = 1 << 22  # elements of the largest temporary of one step

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


def forward(x_nchw: Tensor, w_kcrs: Tensor, how: Geometry) -> Tensor:
    """Return ``y_nkpq = -sum |x - w|``."""
    cols, w = _matrices(x_nchw, w_kcrs, how)
    y = cols.new_empty(cols.shape[0], how.groups, w.shape[1], cols.shape[3])
    for n, k in _pieces(cols, w):
        y[n, :, k] = -(cols[n, :, None] - w[:, k, :, None]).abs_().sum(3)
    return y.reshape(len(x_nchw), len(w_kcrs), *how.output_size(x_nchw, w_kcrs))


def input_grad(gy_nkpq: Tensor, x_nchw: Tensor, w_kcrs: Tensor, how: Geometry) -> Tensor:
    """Return ``gx_nchw = sum_k clamp(w - x, -1, 1) * gy``."""
    cols, w = _matrices(x_nchw, w_kcrs, how)
    gy = gy_nkpq.reshape(len(cols), how.groups, w.shape[1], cols.shape[3])
    gcols = torch.zeros_like(cols)
    for n, k in _pieces(cols, w):
        clipped = (w[:, k, :, None] - cols[n, :, None]).clamp_(-1, 1)
        gcols[n] += clipped.mul_(gy[n, :, k, None]).sum(2)
    size, kernel = (x_nchw.shape[2], x_nchw.shape[3]), (w_kcrs.shape[2], w_kcrs.shape[3])
    return F.fold(gcols.flatten(1, 2), size, kernel, how.dilation, how.padding, how.stride)


def _matrices(x: Tensor, w: Tensor, how: Geometry) -> tuple[Tensor, Tensor]:
    """Return the receptive fields (N, groups, CRS, PQ) and the weights (groups, K/groups, CRS)."""
    cols = F.unfold(x, (w.shape[2], w.shape[3]), how.dilation, how.padding, how.stride)
    return cols.reshape(len(x), how.groups, -1, cols.shape[2]), w.reshape(how.groups, len(w) // how.groups, -1)


def _pieces(cols: Tensor, w: Tensor) -> Iterator[tuple[slice, slice]]:
    """Yield slices of images and of output channels whose differences have about PIECE elements."""
    per_channel = max(1, cols[0].numel())
    images = max(1, PIECE // (per_channel * w.shape[1]))
    channels = max(1, PIECE // (per_channel * images))
    for n in range(0, len(cols), images):
        for k in range(0, w.shape[1], channels):
            yield slice(n, n + images), slice(k, k + channels)
