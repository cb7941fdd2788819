"""Which loop computes a datapath exactly, and the theorem that says so.

Notation: leaves ``d >= 0`` (magnitudes), ``S`` their sum, an accumulator that starts at ``b`` and holds
``lo .. hi``. With ``sign = "negative"`` everything is mirrored. Where no theorem applies, the hardware's own
order is followed step by step; nothing is ever approximated.

bounded
    Every register holds every value that the operands' formats and the weights allow, so sums may be taken
    in any order and by any tree.
wraps
    Cutting to N bits by wrapping is a ring homomorphism from Z to Z/2^N: any order, wrapped once at the end.
    Terms of one sign overflow iff the sum does, so that is counted exactly too.
saturates
    Terms of one sign: ``min(hi, min(hi, b + S_t) + d) = min(hi, b + S_(t+1))``, as ``hi + d >= hi``. By
    induction saturating at every step is saturating once.
tree
    Leaves >= 0, inner level l cut at C_l, the last at C. If every ``C_l >= min(largest possible, C)``, the
    tree is ``min(C, S)``: up to the first cut all is exact; a node that is cut holds at least C, and sums of
    magnitudes keep that.
segments
    A tree sum that is cut or requantised is formed exactly, then cut and rounded, then accumulated by the
    theorems above.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from addersim.arithmetic.datapath import Datapath
from addersim.arithmetic.fixed import IntFormat, Ints, Overflow, Rounding

BOUNDED = "no register can overflow, so any order is exact"
WRAPS = "a wrapping accumulator is a ring homomorphism: wrapped once at the end"
SATURATES = "terms of one sign: saturating at every step is saturating once"
SEGMENTS = "each tree sum is formed exactly, then cut and rounded as the hardware does"
STEPWISE = "every step in the hardware's order, one output channel per lane"


class Path(IntEnum):
    """The loops of ext/, in the order of layer.h."""

    DISTANCE8 = 0
    DISTANCE16 = 1
    PRODUCT16 = 2
    SEGMENT8 = 3
    LANES16 = 4
    LANES32 = 5
    LANES64 = 6


LOOPS = {
    Path.DISTANCE8: "sums of absolute byte differences",
    Path.DISTANCE16: "sums of 16-bit maxima",
    Path.PRODUCT16: "sums of 16-bit products",
    Path.SEGMENT8: "byte differences tree by tree",
    Path.LANES16: "16-bit lanes",
    Path.LANES32: "32-bit lanes",
    Path.LANES64: "64-bit lanes",
}


@dataclass(frozen=True, eq=False)
class Proof:
    """The loop to take, the theorem behind it, and what the accumulator then holds.

    Attributes
    ----------
    least_k, most_k
        Extremes of the accumulator's register per output channel.
    may_overflow
        Whether the accumulator's register may be too small.
    """

    path: Path
    theorem: str
    least_k: Ints
    most_k: Ints
    may_overflow: bool


def adder(d: Datapath, w_krsc: Ints, initial_k: Ints) -> Proof | None:
    """Return the proof for sums of distances, or ``None`` where no theorem applies."""
    low, high = difference_range(d, w_krsc)
    leaf, clips = max(high, -low), tree_clips(d, max(high, -low))
    path = _adder_path(d, w_krsc, clips or d.cut is not None)
    rules = (
        w_krsc.size > 0,
        _keeps_distances(d, low, high),
        _keeps_signs(d),
        d.accumulator.format.holds(*_ends(initial_k)),
        not clips or _clips_as_one(d, leaf),
    )
    if path is None or not all(rules):
        return None
    reach_k = _reach(d, w_krsc, leaf, path)
    return None if reach_k is None else _settled(d, reach_k, initial_k, path)


def _keeps_distances(d: Datapath, low: int, high: int) -> bool:
    """Return whether no difference between ``low`` and ``high``, and no magnitude of one, misses its register."""
    whole = d.difference is not None and d.difference.format.holds(low, high)
    return whole and magnitude(d.leaf.format, d) >= max(high, -low)


def _keeps_signs(d: Datapath) -> bool:
    """Return whether negative words, where they travel, meet signed registers only."""
    return d.sign == "positive" or all(register.format.signed for register in (d.leaf, *d.tree, d.accumulator))


def _clips_as_one(d: Datapath, leaf: int) -> bool:
    """Return whether a tree that clips does so as its last register alone would: the nodes that clip saturate there."""
    tops = [magnitude(register.format, d) for register in d.tree]
    return all(
        register.overflow == Overflow.SATURATE and top >= min(leaf << (level + 1), tops[-1])
        for level, (register, top) in enumerate(zip(d.tree, tops, strict=True))
        if top < leaf << (level + 1)
    )


def _reach(d: Datapath, w_krsc: Ints, leaf: int, path: Path) -> Ints | None:
    """Return the largest sum of every output, ``None`` where a requantised word may wrap."""
    if path != Path.SEGMENT8:
        w = shifted(d, w_krsc, np.int32)  # 17 bits hold the operands of every path
        return np.asarray(np.maximum(w - d.x.min, d.x.max - w).sum((1, 2, 3), dtype=np.int64))
    term, (K, R, S, C) = segment_top(d, leaf), w_krsc.shape
    return None if term is None else np.full(K, term * R * S * -(-C // d.tree_inputs))


def _settled(d: Datapath, reach_k: Ints, initial_k: Ints, path: Path) -> Proof | None:
    """Return the proof for sums of up to ``reach_k`` that are added to, or taken from, ``initial_k``."""
    up, register = d.sign == "positive", d.accumulator
    least_k, most_k = (initial_k, initial_k + reach_k) if up else (initial_k - reach_k, initial_k)
    if max(-int(least_k.min()), int(most_k.max()), int(reach_k.max())) >= 1 << 31:
        return None
    if register.format.holds(int(least_k.min()), int(most_k.max())):
        theorem, overflows = BOUNDED, False
    else:
        theorem, overflows = (WRAPS if register.overflow == Overflow.WRAP else SATURATES), True
        least_k, most_k = np.maximum(least_k, register.format.min), np.minimum(most_k, register.format.max)
        if register.overflow == Overflow.WRAP:
            least_k, most_k = (np.full_like(reach_k, end) for end in (register.format.min, register.format.max))
        if max(-register.format.min, register.format.max) >= 1 << 31:
            return None
    if path == Path.SEGMENT8:
        theorem = f"{SEGMENTS}; {theorem}"
    return Proof(path, theorem, least_k, most_k, overflows)


def _adder_path(d: Datapath, w_krsc: Ints, segments: bool) -> Path | None:
    least, most = operand_range(d, w_krsc)
    if most - least <= 255:
        whole = d.tree_inputs % 8 == 0 and d.tree_inputs <= 1 << 12
        return Path.DISTANCE8 if not segments else Path.SEGMENT8 if whole else None
    return Path.DISTANCE16 if most - least < 1 << 16 and not segments else None


def multiplier(d: Datapath, w_krsc: Ints, initial_k: Ints) -> Proof | None:
    """Return the proof for sums of products, or ``None`` where no theorem applies."""
    if d.cut is not None or not w_krsc.size:
        return None
    smallest, largest = int(w_krsc.min()), int(w_krsc.max())
    up_k, down_k = (part(w_krsc, 0).sum((1, 2, 3), dtype=np.int64) for part in (np.maximum, np.minimum))
    below, above = min(d.x.min, 0), max(d.x.max, 0)
    least_k = initial_k + below * up_k + above * down_k  # of every partial sum, in any order
    most_k = initial_k + above * up_k + below * down_k
    corners = [x * w for x in (d.x.min, d.x.max) for w in (smallest, largest)]
    ends = min(0, *corners), max(0, *corners)
    rules = (
        d.leaf.format.holds(*ends),
        all(register.format.holds(ends[0] << (i + 1), ends[1] << (i + 1)) for i, register in enumerate(d.tree)),
        d.accumulator.format.holds(int(least_k.min()), int(most_k.max())),
        max(-int((least_k - initial_k).min()), int((most_k - initial_k).max())) < 1 << 31,
        max(-int(least_k.min()), int(most_k.max())) < 1 << 31,
        min(d.x.min, smallest) >= -(1 << 15),
        max(d.x.max, largest) < 1 << 15,
    )
    return Proof(Path.PRODUCT16, BOUNDED, least_k, most_k, False) if all(rules) else None


def difference_range(d: Datapath, w_krsc: Ints) -> tuple[int, int]:
    """Return the extremes of ``x - (w << weight_shift)`` over the format of x and the given weights."""
    if not w_krsc.size:
        return 0, 0
    return d.x.min - (int(w_krsc.max()) << d.weight_shift), d.x.max - (int(w_krsc.min()) << d.weight_shift)


def magnitude(form: IntFormat, d: Datapath) -> int:
    """Return the largest magnitude that a register holds, in the sign in which words travel."""
    return form.max if d.sign == "positive" else -form.min


def tree_clips(d: Datapath, leaf: int) -> bool:
    """Return whether a node of the tree may miss its register."""
    return any(
        magnitude(stage.format, d) < min(leaf << (i + 1), leaf * d.tree_inputs) for i, stage in enumerate(d.tree)
    )


def segment_top(d: Datapath, leaf: int) -> int | None:
    """Return the largest term that enters the accumulator, or ``None`` where the requantised word may wrap."""
    top = min([leaf * d.tree_inputs, *(magnitude(stage.format, d) for stage in d.tree[-1:])])
    if d.cut is None:
        return top
    held = magnitude(d.cut.format, d)
    if d.cut.shift > 30:  # the loop has 32 bits
        return None
    shift, half, odd = rounding_terms(d.cut.shift, d.cut.rounding, negative=d.sign == "negative")
    rounded = (top + half + odd) >> shift
    if d.sign == "negative" and not d.cut.format.signed:
        return None
    return min(rounded, held) if rounded <= held or d.cut.overflow == Overflow.SATURATE else None


def rounding_terms(shift: int, rounding: Rounding, *, negative: bool = False) -> tuple[int, int, int]:
    """Return (shift, half, odd): a magnitude v rounds to ``(v + half + (odd & (v >> shift))) >> shift``.

    With ``negative`` the word that is rounded is ``-v``, and the result its magnitude.
    """
    unit, half = (1 << shift) - 1, (1 << shift) >> 1
    toward_minus = {Rounding.FLOOR: 0, Rounding.TO_ZERO: 0, Rounding.HALF_UP: half, Rounding.HALF_AWAY: half}
    if negative:
        toward_minus |= {Rounding.FLOOR: unit, Rounding.HALF_UP: max(half - 1, 0)}
    if rounding == Rounding.HALF_EVEN:
        return shift, max(half - 1, 0), int(shift > 0)
    return shift, toward_minus[rounding], 0


def shifted(d: Datapath, w_krsc: Ints, word: type[np.signedinteger[Any]] = np.int64) -> NDArray[Any]:
    """Return the weights in front of the subtractor."""
    w = w_krsc.astype(word)
    return w << d.weight_shift if d.weight_shift else w


def operand_range(d: Datapath, w_krsc: Ints) -> tuple[int, int]:
    """Return the least and the largest operand of the subtractor."""
    low, high = (end << d.weight_shift for end in _ends(w_krsc))
    return min(d.x.min, low), max(d.x.max, high)


def _ends(v: Ints) -> tuple[int, int]:
    return (int(v.min()), int(v.max())) if v.size else (0, 0)
