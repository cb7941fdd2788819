"""Gains as integers: ``gain ~ M / 2**n`` with M a multiplier, one power of two, or two of them."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from addersim.arithmetic.fixed import Ints
from addersim.arithmetic.output_stage import Style
from addersim.errors import InputError

MAX_SHIFT = 31
WIDEST = 24


def encode_gains(gains: NDArray[np.float64], style: Style, multiplier_bits: int, where: str) -> tuple[Ints, Ints]:
    """Return (M, n), int64 arrays: ``M / 2**n`` is nearest to each gain, M signed, 1 <= n <= 31.

    ``multiplier_shift``: ``2**(m-1) <= |M| < 2**m`` with m = ``multiplier_bits``. ``shift_only``: |M| is
    ``2**(m-1)``. ``shift_add``: |M| is the sum or difference of two powers of two of at most m bits. A gain
    of zero gives M = 0, n = 1; gains too small for n = 31 take a smaller M, gains too large for n = 1 a wider
    one (which the 16-bit logits need where no layer's small steps come before them).

    Raises
    ------
    InputError
        If a gain is not finite, or needs a multiplier of more than 24 bits; ``where`` names the layer.
    """
    pairs = [_encode(float(gain), style, multiplier_bits, where) for gain in np.atleast_1d(gains)]
    multiplier, shift = zip(*pairs, strict=True)
    return np.array(multiplier, np.int64), np.array(shift, np.int64)


def _encode(gain: float, style: Style, m: int, where: str) -> tuple[int, int]:
    if gain == 0:
        return 0, 1
    magnitude, sign = abs(gain), 1 if gain > 0 else -1
    if not np.isfinite(gain) or magnitude >= 1 << (WIDEST - 1):
        raise InputError(f"layer {where!r}: its output stage needs a gain of {gain:.3g}, more than {WIDEST} bits")
    shift = m - 1 - int(np.floor(np.log2(magnitude)))
    if shift < 1:
        m, shift = m + 1 - shift, 1
    best = min(_candidates(style, m, magnitude, shift), key=lambda c: abs(c[0] / 2.0 ** c[1] - magnitude))
    return sign * best[0], best[1]


def _candidates(style: Style, m: int, magnitude: float, shift: int) -> list[tuple[int, int]]:
    """Return (|M|, n) to choose from; n is cut to 31 where it would be larger."""
    choose = {"multiplier_shift": _products, "shift_only": _powers, "shift_add": _sums}[style]
    return choose(m, magnitude, shift)


def _products(m: int, magnitude: float, shift: int) -> list[tuple[int, int]]:
    n = min(shift, MAX_SHIFT)
    value = round(magnitude * 2.0**n)
    return [(value >> 1, n - 1)] if value >> m and n > 1 else [(value, n)]


def _powers(m: int, magnitude: float, shift: int) -> list[tuple[int, int]]:
    top = 1 << (m - 1)
    wider = [(2 * top, 1)] if shift == 1 else []  # stands for (top, 0)
    return [(top, s) for s in (shift, shift - 1) if 1 <= s <= MAX_SHIFT] + wider or [(0, 1)]


def _sums(m: int, magnitude: float, shift: int) -> list[tuple[int, int]]:
    n, top, powers = min(shift, MAX_SHIFT), 1 << (m - 1), [1 << i for i in range(m)]
    pairs = list(itertools.combinations(powers, 2))
    sums = {a + b for a, b in pairs} | {2 * top - b for b in powers}
    sums |= {b - a for b in powers for a in powers if b > a}  # the order of a set decides between equally near ones
    shifts = [s for s in (n, n - 1) if s >= 1]
    return [(v, s) for v in sums | set(powers) for s in shifts if top <= v < 2 * top or s == MAX_SHIFT]
