"""Output stages for ext/layer.h: which loop is exact, its constants per channel, the narrowest word of the result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from addersim.arithmetic.fixed import MAX_BITS, IntFormat, Ints, Rounding
from addersim.arithmetic.output_stage import OutputStage
from addersim.errors import InputError

WORDS = tuple(np.dtype(name) for name in ("u1", "i1", "u2", "i2", "i4", "i8"))
WORD_CHARS = "BbHhilq"  # of the types that the C core reads
RAW, FAST, BOUNDED, CHECKED = range(4)  # the loops of ext/stage_kernel.h
Ints32: TypeAlias = NDArray[np.int32]
Numbers: TypeAlias = tuple[Ints, Ints, Ints, Ints]  # B_k, M_k, A_k, n_k
Ends: TypeAlias = tuple[Ints, Ints]  # least and most per channel


@dataclass(frozen=True, eq=False)
class Finish:
    """An output stage for the C core.

    Attributes
    ----------
    word
        The narrowest type that holds every result; p of an unfinished stage has 32 bits or more.
    rows_k
        M, A, n, half, below, odd per channel, with which ``p = acc * M + A``.
    numbers_k
        B, M, A, n, then ``rows_k``, one after the other, of the loops in 64 bits.
    words
        Its part of ``layer_plan``.
    """

    word: np.dtype[Any]
    rows_k: Ints
    numbers_k: Ints
    words: tuple[int, ...]

    def wide(self) -> Finish:
        """Return the same stage in 64 bits."""
        kind = BOUNDED if self.words[0] == FAST else self.words[0]
        return Finish(self.word, self.rows_k, self.numbers_k, (kind, *self.words[1:]))


def word_for(low: int, high: int) -> np.dtype[Any]:
    """Return the narrowest NumPy integer that holds ``low .. high``."""
    return next(word for word in WORDS if np.iinfo(word).min <= low and high <= np.iinfo(word).max)


def as_words(x: NDArray[Any]) -> NDArray[Any]:
    """Return ``x`` contiguous and aligned, in a type that the C core reads.

    Raises
    ------
    InputError
        If ``x`` holds no integers.
    """
    flags, word = x.flags, x.dtype
    known = word.char in WORD_CHARS and word.isnative
    if known and flags.c_contiguous and flags.aligned:
        return x
    if word.kind not in "iub":
        raise InputError(f"the core takes integers, not {word}")
    return np.require(x, None if known else np.int64, ["C", "A"])


def finish(stage: OutputStage, numbers: Numbers, clamp: tuple[int, int], ends: Ends, *, negate: bool) -> Finish:
    """Return the loop and the constants for accumulators between ``ends``.

    32 bits are enough where neither t nor p can overflow and p, rounded, stays below 2^31: then
    ``p = acc * M + (A - B * M)`` modulo 2^32 is p. Else 64 bits, with both registers checked.
    """
    b, m, a, n = (np.asarray(v, np.int64) for v in np.broadcast_arrays(*numbers))
    if n.size and not 0 <= int(n.min()) <= int(n.max()) <= MAX_BITS:
        raise InputError(f"output stage: shifts of {n.min()} to {n.max()}, expected 0 to {MAX_BITS}")
    least, most = (end.astype(object) for end in ends)  # products of 64-bit bounds: Python's integers hold them
    t = ordered((-most if negate else least) - b, (-least if negate else most) - b)
    p = ordered(t[0] * m + a, t[1] * m + a)
    half, below, odd = np.array([rounding_words(int(shift), stage.rounding)[1:] for shift in n]).T.reshape(3, -1)
    rounded = (p[0] - abs(below) - 1, p[1] + half + abs(below) + odd) if stage.finish else p
    kind = _loop(stage, t, p, (rounded, (np.array(clamp[:1]), np.array(clamp[1:]))), n)
    plain = stage.finish and stage.rounding in (Rounding.FLOOR, Rounding.HALF_UP)
    mode = list(Rounding).index(stage.rounding)
    registers = (word for form in (stage.centred, stage.product) for word in (form.bits, form.signed, 0))
    rows = np.stack([-m if negate else m, a - b * m + half * plain, n, half * (not plain), below, odd])
    return Finish(
        word_for(*clamp) if stage.finish else _word_of_product(stage, p, kind),
        rows,
        np.concatenate([b, m, a, n, rows.reshape(-1)]),
        (kind, stage.finish, stage.relu, *clamp, negate, mode, *registers),
    )


def _loop(stage: OutputStage, t: Ends, p: Ends, results: tuple[Ends, ...], n: Ints) -> int:
    """Return the fastest loop that loses nothing of t, of p, and of what comes out."""
    if not (_holds(stage.centred, t) and _holds(stage.product, p)):
        return CHECKED
    small = all(_holds(IntFormat(32, True), ends) for ends in (p, *results))
    return FAST if small and int(n.max(initial=0)) < 32 else BOUNDED


def _word_of_product(stage: OutputStage, p: Ends, kind: int) -> np.dtype[Any]:
    """Return the word in which p is handed out."""
    form = stage.product
    return _at_least_32((np.array([form.min]), np.array([form.max])) if kind == CHECKED else ordered(*p))


def raw(K: int) -> Finish:
    """Return the stage that hands the accumulator out."""
    words = (RAW, 0, 0, 0, 0, 0, 0, *[1, 0, 0] * 2)
    return Finish(np.dtype(np.int64), np.zeros((6, K), np.int64), np.zeros(10 * K, np.int64), words)


def rounding_words(shift: int, rounding: Rounding) -> tuple[int, int, int, int]:
    """Return shift, half, below, odd of layer.h.

    Every mode is ``(v + half + (below if v < 0) + (odd & (v >> shift))) >> shift``.
    """
    unit, half, some = (1 << shift) - 1, (1 << shift) >> 1, int(shift > 0)
    terms = {
        Rounding.FLOOR: (0, 0, 0),
        Rounding.HALF_UP: (half, 0, 0),
        Rounding.HALF_EVEN: (half - some, 0, some),
        Rounding.HALF_AWAY: (half, -some, 0),
        Rounding.TO_ZERO: (0, unit, 0),
    }
    return shift, *terms[rounding]


def panels(rows_k: Ints, groups: int, block: int, low: int) -> Ints32:
    """Return rows_k as (groups, blocks, rows, block) in 32 bits; idle channels make ``low``, which never saturates."""
    rows, K = rows_k.shape
    per_group = K // groups
    blocks = -(-per_group // block)
    filled = np.zeros((groups, blocks * block, rows), np.int64)
    filled[:, :, 1] = low
    filled[:, :per_group] = rows_k.T.reshape(groups, per_group, rows)
    return modulo_32(filled.reshape(groups, blocks, block, rows).transpose(0, 1, 3, 2))


def modulo_32(v: Ints) -> Ints32:
    """Return the low 32 bits of every word, flat."""
    return (np.ascontiguousarray(v) & 0xFFFFFFFF).astype(np.uint32).view(np.int32).reshape(-1)


def ordered(p: Ints, q: Ints) -> Ends:
    """Return the smaller and the larger of each pair."""
    return np.minimum(p, q), np.maximum(p, q)


def _holds(form: IntFormat, ends: Ends) -> bool:
    return form.holds(int(ends[0].min(initial=0)), int(ends[1].max(initial=0)))


def _at_least_32(ends: Ends) -> np.dtype[Any]:
    return np.dtype(np.int32) if _holds(IntFormat(32, True), ends) else np.dtype(np.int64)
