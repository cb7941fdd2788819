"""The fast loop of the native kernels: a whole layer on bytes or 16-bit words, where that is provably exact.

The proof asks, from the formats and the weights alone, that no register can overflow whatever the input: then
sums may be taken in any order and width that holds them, and the output stage never wraps. Distances of words
of up to 8 bits run as sums of absolute byte differences (``|x - w|`` does not change when both lose the same
offset), products as 16-bit pairs.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from addersim.datapath import OutputStage
from addersim.fixed import Ints, Rounding
from addersim.kernels import _native
from addersim.kernels.plan import NO_EVENTS, LayerPlan, LayerResult

PATHS = {
    "adder": "sums of absolute byte differences ({isa}); exact since no register can overflow",
    "multiplier": "sums of 16-bit products ({isa}); exact since no register can overflow",
}
Extremes: TypeAlias = Sequence[Ints]
Layout: TypeAlias = tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64], int]
SLACK = 16  # words behind the input that the last pair may touch; their weights are 0


@dataclass(frozen=True, eq=False)
class Numbers:
    """b, m, a, 2**(n-1), n per output channel, (5, K); ``wide`` if 32 bits do not hold all they make."""

    stage: NDArray[np.int64]
    wide: bool


@dataclass(frozen=True, eq=False)
class Packed:
    """A layer laid out for ext/fused.c; see the header there."""

    plan: LayerPlan
    isa: str
    w: NDArray[np.uint8]
    offset_rs: NDArray[np.int64]
    offset_in: NDArray[np.int64]
    channels: int
    constants: Numbers


def pack(plan: LayerPlan, no_overflow: bool, isa: str | None = None) -> Packed | None:
    """Return the packed layer, or ``None`` where the proof fails or no fast loop runs here.

    Parameters
    ----------
    no_overflow
        Whether the datapath's registers hold every sum.
    isa
        ``"avx2"`` or ``"sse2"``; by default the environment variable ADDERSIM_ISA, else the best one.
        ``"none"`` keeps to the plain loops.
    """
    found, path, stage = instruction_set(isa), plan.datapath, plan.stage
    if found is None or not no_overflow or path.preload_bias or not _words_fit(plan):
        return None
    extremes = _extremes(plan)
    if stage.finish and stage.rounding != Rounding.HALF_UP:
        return None
    if not holds(extremes, plan.bias_k, plan.multiplier_k, plan.offset_k, stage):
        return None
    constants = numbers(extremes, plan.bias_k, plan.multiplier_k, plan.offset_k, plan.shift_k, plan.low, plan.high)
    layout = _distances if path.kind == "adder" else _products
    return Packed(plan, found[0], *layout(plan, found[1]), constants)


def instruction_set(isa: str | None = None) -> tuple[str, int] | None:
    """Return (name, outputs per weight panel) of the set to use, or ``None`` for the plain loops."""
    wanted = isa or os.environ.get("ADDERSIM_ISA") or None
    found: tuple[str, int] | None = None if wanted == "none" else _native.instruction_set(wanted)
    return found


def run(packed: Packed, x_nhwc: Ints) -> LayerResult:
    """Return what the layer makes of ``x_nhwc``."""
    plan, (N, H, W, _) = packed.plan, x_nhwc.shape
    (py, px), groups = plan.window.padding, plan.window.groups
    P, Q = plan.window.out_size(H, W)
    K, C, (PH, PW) = len(plan.w_krsc), packed.channels, (H + 2 * py, W + 2 * px)
    y = np.empty((N, P, Q, K), np.int64 if packed.constants.wide else np.int32)
    path = PATHS[plan.datapath.kind].format(isa=packed.isa)
    if not y.size:
        return LayerResult(y, NO_EVENTS, 0, 0, None, path)
    x = _padded(packed, x_nhwc)
    offset = (packed.offset_rs * [PW * groups * C, groups * C]).sum(1) + packed.offset_in
    stage, adder = plan.stage, plan.datapath.kind == "adder"
    sizes = (N, PH, PW, C, K // groups, P, Q, *plan.window.stride, groups, len(offset))
    flags = (adder, adder, stage.finish, stage.relu, plan.low, plan.high, packed.constants.wide)
    shape = np.array((*sizes, *flags), np.int64)
    assert len(shape) == _native.FUSED_WORDS
    out = y.reshape(-1).view(np.uint8)
    saturated, least, most = _native.fused(
        packed.isa, shape, x.view(np.uint8), packed.w, offset.astype(np.int32), packed.constants.stage.reshape(-1), out
    )
    if adder and plan.datapath.sign == "negative":
        least, most = -most, -least
    return LayerResult(y, NO_EVENTS, 0, saturated, (least, most), path)


def _words_fit(plan: LayerPlan) -> bool:
    """Whether operands fit bytes (distances) or signed 16-bit words (products)."""
    x, w = plan.datapath.x, plan.datapath.w
    if plan.datapath.kind == "adder":
        return plan.datapath.weight_shift == 0 and w.min == x.min and max(x.max, w.max) - x.min <= 255
    return min(x.min, w.min) >= -(1 << 15) and max(x.max, w.max) < 1 << 15


def _extremes(plan: LayerPlan) -> tuple[Ints, Ints]:
    """Return the least and the largest value that enters the output stage, per output channel."""
    x, w = plan.datapath.x, plan.w_krsc.astype(np.int64)
    if plan.datapath.kind == "adder":
        reach = np.maximum(w - x.min, x.max - w).sum((1, 2, 3))
        return -reach, np.zeros_like(reach)
    corners = w * x.min, w * x.max
    # Padded pixels carry a code of the same format, so the corners cover them.
    return np.minimum(*corners).sum((1, 2, 3)), np.maximum(*corners).sum((1, 2, 3))


def holds(extremes: Extremes, bias_k: Ints, multiplier_k: Ints, offset_k: Ints, stage: OutputStage) -> bool:
    """Return whether t and p of everything between ``extremes`` fit the stage's registers."""
    t = [extreme - bias_k for extreme in extremes]
    p = [v * multiplier_k + offset_k for v in t]
    low, high = int(np.minimum(*p).min()), int(np.maximum(*p).max())
    return stage.centred.holds(int(t[0].min()), int(t[1].max())) and stage.product.holds(low, high)


