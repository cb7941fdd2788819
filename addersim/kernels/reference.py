"""The definition: one NumPy statement per hardware step, vectorised over outputs only.

Arrays are integers, channels last. ``events`` counts, per stage named in :data:`addersim.datapath.EVENTS`,
the outputs in which a register of that stage met a value that it has no code for, once or more: what a sticky
overflow flag beside the register would show.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from addersim.datapath import EVENTS, Datapath
from addersim.fixed import IntFormat, Ints, Overflow, Rounding, fit, misfits, round_shift
from addersim.kernels.plan import (
    AddPlan,
    AddRunner,
    LayerPlan,
    LayerRunner,
    StagePlan,
    StageRunner,
    add_by_parts,
    run_by_parts,
    stage_by_parts,
)
from addersim.loops import Window

Events = dict[str, int]
Flags = dict[str, NDArray[np.bool_]]


def convolve(
    x_nhwc: Ints, w_krsc: Ints, initial_k: Ints, datapath: Datapath, window: Window, pad_code: int
) -> tuple[Ints, Events]:
    """Return the accumulator of every output, and the events on the way.

    Parameters
    ----------
    x_nhwc, w_krsc
        Integer operands; ``w_krsc`` has ``C / groups`` channels.
    initial_k
        What the accumulator of output channel k starts at.
    datapath
        Widths, order and signs of the hardware. Its ``kind`` decides between ``|x - w|`` and ``x * w``.
    window
        Stride, padding, dilation, groups.
    pad_code
        The integer of a padded pixel; it takes part like any other.

    Returns
    -------
    acc_npqk, events
        The raw accumulator: for ``sign = "positive"`` the sum of magnitudes, not yet negated.
    """
    K, _, _, depth = w_krsc.shape
    P, Q = window.out_size(x_nhwc.shape[1], x_nhwc.shape[2])
    padded_nhwc, w_krsc = padded(x_nhwc.astype(np.int64), window, pad_code), w_krsc.astype(np.int64)
    events = dict.fromkeys(EVENTS, 0)
    acc_npqk = np.empty((len(x_nhwc), P, Q, K), np.int64)
    per_group, register = K // window.groups, datapath.accumulator
    for group in range(window.groups):
        ks, cs = slice(group * per_group, (group + 1) * per_group), slice(group * depth, (group + 1) * depth)
        start = np.broadcast_to(initial_k[ks], (len(x_nhwc), P, Q, per_group))
        flags = {name: np.zeros(start.shape, bool) for name in EVENTS}
        acc = _register(start, register.format, register.overflow, flags, "accumulator")
        for r, s, c in _steps(datapath, window, depth):
            x_npq1t = padded_nhwc[:, window.rows(r, P), window.columns(s, Q), cs][:, :, :, None, c]
            node = _node(x_npq1t, w_krsc[ks, r, s, c], datapath, flags)
            acc = _register(acc + node, register.format, register.overflow, flags, "accumulator")
        acc_npqk[..., ks] = acc
        events = {name: events[name] + int(flags[name].sum()) for name in EVENTS}
    return acc_npqk, events


def padded(x_nhwc: Ints, window: Window, value: int) -> Ints:
    """Return the input with ``value`` around it; the input itself where the window has no padding."""
    py, px = window.padding
    return np.pad(x_nhwc, ((0, 0), (py, py), (px, px), (0, 0)), constant_values=value) if py or px else x_nhwc


def _steps(datapath: Datapath, window: Window, depth: int) -> Iterator[tuple[int, int, slice]]:
    """Yield kernel row, kernel column and channel slice of every accumulation, in the stated order."""
    T = datapath.tree_inputs
    ranges = {"r": window.R, "s": window.S, "c": -(-depth // T)}
    for index in np.ndindex(*(ranges[letter] for letter in datapath.order)):
        at = dict(zip(datapath.order, index, strict=True))
        yield at["r"], at["s"], slice(at["c"] * T, min(depth, (at["c"] + 1) * T))


def _node(x_npq1t: Ints, w_kt: Ints, datapath: Datapath, flags: Flags) -> Ints:
    """Return what one step adds to the accumulator: leaves, tree, cut."""
    leaf = _leaf(x_npq1t, w_kt, datapath, flags)
    missing = datapath.tree_inputs - leaf.shape[-1]
    nodes = [leaf[..., i] for i in range(leaf.shape[-1])] + [np.zeros_like(leaf[..., 0])] * missing
    for level in datapath.tree:
        pairs = [a + b for a, b in zip(nodes[0::2], nodes[1::2], strict=False)]
        fitted = [_register(pair, level.format, level.overflow, flags, "tree") for pair in pairs]
        nodes = fitted + nodes[2 * len(pairs) :]
    cut = datapath.cut
    if cut is None:
        return nodes[0]
    return _register(round_shift(nodes[0], cut.shift, cut.rounding), cut.format, cut.overflow, flags, "requantise")


def _leaf(x_npq1t: Ints, w_kt: Ints, datapath: Datapath, flags: Flags) -> Ints:
    if datapath.difference is None:
        value = x_npq1t * w_kt
    else:
        form, overflow = datapath.difference.format, datapath.difference.overflow
        difference = _register(x_npq1t - (w_kt << datapath.weight_shift), form, overflow, flags, "difference")
        value = np.abs(difference) if datapath.sign == "positive" else -np.abs(difference)
    return _register(value, datapath.leaf.format, datapath.leaf.overflow, flags, "leaf")


def _register(v: Ints, form: IntFormat, overflow: Overflow, flags: Flags, name: str) -> Ints:
    missed = (v < form.min) | (v > form.max)
    flags[name] |= missed if missed.ndim == flags[name].ndim else missed.any(-1)  # leaves have an axis of their own
    return fit(v, form, overflow)


def scale(
    acc_npqk: Ints,
    bias_k: Ints,
    multiplier_k: Ints,
    offset_k: Ints,
    centred: IntFormat,
    product: IntFormat,
    negate: bool,
) -> tuple[Ints, int]:
    """Return ``p = t * M_k + A_k`` with ``t = acc - B_k`` (``-acc - B_k`` if ``negate``), and its overflows.

    t wraps to ``centred`` and p to ``product``; the count says how often either did.
    """
    t = (-acc_npqk if negate else acc_npqk) - bias_k
    wrapped = misfits(t, centred)
    p = fit(t, centred, Overflow.WRAP) * multiplier_k + offset_k
    return fit(p, product, Overflow.WRAP), wrapped + misfits(p, product)


def finish(p_npqk: Ints, shift_k: Ints, rounding: Rounding, low: int, high: int, relu: bool) -> tuple[Ints, int]:
    """Return ``y = clamp(round_shift(p, n_k), low, high)`` and how many values saturated.

    With ``relu`` values below ``low`` are the rectifier's work and not counted.
    """
    y = round_shift(p_npqk, shift_k, rounding)
    saturated = np.count_nonzero(y > high) + (0 if relu else np.count_nonzero(y < low))
    return np.clip(y, low, high), int(saturated)


def add(p_npqk: Ints, q_npqk: Ints, p_shift_k: Ints, q_shift_k: Ints, product: IntFormat) -> tuple[Ints, int]:
    """Return ``(p << (n - n_p)) + (q << (n - n_q))`` with n the larger shift of each channel, and overflows."""
    n_k = np.maximum(p_shift_k, q_shift_k)
    p, q = p_npqk.astype(np.int64), q_npqk.astype(np.int64)
    total = (p << (n_k - p_shift_k)) + (q << (n_k - q_shift_k))
    return fit(total, product, Overflow.WRAP), misfits(total, product)


def quantise(x_nchw: NDArray[Any], step: float, zero_point: int, form: IntFormat) -> tuple[Ints, int]:
    """Return ``clamp(rint(x / step) + zero_point)`` channels last, in float64 with ties to even, and how many clamped."""
    codes = np.moveaxis(np.rint(x_nchw.astype(np.float64) / step) + zero_point, 1, -1)
    outside = np.count_nonzero((codes < form.min) | (codes > form.max))
    return np.clip(codes, form.min, form.max).astype(np.int64), int(outside)


def max_pool(x_nhwc: Ints, window: Window) -> Ints:
    """Return the maximum of every window; padded pixels never win, as in torch."""
    P, Q = window.out_size(x_nhwc.shape[1], x_nhwc.shape[2])
    padded_nhwc = padded(x_nhwc, window, np.iinfo(x_nhwc.dtype).min)
    taps = [padded_nhwc[:, window.rows(r, P), window.columns(s, Q)] for r in range(window.R) for s in range(window.S)]
    return np.asarray(np.maximum.reduce(taps))


def sum_pool(x_nhwc: Ints, window: Window, pad_code: int, factor_pq: Ints) -> Ints:
    """Return the sum of every window times the factor of its place; padded pixels add ``pad_code``."""
    P, Q = window.out_size(x_nhwc.shape[1], x_nhwc.shape[2])
    padded_nhwc = padded(x_nhwc, window, pad_code)
    total = np.zeros((len(x_nhwc), P, Q, x_nhwc.shape[3]), np.int64)
    for r in range(window.R):
        for s in range(window.S):
            total = total + padded_nhwc[:, window.rows(r, P), window.columns(s, Q)]
    return total * factor_pq[:, :, None]


def layer(plan: LayerPlan) -> LayerRunner:
    """Return a function that runs the layer part by part."""
    return partial(run_by_parts, sys.modules[__name__], plan)


def output_stage(plan: StagePlan) -> StageRunner:
    """Return a function that runs an output stage part by part."""
    return partial(stage_by_parts, sys.modules[__name__], plan)


def residual(plan: AddPlan) -> AddRunner:
    """Return a function that ends a residual addition part by part."""
    return partial(add_by_parts, sys.modules[__name__], plan)


def path_taken(datapath: Datapath, window: Window, w_krsc: Ints, initial_k: Ints) -> str:
    """Return how :func:`convolve` computes: always by the definition."""
    return "definition"
