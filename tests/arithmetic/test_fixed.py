"""Fixed-point arithmetic: every value of small widths, and APyTypes as an outside judge."""

import itertools
from fractions import Fraction
from math import floor

import numpy as np
import pytest
from apytypes import APyFixed, OverflowMode, QuantizationMode
from hypothesis import given
from hypothesis import strategies as st

from addersim.arithmetic.fixed import IntFormat, Overflow, Rounding, fit, format_for, misfits, requantise, round_shift
from addersim.errors import InputError

MODES = {
    Rounding.FLOOR: QuantizationMode.TRN,
    Rounding.HALF_UP: QuantizationMode.RND,
    Rounding.HALF_EVEN: QuantizationMode.RND_CONV,
    Rounding.HALF_AWAY: QuantizationMode.RND_INF,
    Rounding.TO_ZERO: QuantizationMode.TRN_ZERO,
}
OVERFLOWS = {Overflow.WRAP: OverflowMode.WRAP, Overflow.SATURATE: OverflowMode.SAT}


def rounded(value: Fraction, mode: Rounding) -> int:
    """Rounding written out of the definitions, on exact fractions."""
    low = floor(value)
    rest = value - low
    if mode == Rounding.FLOOR or rest == 0:
        return low
    if mode == Rounding.TO_ZERO:
        return low if value > 0 else low + 1
    if rest != Fraction(1, 2):
        return low + (rest > Fraction(1, 2))
    if mode == Rounding.HALF_UP:
        return low + 1
    if mode == Rounding.HALF_EVEN:
        return low + low % 2
    return low + 1 if value > 0 else low


@pytest.mark.parametrize("mode", list(Rounding))
@pytest.mark.parametrize("shift", range(5))
def test_rounding_is_its_definition(mode, shift):
    values = np.arange(-70, 71)
    expected = [rounded(Fraction(int(v), 2**shift), mode) for v in values]
    np.testing.assert_array_equal(round_shift(values, shift, mode), expected)


@pytest.mark.parametrize("mode", list(Rounding))
@pytest.mark.parametrize("overflow", list(Overflow))
@pytest.mark.parametrize("bits", [2, 3, 5])
def test_requantise_equals_apytypes(mode, overflow, bits):
    """A 7-bit word with two fraction bits cast to ``bits`` integer bits."""
    form = IntFormat(bits, signed=True)
    values = np.arange(-64, 64)
    ours = requantise(values, 2, mode, form, overflow)
    theirs = [APyFixed(int(v), int_bits=5, frac_bits=2).cast(bits, 0, MODES[mode], OVERFLOWS[overflow]) for v in values]
    np.testing.assert_array_equal(ours, [int(float(t)) for t in theirs])


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", range(1, 7))
def test_fit_exhaustively(bits, signed):
    form = IntFormat(bits, signed)
    values = np.arange(-200, 201)
    wrapped, clamped = fit(values, form, Overflow.WRAP), fit(values, form, Overflow.SATURATE)
    for v, w, s in zip(values.tolist(), wrapped.tolist(), clamped.tolist(), strict=True):
        assert form.min <= w <= form.max
        assert (v - w) % 2**bits == 0
        assert s == min(max(v, form.min), form.max)
    assert misfits(values, form) == sum(v < form.min or v > form.max for v in values.tolist())


def test_sixty_two_bits_hold_their_extremes():
    form = IntFormat(62, signed=True)
    values = np.array([form.min, -1, 0, form.max])
    np.testing.assert_array_equal(fit(values, form, Overflow.WRAP), values)
    assert int(fit(np.array([form.max + 1]), form, Overflow.WRAP)[0]) == form.min


@given(st.integers(-(2**40), 2**40), st.integers(0, 2**40))
def test_format_for_is_the_narrowest(low, width):
    form = format_for(low, low + width)
    assert form.holds(low, low + width)
    if form.bits > 1:
        assert not IntFormat(form.bits - 1, form.signed).holds(low, low + width)


def test_shift_per_channel():
    values = np.array([[6, 6, 6]])
    np.testing.assert_array_equal(round_shift(values, np.array([0, 1, 2]), Rounding.HALF_UP), [[6, 3, 2]])


@pytest.mark.parametrize("bits", [0, -3, 63])
def test_widths_out_of_range(bits):
    with pytest.raises(InputError, match="a word has 1 to 62 bits"):
        IntFormat(bits, signed=True)


def test_unsigned_word_cannot_be_negative():
    with pytest.raises(InputError, match="cannot hold -1"):
        format_for(-1, 3, signed=False)
    assert all(str(IntFormat(b, s)) == f"{'us'[s]}{b}" for b, s in itertools.product((1, 8), (False, True)))
