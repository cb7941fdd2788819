"""Gains of output stages: the nearest number of their kind, and what no register holds."""

import itertools
from typing import get_args

import numpy as np
import pytest

from addersim.arithmetic.output_stage import Style
from addersim.errors import InputError
from addersim.quantization.gains import encode_gains

STYLES = get_args(Style)


@pytest.mark.parametrize("m", [4, 8])
@pytest.mark.parametrize("style", STYLES)
def test_gains_are_the_nearest_of_their_kind(style, m):
    gains = np.concatenate([10.0 ** np.linspace(-4, 1.5, 60), -(10.0 ** np.linspace(-3, 1, 20))])
    multiplier, shift = encode_gains(gains, style, m, "layer")
    assert np.all((shift >= 1) & (shift <= 31))
    powers = [1 << i for i in range(m + 1)]
    if style == "multiplier_shift":
        allowed = range(1 << (m - 1), 1 << m)
    elif style == "shift_only":
        allowed = [1 << (m - 1)]
    else:
        sums = {a + b for a, b in itertools.combinations(powers[:-1], 2)} | {
            a - b for a in powers for b in powers if a > b
        }
        allowed = sorted({v for v in sums | set(powers) if v < 1 << m})
    for gain, M, n in zip(gains, multiplier.tolist(), shift.tolist(), strict=True):
        assert np.sign(M) == np.sign(gain)
        # doubling every candidate with its shift covers all magnitudes of this word
        values = np.array([v * 2.0**-s for v in allowed for s in range(-6, 32)])
        best = values[np.argmin(np.abs(values - abs(gain)))]
        if n > 1 or style == "shift_only":
            assert abs(abs(M) / 2.0**n - abs(gain)) <= abs(best - abs(gain)) * (1 + 1e-9) + 1e-12


def test_gains_at_the_ends():
    multiplier, shift = encode_gains(np.array([0.0, 1e-12, 300.0]), "multiplier_shift", 8, "layer")
    assert (multiplier[0], shift[0]) == (0, 1)
    assert (multiplier[1], shift[1]) == (0, 31)
    assert (multiplier[2], shift[2]) == (600, 1)  # wider than 8 bits, and counted so
    for bad in (np.inf, np.nan, 1e9):
        with pytest.raises(InputError, match="layer 'fc': its output stage needs a gain"):
            encode_gains(np.array([bad]), "multiplier_shift", 8, "fc")
