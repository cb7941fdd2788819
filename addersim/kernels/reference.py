"""The definition: one NumPy statement per hardware step, vectorised over outputs only.

Arrays are integers, channels last. ``events`` counts, per stage named in :data:`addersim.arithmetic.datapath.EVENTS`,
the outputs in which a register of that stage met a value that it has no code for, once or more: what a sticky
overflow flag beside the register would show. ``toggles`` counts the bits of every register that change from step
to step.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import islice, pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from addersim.arithmetic.datapath import EVENTS, REGISTERS, Datapath
from addersim.arithmetic.fixed import IntFormat, Ints, Overflow, Rounding, fit, misfits, round_shift
from addersim.arithmetic.window import Window
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

Events = dict[str, int]
Flags = dict[str, NDArray[np.bool_]]
Words = list[tuple[str, Ints, IntFormat]]
Probe: TypeAlias = Callable[[str, Ints, Ints, IntFormat], None]  # sees every register's name, input, word, format


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
        probe = partial(_flag, flags)
        acc = _register(start, register.format, register.overflow, probe, "accumulator")
        for r, s, c in _steps(datapath, window, depth):
            x_npq1t = padded_nhwc[:, window.rows(r, P), window.columns(s, Q), cs][:, :, :, None, c]
            node = _node(x_npq1t, w_krsc[ks, r, s, c], datapath, probe)
            acc = _register(acc + node, register.format, register.overflow, probe, "accumulator")
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


def _node(x_npq1t: Ints, w_kt: Ints, datapath: Datapath, probe: Probe) -> Ints:
    """Return what one step adds to the accumulator: leaves, tree, cut."""
    leaf = _leaf(x_npq1t, w_kt, datapath, probe)
    missing = datapath.tree_inputs - leaf.shape[-1]
    nodes = [leaf[..., i] for i in range(leaf.shape[-1])] + [np.zeros_like(leaf[..., 0])] * missing
    for level in datapath.tree:
        pairs = [a + b for a, b in zip(nodes[0::2], nodes[1::2], strict=False)]
        fitted = [_register(pair, level.format, level.overflow, probe, "tree") for pair in pairs]
        nodes = fitted + nodes[2 * len(pairs) :]
    cut = datapath.cut
    if cut is None:
        return nodes[0]
    return _register(round_shift(nodes[0], cut.shift, cut.rounding), cut.format, cut.overflow, probe, "requantise")


def _leaf(x_npq1t: Ints, w_kt: Ints, datapath: Datapath, probe: Probe) -> Ints:
    if datapath.difference is None:
        value = x_npq1t * w_kt
    else:
        form, overflow = datapath.difference.format, datapath.difference.overflow
        difference = _register(x_npq1t - (w_kt << datapath.weight_shift), form, overflow, probe, "difference")
        value = np.abs(difference) if datapath.sign == "positive" else -np.abs(difference)
    return _register(value, datapath.leaf.format, datapath.leaf.overflow, probe, "leaf")


def _register(v: Ints, form: IntFormat, overflow: Overflow, probe: Probe, name: str) -> Ints:
    word = fit(v, form, overflow)
    probe(name, v, word, form)
    return word


def _flag(flags: Flags, name: str, v: Ints, word: Ints, form: IntFormat) -> None:
    """Raise the sticky flag of every output whose register missed its value."""
    missed = word != v
    flags[name] |= missed if missed.ndim == flags[name].ndim else missed.any(-1)  # leaves have an axis of their own


def toggles(
    x_nhwc: Ints,
    w_krsc: Ints,
    initial_k: Ints,
    datapath: Datapath,
    window: Window,
    pad_code: int,
    weight_stationary: bool = False,
) -> dict[str, int]:
    """Return the bits that change in all registers of a name, for :data:`addersim.arithmetic.datapath.REGISTERS`.

    Output stationary: one processing element computes an output, one step (``tree_inputs`` channels) per cycle in
    the datapath's order. Before the first step the accumulator holds its initial value, every other register zero.
    Weight stationary: one processing element keeps the weights of a step and of an output channel, and the output
    pixels of an image pass by, row after row; its accumulator holds the pixel's sum after this step. Before
    the first pixel every register holds zero. Setting up is never counted.

    Where the last step of a kernel tap has fewer channels than ``tree_inputs``, the inputs left over are two zeros.
    A node of the tree that passes its only input on has no register. Parameters are those of :func:`convolve`.
    """
    K, _, _, depth = w_krsc.shape
    per_group, alone = K // window.groups, replace(window, padding=(0, 0), groups=1)
    padded_nhwc, missing = padded(x_nhwc.astype(np.int64), window, pad_code), -depth % datapath.tree_inputs
    counts = dict.fromkeys(REGISTERS, 0)
    for group in range(window.groups):
        ks, cs = slice(group * per_group, (group + 1) * per_group), slice(group * depth, (group + 1) * depth)
        x, w = (np.pad(v, ((0, 0),) * 3 + ((0, missing),)) for v in (padded_nhwc[..., cs], w_krsc[ks].astype(np.int64)))
        words = _words(x, w, initial_k[ks], datapath, alone)
        for name, changed, form in _from_pixel_to_pixel(words) if weight_stationary else _from_step_to_step(words):
            _count(counts, name, changed & ((1 << form.bits) - 1), form)
    return counts


def _words(x_nhwc: Ints, w_krsc: Ints, initial_k: Ints, datapath: Datapath, window: Window) -> Iterator[Words]:
    """Yield what every register holds, before the first step and after each one."""
    P, Q = window.out_size(x_nhwc.shape[1], x_nhwc.shape[2])
    register = datapath.accumulator
    acc = fit(np.broadcast_to(initial_k, (len(x_nhwc), P, Q, len(w_krsc))), register.format, register.overflow)
    words: Words = []
    for r, s, c in _steps(datapath, window, w_krsc.shape[3]):
        first, words = not words, []
        probe = partial(_record, words)
        x_npq1t = x_nhwc[:, window.rows(r, P), window.columns(s, Q)][:, :, :, None, c]
        node = _node(x_npq1t, w_krsc[:, r, s, c], datapath, probe)
        if first:
            cleared = [(name, np.zeros_like(word), form) for name, word, form in words]
            yield [*cleared, ("accumulator", acc, register.format)]
        acc = _register(acc + node, register.format, register.overflow, probe, "accumulator")
        yield words


def _record(words: Words, name: str, v: Ints, word: Ints, form: IntFormat) -> None:
    words.append((name, word, form))


def _from_step_to_step(steps: Iterable[Words]) -> Iterator[tuple[str, Ints, IntFormat]]:
    for before, after in pairwise(steps):
        for (name, old, form), (_, new, _) in zip(before, after, strict=True):
            yield name, old ^ new, form


def _from_pixel_to_pixel(steps: Iterable[Words]) -> Iterator[tuple[str, Ints, IntFormat]]:
    for words in islice(steps, 1, None):
        for name, word, form in words:
            pixels = word.reshape(len(word), word.shape[1] * word.shape[2], *word.shape[3:])
            before = np.concatenate([np.zeros_like(pixels[:, :1]), pixels[:, :-1]], axis=1)
            yield name, before ^ pixels, form


def _count(counts: dict[str, int], name: str, changed: Ints, form: IntFormat) -> None:
    """Add the set bits of ``changed``; the difference's top bit counts as the sign."""
    bits, top = int(np.bitwise_count(changed).sum()), int((changed >> (form.bits - 1)).sum())
    counts[name] += bits - (top if name == "difference" else 0)
    counts["sign"] += top if name == "difference" else 0


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
    """Return ``clamp(rint(x / step) + zero_point)`` channels last, in float64, ties to even; and how many clamped."""
    codes = np.moveaxis(np.rint(x_nchw.astype(np.float64) / step) + zero_point, 1, -1)
    outside = np.count_nonzero((codes < form.min) | (codes > form.max))
    return np.clip(codes, form.min, form.max).astype(np.int64), int(outside)


def max_pool(x_nhwc: Ints, window: Window) -> Ints:
    """Return the maximum of every window; padded pixels never win, as in torch."""
    P, Q = window.out_size(x_nhwc.shape[1], x_nhwc.shape[2])
    padded_nhwc = padded(x_nhwc, window, np.iinfo(x_nhwc.dtype).min)
    taps = [padded_nhwc[:, window.rows(r, P), window.columns(s, Q)] for r in range(window.R) for s in range(window.S)]
    return np.asarray(np.maximum.reduce(taps))


def flatten(x_nhwc: Ints) -> Ints:
    """Return (N, C * H * W): every image as one vector in torch's order, channels outermost."""
    N, H, W, C = x_nhwc.shape
    return np.ascontiguousarray(np.moveaxis(x_nhwc, -1, 1)).reshape(N, C * H * W)


def sum_pool(x_nhwc: Ints, window: Window, pad_code: int, factor_pq: Ints) -> Ints:
    """Return the sum of every window times the factor of its place; padded pixels add ``pad_code``."""
    P, Q = window.out_size(x_nhwc.shape[1], x_nhwc.shape[2])
    padded_nhwc = padded(x_nhwc.astype(np.int64), window, pad_code)
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
