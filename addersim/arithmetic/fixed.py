"""Fixed-point arithmetic on int64 arrays: formats, rounding, wrapping and saturation.

Every width is an :class:`IntFormat`; ``bits`` includes the sign bit. Nothing is ever cut except by
:func:`fit`, so whoever looks for the place where bits are lost finds it by its name.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from addersim.errors import InputError

Ints: TypeAlias = NDArray[np.int64]
MAX_BITS = 62  # one bit below int64 for the carry of an addition, one for the sign of an unsigned word


class Rounding(StrEnum):
    """How :func:`round_shift` maps ``v / 2**shift`` to an integer."""

    FLOOR = "floor"
    HALF_UP = "half_up"
    HALF_EVEN = "half_even"
    HALF_AWAY = "half_away"
    TO_ZERO = "to_zero"


class Overflow(StrEnum):
    """What :func:`fit` does with a value outside its format."""

    WRAP = "wrap"
    SATURATE = "saturate"


@dataclass(frozen=True)
class IntFormat:
    """An integer word of ``bits`` bits, two's complement if ``signed``.

    Raises
    ------
    InputError
        If ``bits`` is outside 1 to 62.

    Examples
    --------
    >>> IntFormat(8, signed=True).min, IntFormat(8, signed=False).max
    (-128, 255)
    """

    bits: int
    signed: bool

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= MAX_BITS:
            raise InputError(f"bits = {self.bits} is out of range: a word has 1 to {MAX_BITS} bits")

    @property
    def min(self) -> int:
        """The smallest value, ``-2**(bits-1)`` or 0."""
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def max(self) -> int:
        """The largest value, ``2**(bits-1) - 1`` or ``2**bits - 1``."""
        return (1 << (self.bits - 1)) - 1 if self.signed else (1 << self.bits) - 1

    def holds(self, low: int, high: int) -> bool:
        """Whether every integer from ``low`` to ``high`` has a code."""
        return self.min <= low and high <= self.max

    def __str__(self) -> str:
        return f"{'s' if self.signed else 'u'}{self.bits}"


def format_for(low: int, high: int, *, signed: bool | None = None) -> IntFormat:
    """Return the narrowest format that holds every integer from ``low`` to ``high``.

    Unsigned where ``low >= 0``, unless ``signed`` says otherwise.

    Examples
    --------
    >>> str(format_for(0, 255)), str(format_for(-1, 255))
    ('u8', 's9')
    """
    negative = low < 0 if signed is None else signed
    if not negative and low < 0:
        raise InputError(f"an unsigned word cannot hold {low}")
    magnitude = max(high, -low - 1, 0).bit_length()
    return IntFormat(max(1, magnitude + negative), negative)


def wrap(v: Ints, form: IntFormat) -> Ints:
    """Return the value in ``form`` that is congruent to ``v`` modulo ``2**bits``."""
    low = v & ((1 << form.bits) - 1)
    if not form.signed:
        return low
    sign = 1 << (form.bits - 1)
    return (low ^ sign) - sign


def saturate(v: Ints, form: IntFormat) -> Ints:
    """Return ``min(max(v, form.min), form.max)``."""
    return np.clip(v, form.min, form.max)


def fit(v: Ints, form: IntFormat, overflow: Overflow) -> Ints:
    """Cut ``v`` to ``form``, by :func:`wrap` or :func:`saturate`."""
    return wrap(v, form) if overflow == Overflow.WRAP else saturate(v, form)


def misfits(v: Ints, form: IntFormat) -> int:
    """Return how many elements of ``v`` have no code in ``form``."""
    return int(np.count_nonzero((v < form.min) | (v > form.max)))


def round_shift(v: Ints, shift: int | Ints, rounding: Rounding) -> Ints:
    """Return ``v / 2**shift`` rounded to an integer, exactly, for ``shift >= 0``.

    ``floor`` is the plain arithmetic shift; ``half_up`` is ``(v + 2**(shift-1)) >> shift``; ``half_even``
    and ``half_away`` differ from it only on ties; ``to_zero`` drops the fraction of the magnitude.

    Examples
    --------
    >>> [int(round_shift(np.int64(-6), 2, mode)) for mode in Rounding]
    [-2, -1, -2, -2, -1]
    """
    shift_ = np.asarray(shift, np.int64)
    half = np.where(shift_ > 0, np.left_shift(np.int64(1), np.maximum(shift_ - 1, 0)), 0)
    if rounding == Rounding.FLOOR:
        return v >> shift_
    if rounding == Rounding.HALF_UP:
        return (v + half) >> shift_
    if rounding == Rounding.HALF_EVEN:
        odd = (v >> shift_) & 1
        return np.where(shift_ > 0, (v + half - 1 + odd) >> shift_, v)
    if rounding == Rounding.HALF_AWAY:
        return np.where(v >= 0, (v + half) >> shift_, -((-v + half) >> shift_))
    return np.where(v >= 0, v >> shift_, -((-v) >> shift_))


def requantise(v: Ints, shift: int | Ints, rounding: Rounding, form: IntFormat, overflow: Overflow) -> Ints:
    """Return ``fit(round_shift(v, shift, rounding), form, overflow)``: fewer bits, in two named steps."""
    return fit(round_shift(v, shift, rounding), form, overflow)
