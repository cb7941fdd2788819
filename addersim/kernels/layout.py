"""A layer as ext/layer.h wants it: the plan's words, and weights and constants in panels of output channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from addersim.datapath import Datapath, OutputStage, Stage
from addersim.errors import InputError
from addersim.fixed import Ints, Overflow, Rounding
from addersim.kernels import _native, lanes
from addersim.kernels.plan import LayerPlan
from addersim.kernels.dispatch import prove
from addersim.kernels.theorems import Path, Proof, magnitude, rounding_terms

WORDS: tuple[np.dtype[Any], ...] = tuple(np.dtype(name) for name in ("u1", "i1", "u2", "i2", "i4", "i8"))
WORD_CHARS = "BbHhilq"
RAW, FAST, EXACT = range(3)
LANE_BYTES = {Path.LANES16: 2, Path.LANES32: 4, Path.LANES64: 8}
NO_REGISTER = [0, 0, 0, 0]
MAX_LEVELS, MAX_TREE_INPUTS = 12, 1 << 12
Ints32: TypeAlias = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Finish:
    """An output stage for the C core: which loop, its constants, and the word its results fit.

    ``rows_k`` holds M, A, n, half, below, odd per channel (FAST), ``numbers_k`` B, M, A, n (EXACT).
    """

    kind: int
    word: np.dtype[Any]
    rows_k: Ints
    numbers_k: Ints
    words: tuple[int, ...]


def word_for(low: int, high: int) -> np.dtype[Any]:
    """Return the narrowest NumPy integer that holds ``low .. high``."""
    return next(word for word in WORDS if np.iinfo(word).min <= low and high <= np.iinfo(word).max)


def as_words(x: Ints) -> NDArray[Any]:
    """Return ``x`` contiguous, in a word type of the C core."""
    return np.ascontiguousarray(x, None if x.dtype.char in WORD_CHARS else np.int64)


def finish(
    stage: OutputStage, bias_k: Ints, gain_k: Ints, offset_k: Ints, shift_k: Ints, clamp: tuple[int, int], negate: bool,
    least_k: Ints, most_k: Ints,
) -> Finish:  # fmt: skip
    """Return the loop and the constants of an output stage behind accumulators of ``least_k .. most_k``."""
    b, m, a, n = (np.asarray(v, np.int64) for v in np.broadcast_arrays(bias_k, gain_k, offset_k, shift_k))
    t = sorted_ends((-most_k if negate else least_k) - b, (-least_k if negate else most_k) - b)
    p = sorted_ends(t[0] * m + a, t[1] * m + a)
    bounded = _holds(stage, t, p)
    terms = np.array([lanes.rounding_words(int(shift), stage.rounding) for shift in n]).T.reshape(4, -1)
    half, below, odd = terms[1:]
    rounded = (p[0] - abs(below) - 1, p[1] + half + abs(below) + odd) if stage.finish else p
    narrow = bounded and _within(31, *rounded, np.array(clamp)) and int(n.max(initial=0)) < 32
    plain = stage.finish and stage.rounding in (Rounding.FLOOR, Rounding.HALF_UP)
    rows = np.stack([-m if negate else m, a - b * m + half * plain, n, half * (not plain), below, odd])
    ends = clamp if stage.finish else (int(p[0].min(initial=0)), int(p[1].max(initial=0)))
    if not bounded and not stage.finish:
        ends = stage.product.min, stage.product.max
    numbers = np.stack([b, m, a, n]).reshape(-1)
    mode = list(Rounding).index(stage.rounding)
    words = (FAST if narrow else EXACT, stage.finish, stage.relu, *clamp, negate, mode)
    registers = (stage.centred.bits, stage.centred.signed, 0, stage.product.bits, stage.product.signed, 0)
    word = word_for(*ends) if stage.finish else max(word_for(*ends), np.dtype(np.int32), key=lambda w: w.itemsize)
    return Finish(words[0], word, rows, numbers, (*words, *registers))


def raw(K: int) -> Finish:
    """Return the stage that hands the accumulator out."""
    words = (RAW, 0, 0, 0, 0, 0, 0, *[1, 0, 0] * 2)
    return Finish(RAW, np.dtype(np.int64), np.zeros((6, K), np.int64), np.zeros(4 * K, np.int64), words)


def sorted_ends(p: Ints, q: Ints) -> tuple[Ints, Ints]:
    """Return the smaller and the larger of each pair."""
    return np.minimum(p, q), np.maximum(p, q)


def _holds(stage: OutputStage, t: tuple[Ints, Ints], p: tuple[Ints, Ints]) -> bool:
    def all_in(form: Any, ends: tuple[Ints, Ints]) -> bool:
        return bool(form.holds(int(ends[0].min(initial=0)), int(ends[1].max(initial=0))))

    return all_in(stage.centred, t) and all_in(stage.product, p)


def _within(bits: int, *values: Ints) -> bool:
    return all(abs(int(end)) < 1 << bits for v in values if v.size for end in (v.min(), v.max()))


def pack(
    plan: LayerPlan, isa: str, vector_bytes: int, initial_k: Ints, bias_k: Ints, only_sum: bool = False
) -> tuple[_native.Layer, Finish, Proof]:
    """Return the layer for the C core, its stage, and the proof of its loop.

    Parameters
    ----------
    isa, vector_bytes
        Name of the set of instructions and the size of its vectors.
    initial_k, bias_k
        What the accumulator starts at, and the output stage's bias that is left to subtract.
    only_sum
        Whether the layer ends with its accumulator.
    """
    w_krsc, d, K = plan.w_krsc, plan.datapath, len(plan.w_krsc)
    if d.tree_inputs > MAX_TREE_INPUTS:
        raise InputError(f"tree_inputs = {d.tree_inputs}: the native core sums up to {MAX_TREE_INPUTS} at once")
    proof = prove(d, w_krsc, initial_k, plan.window.groups)
    clamp = plan.low, plan.high
    ends = (
        raw(K)
        if only_sum
        else finish(
            plan.stage,
            bias_k,
            plan.multiplier_k,
            plan.offset_k,
            plan.shift_k,
            clamp,
            d.negates,
            proof.least_k,
            proof.most_k,
        )
    )
    if proof.path >= Path.LANES16 and ends.kind == FAST:
        ends = Finish(EXACT, ends.word, ends.rows_k, ends.numbers_k, (EXACT, *ends.words[1:]))
    block = vector_bytes // 4
    w, at, w_sum, channels, least = _weights(plan, proof.path, vector_bytes)
    words = _words(plan, proof, initial_k, at, channels, least, ends.words)
    assert len(words) == _native.PLAN_WORDS, (len(words), _native.PLAN_WORDS)
    layer = _native.Layer(
        isa,
        np.array(words, np.int64),
        np.concatenate([w.reshape(-1).view(np.uint8), np.zeros(64, np.uint8)]),
        np.ascontiguousarray(at, np.int32),
        w_sum,
        constants(ends.rows_k, plan.window.groups, block, plan.low),
        np.ascontiguousarray(initial_k, np.int64),
        np.ascontiguousarray(ends.numbers_k),
    )
    return layer, ends, proof


def constants(rows_k: Ints, groups: int, block: int, low: int) -> Ints32:
    """Return (groups, blocks, rows, block) in 32 bits; idle channels make ``low``, which no count takes for saturated."""
    rows, K = rows_k.shape
    per_group = K // groups
    blocks = -(-per_group // block)
    panels = np.zeros((groups, blocks * block, rows), np.int64)
    panels[:, :, 1] = low
    panels[:, :per_group] = rows_k.T.reshape(groups, per_group, rows)
    cut = panels.reshape(groups, blocks, block, rows).transpose(0, 1, 3, 2) & 0xFFFFFFFF
    return np.ascontiguousarray(cut).astype(np.uint32).view(np.int32).reshape(-1)


def _words(
    plan: LayerPlan, proof: Proof, initial_k: Ints, at: Ints, channels: int, least: int, stage: tuple[int, ...]
) -> list[int]:
    """Return the int64 words of ``layer_plan``, in its order."""
    d, window, (K, R, S, C) = plan.datapath, plan.window, plan.w_krsc.shape
    up = d.kind == "multiplier" or d.sign == "positive"
    in_lanes = proof.path >= Path.LANES16
    settles = not in_lanes and (not up or proof.may_overflow or bool(np.any(initial_k)))
    segment = _segment(d, proof.path)
    return [
        int(proof.path), C, K // window.groups, window.groups, channels, *window.stride, *window.padding,
        least, plan.pad_code - least, len(at), R * S,
        1 if up else -1, settles,
        *(_lane_register("accumulator", d, plan.w_krsc, initial_k) if in_lanes else _accumulator(d, proof)),
        *segment, *stage, *_lane_datapath(d, plan.w_krsc, initial_k),
    ]  # fmt: skip


def _accumulator(d: Datapath, proof: Proof) -> list[int]:
    """Return active, wraps, low, high of the register behind a sum of 32 bits."""
    form, limit = d.accumulator.format, 1 << 31
    wraps = proof.may_overflow and d.accumulator.overflow == Overflow.WRAP
    return [proof.may_overflow, wraps, max(form.min, -limit), min(form.max, limit - 1)]


def _segment(d: Datapath, path: Path) -> list[int]:
    if path != Path.SEGMENT8:
        return [1, 0, 0, 0, 0, 0, 0]
    top = (1 << 31) - 1
    tree_cap = min(top, magnitude(d.tree[-1], d))
    if d.cut is None:
        return [d.tree_inputs // 8, tree_cap, top, 0, 0, 0, 0]
    cut_cap = min(top, d.cut.format.max if d.sign == "positive" else -d.cut.format.min)
    shift, half, odd = rounding_terms(d.cut.shift, d.cut.rounding, negative=d.sign == "negative")
    return [d.tree_inputs // 8, tree_cap, cut_cap, shift, half, 0, odd]


def _lane_datapath(d: Datapath, w_krsc: Ints, initial_k: Ints) -> list[int]:
    cut = lanes.rounding_words(d.cut.shift, d.cut.rounding) if d.cut else [0, 0, 0, 0]
    head = [d.kind == "adder", d.sign == "negative", d.tree_inputs, len(d.tree), d.cut is not None, *cut]
    names = ["difference", "leaf", "cut", *(f"tree{i}" for i in range(MAX_LEVELS))]
    return head + [word for name in names for word in _lane_register(name, d, w_krsc, initial_k)]


def _lane_register(name: str, d: Datapath, w_krsc: Ints, initial_k: Ints) -> list[int]:
    front, back = lanes.walk(d, w_krsc, initial_k)
    stage, active, top_only = {**front.active, **back.active}.get(name, (None, False, False))
    if stage is None or not active:
        return NO_REGISTER
    way = 1 if stage.overflow == Overflow.WRAP else 2 * top_only
    return [1, way, stage.format.min, stage.format.max]


def _weights(plan: LayerPlan, path: Path, vector_bytes: int) -> tuple[NDArray[Any], Ints, Ints32, int, int]:
    """Return panels, taps, sums, channels per group in the padded copy, and what is subtracted from every word."""
    d, w, dilation = plan.datapath, plan.w_krsc, plan.window.dilation
    none = np.zeros(1, np.int32)
    if path in LANE_BYTES:
        word = LANE_BYTES[path]
        panels = lanes.weights(d, w, vector_bytes // word).astype(f"i{word}")
        return panels, _dilated(lanes.taps(d, w), dilation), none, w.shape[3], 0
    if path == Path.PRODUCT16:
        panels, at = _products(plan, vector_bytes // 4)
        return panels, at, none, w.shape[3], 0
    shifted = w.astype(np.int64) << d.weight_shift
    least, most = min(d.x.min, int(shifted.min())), max(d.x.max, int(shifted.max()))
    if path == Path.DISTANCE16:
        middle = (least + most + 1) >> 1
        panels, at, sums = _maxima(shifted - middle, plan.window.groups, vector_bytes // 4)
        return panels, _dilated(at, dilation), sums, -(-w.shape[3] // 2) * 2, middle
    segment = d.tree_inputs if path == Path.SEGMENT8 else 8
    channels = -(-w.shape[3] // segment) * segment
    panels, at = _distances(shifted - least, channels, plan.window.groups, vector_bytes)
    return panels, _dilated(at, dilation), none, channels, least


def _dilated(at: Ints, dilation: tuple[int, int]) -> Ints:
    return at * np.array([*dilation, 1])


def _places(R: int, S: int, channels: int, step: int) -> Ints:
    """Return (R * S * channels / step, 3): kernel row, kernel column, first channel of every step."""
    at = np.indices((R, S, channels // step)).reshape(3, -1).T
    return at * np.array([1, 1, step])


def _distances(w: Ints, channels: int, groups: int, vector_bytes: int) -> tuple[NDArray[Any], Ints]:
    """Lay byte weights out in panels of 8 channels x BLOCK outputs, in the order in which lanes are narrowed."""
    K, R, S, C = w.shape
    padded = np.zeros((K, R, S, channels), np.uint8)
    padded[..., :C] = w
    block = vector_bytes // 4
    lane = np.arange(block).reshape(-1, 2, 2).transpose(1, 0, 2).reshape(-1)  # 0 1 4 5 ... | 2 3 6 7 ...
    panels = panels_of(padded.reshape(K, -1, 8), groups, block)[:, :, :, lane]
    return np.ascontiguousarray(panels), _places(R, S, channels, 8)


def _maxima(w: Ints, groups: int, block: int) -> tuple[NDArray[Any], Ints, Ints32]:
    """Lay 16-bit weights out in pairs, and return each output channel's sum of weights beside them."""
    K, R, S, C = w.shape
    channels = -(-C // 2) * 2
    padded = np.zeros((K, R, S, channels), np.int16)
    padded[..., :C] = w
    panels = panels_of(padded.reshape(K, -1, 2), groups, block)
    sums = panels_of(w.sum((1, 2, 3)).reshape(K, 1, 1), groups, block) & 0xFFFFFFFF
    return np.ascontiguousarray(panels), _places(R, S, channels, 2), sums.astype(np.uint32).view(np.int32).reshape(-1)


def _products(plan: LayerPlan, block: int) -> tuple[NDArray[Any], Ints]:
    """Lay 16-bit weights out in pairs; kernel columns that touch in memory form one run, its end filled with 0."""
    K, R, S, C = plan.w_krsc.shape
    touching = plan.window.dilation[1] == 1 and plan.window.groups == 1
    runs, length = (R, S * C) if touching else (R * S, C)
    pairs = -(-length // 2)
    w = np.zeros((K, runs, 2 * pairs), np.int16)
    w[..., :length] = plan.w_krsc.reshape(K, runs, length)
    panels = panels_of(w.reshape(K, -1, 2), plan.window.groups, block)
    starts = np.indices((R, 1) if touching else (R, S)).reshape(2, -1).T * np.array(plan.window.dilation)
    at = np.column_stack([np.repeat(starts, pairs, axis=0), np.tile(2 * np.arange(pairs), runs)])
    return np.ascontiguousarray(panels), at


def panels_of(w_ksj: NDArray[Any], groups: int, block: int) -> NDArray[Any]:
    """Return (groups, blocks, steps, block, j): output channels in blocks, filled up with zeros."""
    K, steps, width = w_ksj.shape
    per_group = K // groups
    blocks = -(-per_group // block)
    w = np.zeros((groups, blocks * block, steps, width), w_ksj.dtype)
    w[:, :per_group] = w_ksj.reshape(groups, per_group, steps, width)
    return w.reshape(groups, blocks, block, steps, width).transpose(0, 1, 3, 2, 4)


def pack_stage(finish: Finish, isa: str, vector_bytes: int, channels: int, low: int) -> _native.Layer:
    """Return an output stage without a layer for the C core."""
    head = [int(Path.PRODUCT16), channels, channels, 1, channels, 1, 1, 0, 0, 0, 0, 0, 0, 1, 0]
    words = [*head, *NO_REGISTER, *[1, 0, 0, 0, 0, 0, 0], *finish.words]
    words += [0] * (_native.PLAN_WORDS - len(words))
    none = np.zeros(1, np.int32)
    numbers = np.ascontiguousarray(finish.numbers_k)
    rows = constants(finish.rows_k, 1, vector_bytes // 4, low)
    start = np.zeros(channels, np.int64)
    plan = np.array(words, np.int64)
    return _native.Layer(isa, plan, np.zeros(64, np.uint8), np.zeros((1, 3), np.int32), none, rows, start, numbers)
