"""Weights for ext/layer.h: panels of output channels, and where each step of a window finds its operands.

``at`` lists per step (kernel row, kernel column, channel), not yet dilated. All panels are filled with zeros.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from addersim.arithmetic.datapath import Datapath
from addersim.arithmetic.fixed import Ints
from addersim.kernels.finishing import Ints32, modulo_32
from addersim.kernels.plan import LayerPlan
from addersim.kernels.theorems import Path, operand_range, shifted

LANE_BYTES = {Path.LANES16: 2, Path.LANES32: 4, Path.LANES64: 8}


@dataclass(frozen=True, eq=False)
class Panels:
    """Laid-out weights.

    Attributes
    ----------
    at
        Kernel row, kernel column (both dilated) and channel of every step; channel -1: none.
    channels
        Words per pixel and group in the padded copy of x.
    least
        What is subtracted from every word of x.
    sums
        Sum of the weights per output channel, where the loop needs it.
    """

    w: NDArray[Any]
    at: Ints
    channels: int
    least: int = 0
    sums: Ints32 | None = None


def panels(plan: LayerPlan, path: Path, vector_bytes: int) -> Panels:
    """Return the weights of a layer for a loop and a size of vectors."""
    block, C = vector_bytes // 4, plan.w_krsc.shape[3]
    if path in LANE_BYTES:
        return _lanes(plan, LANE_BYTES[path], vector_bytes)
    if path == Path.PRODUCT16:
        return _products(plan, block)
    least, most = operand_range(plan.datapath, plan.w_krsc)
    if path == Path.DISTANCE16:
        return _maxima(plan, (least + most + 1) >> 1, -(-C // 2) * 2, block)
    step = plan.datapath.tree_inputs if path == Path.SEGMENT8 else 8
    return _distances(plan, least, -(-C // step) * step, block)


def _distances(plan: LayerPlan, least: int, channels: int, block: int) -> Panels:
    """Bytes in panels of 8 channels x ``block`` outputs, in the order in which lanes are narrowed."""
    K, R, S, C = plan.w_krsc.shape
    w = np.zeros((K, R, S, channels), np.uint8)
    w[..., :C] = shifted(plan.datapath, plan.w_krsc, np.int32) - least
    lane = np.arange(block).reshape(-1, 2, 2).transpose(1, 0, 2).reshape(-1)  # 0 1 4 5 ... | 2 3 6 7 ...
    laid = _blocks(w.reshape(K, -1, 8), plan.window.groups, block)[:, :, :, lane]
    return Panels(np.ascontiguousarray(laid), _dilated(plan, _places(R, S, channels, 8)), channels, least)


def _maxima(plan: LayerPlan, middle: int, channels: int, block: int) -> Panels:
    """16-bit words around ``middle`` in pairs of channels, and every output channel's sum."""
    K, R, S, C = plan.w_krsc.shape
    w = np.zeros((K, R, S, channels), np.int16)
    w[..., :C] = shifted(plan.datapath, plan.w_krsc, np.int64) - middle
    laid = _blocks(w.reshape(K, -1, 2), plan.window.groups, block)
    sums = _blocks(w.sum((1, 2, 3), dtype=np.int64).reshape(K, 1, 1), plan.window.groups, block)
    at = _dilated(plan, _places(R, S, channels, 2))
    return Panels(np.ascontiguousarray(laid), at, channels, middle, modulo_32(sums))


def _products(plan: LayerPlan, block: int) -> Panels:
    """16-bit words in pairs; kernel columns that touch in memory form one run, its end filled with 0."""
    K, R, S, C = plan.w_krsc.shape
    touching = plan.window.dilation[1] == 1 and plan.window.groups == 1
    runs, length = (R, S * C) if touching else (R * S, C)
    pairs = -(-length // 2)
    w = np.zeros((K, runs, 2 * pairs), np.int16)
    w[..., :length] = plan.w_krsc.reshape(K, runs, length)
    laid = _blocks(w.reshape(K, -1, 2), plan.window.groups, block)
    starts = np.indices((R, 1) if touching else (R, S)).reshape(2, -1).T * np.array(plan.window.dilation)
    at = np.column_stack([np.repeat(starts, pairs, axis=0), np.tile(2 * np.arange(pairs), runs)])
    return Panels(np.ascontiguousarray(laid), at, C)


def _lanes(plan: LayerPlan, word_bytes: int, vector_bytes: int) -> Panels:
    """One vector of output channels per leaf, in the order of the hardware's steps."""
    d, (K, R, S, C), lanes = plan.datapath, plan.w_krsc.shape, vector_bytes // word_bytes
    T, groups = d.tree_inputs, -(-C // d.tree_inputs)
    w = np.zeros((-(-K // lanes) * lanes, R, S, groups * T), f"i{word_bytes}")
    w[:K, :, :, :C] = shifted(d, plan.w_krsc, np.int64)
    axes = ["rsc".index(letter) + 1 for letter in d.order]
    ordered = w.reshape(len(w), R, S, groups, T).transpose(0, *axes, 4)
    laid = ordered.reshape(-1, lanes, R * S * groups * T).transpose(0, 2, 1)
    return Panels(np.ascontiguousarray(laid), _dilated(plan, steps(d, R, S, C)), C)


def steps(d: Datapath, R: int, S: int, C: int) -> Ints:
    """Return (steps * T, 3): kernel row, kernel column, channel of every leaf in the stated order."""
    T = d.tree_inputs
    size = {"r": R, "s": S, "c": -(-C // T)}
    index = np.indices([size[letter] for letter in d.order]).reshape(3, -1)
    r, s, c = (np.repeat(index[d.order.index(letter)], T) for letter in "rsc")
    channel = c * T + np.tile(np.arange(T), len(c) // T)
    return np.stack([r, s, np.where(channel < C, channel, -1)], axis=1)


def _dilated(plan: LayerPlan, at: Ints) -> Ints:
    return np.asarray(at * np.array([*plan.window.dilation, 1]))


def _places(R: int, S: int, channels: int, step: int) -> Ints:
    """Return (R * S * channels / step, 3): kernel row, kernel column, first channel of every step."""
    return np.asarray(np.indices((R, S, channels // step)).reshape(3, -1).T * np.array([1, 1, step]))


def _blocks(w_ksj: NDArray[Any], groups: int, block: int) -> NDArray[Any]:
    """Return (groups, blocks, steps, block, j): the output channels of each group in blocks."""
    K, steps, width = w_ksj.shape
    per_group = K // groups
    blocks = -(-per_group // block)
    w = np.zeros((groups, blocks * block, steps, width), w_ksj.dtype)
    w[:, :per_group] = w_ksj.reshape(groups, per_group, steps, width)
    return w.reshape(groups, blocks, block, steps, width).transpose(0, 1, 3, 2, 4)