def numbers(extremes: Extremes, b: Ints, m: Ints, a: Ints, n: Ints, low: int, high: int) -> Numbers:
    """Return the constants of ext/fused.c's output stage."""
    half = np.where(n > 0, np.left_shift(np.int64(1), np.maximum(n - 1, 0)), 0)
    K = max(map(np.size, (b, m, a, n)))
    found = np.stack([np.broadcast_to(v, (K,)) for v in (b, m, a, half, n)]).astype(np.int64)
    t = [extreme - b for extreme in extremes]
    made = [*t, *(v * m for v in t), *(v * m + a for v in t), *(v * m + a + half for v in t), found]
    limit = 1 << 31
    fits = all(int(v.min()) >= -limit and int(v.max()) < limit for v in made) and int(n.max()) < 32
    return Numbers(found, not (fits and -limit <= low <= high < limit))


def _distances(plan: LayerPlan, block: int) -> Layout:
    """Lay byte weights out in panels of 8 channels x ``block`` outputs, in the order that ext/fused.c stores."""
    K, R, S, C = plan.w_krsc.shape
    channels = -(-C // 8) * 8
    w = np.zeros((K, R, S, channels), np.uint8)
    w[..., :C] = plan.w_krsc - plan.datapath.x.min
    order = [0, 1, 4, 5, 2, 3, 6, 7] if block == 8 else list(range(block))
    panels = _panels(w.reshape(K, -1, 8), plan.window.groups, block)[:, :, :, order]
    at = np.indices((R, S, channels // 8)).reshape(3, -1)
    dilated = at[:2].T * plan.window.dilation
    return np.ascontiguousarray(panels).reshape(-1), dilated, 8 * at[2], channels


def _products(plan: LayerPlan, block: int) -> Layout:
    """Lay 16-bit weights out in pairs; kernel columns that touch in memory form one run, its end filled with 0."""
    K, R, S, C = plan.w_krsc.shape
    touching = plan.window.dilation[1] == 1 and plan.window.groups == 1
    runs, length = (R, S * C) if touching else (R * S, C)
    pairs = -(-length // 2)
    w = np.zeros((K, runs, 2 * pairs), np.int16)
    w[..., :length] = plan.w_krsc.reshape(K, runs, length)
    panels = _panels(w.reshape(K, -1, 2), plan.window.groups, block)
    starts = np.indices((R, 1) if touching else (R, S)).reshape(2, -1).T * plan.window.dilation
    offset_rs = np.repeat(starts, pairs, axis=0)
    offset_in = np.tile(2 * np.arange(pairs), runs)
    return np.ascontiguousarray(panels).reshape(-1).view(np.uint8), offset_rs, offset_in, C


def _panels(w_ksj: NDArray[np.generic], groups: int, block: int) -> NDArray[np.generic]:
    """Return (groups, blocks, steps, block, j): output channels in blocks, filled up with zeros."""
    K, steps, width = w_ksj.shape
    per_group = K // groups
    blocks = -(-per_group // block)
    w = np.zeros((groups, blocks * block, steps, width), w_ksj.dtype)
    w[:, :per_group] = w_ksj.reshape(groups, per_group, steps, width)
    return w.reshape(groups, blocks, block, steps, width).transpose(0, 1, 3, 2, 4)


def _padded(packed: Packed, x_nhwc: Ints) -> NDArray[np.generic]:
    """Return the input with its padding, in the kernel's word; bytes lose the format's least value."""
    plan, (N, H, W, _) = packed.plan, x_nhwc.shape
    (py, px), groups, C = plan.window.padding, plan.window.groups, packed.channels
    adder = plan.datapath.kind == "adder"
    least = plan.datapath.x.min if adder else 0
    shape = (N, H + 2 * py, W + 2 * px, groups, C)
    flat = np.zeros(int(np.prod(shape)) + SLACK, np.uint8 if adder else np.int16)
    x = flat[: len(flat) - SLACK].reshape(shape)
    used = plan.w_krsc.shape[3]
    if (py or px) and plan.pad_code != least:
        x[..., :used] = plan.pad_code - least
    x[:, py : py + H, px : px + W, :, :used] = (x_nhwc - least if least else x_nhwc).reshape(N, H, W, groups, used)
    return flat
