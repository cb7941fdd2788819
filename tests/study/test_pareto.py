"""Pareto fronts: equal to comparing every pair of rows."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from addersim import pareto
from addersim.errors import InputError

NUMBERS = (
    st.one_of(st.integers(-3, 3), st.integers(2**53 - 2, 2**53 + 2)),
    st.sampled_from([-np.inf, -1.0, 0.0, 0.5, np.inf]),
)


def brute_force(rows, senses):
    signs = [1 if sense == "min" else -1 for sense in senses]

    def dominates(a, b):
        pairs = [(x, y) if sign == 1 else (y, x) for x, y, sign in zip(a, b, signs, strict=True)]
        return all(x <= y for x, y in pairs) and any(x < y for x, y in pairs)

    return [i for i, row in enumerate(rows) if not any(dominates(other, row) for other in rows)]


@st.composite
def frames(draw):
    kinds = [NUMBERS[draw(st.integers(0, 1))] for _ in range(draw(st.integers(1, 4)))]
    senses = [draw(st.sampled_from(["min", "max"])) for _ in kinds]
    return draw(st.lists(st.tuples(*kinds), max_size=25)), senses


@given(frames())
def test_equal_to_brute_force(drawn):
    rows, senses = drawn
    columns = {f"c{i}": [row[i] for row in rows] or np.zeros(0) for i in range(len(senses))}
    frame = pd.DataFrame(columns, index=range(7, 7 + len(rows)))
    front = pareto(frame, dict(zip(columns, senses, strict=True)))
    assert list(front.index) == [7 + i for i in brute_force(rows, senses)]
    pd.testing.assert_frame_equal(pareto(front, dict(zip(columns, senses, strict=True))), front)


def test_a_large_front_against_sorting():
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"x": random.integers(0, 10**6, 50_000), "y": random.random(50_000)})
    in_order = frame.sort_values(["x", "y"])
    best = in_order[in_order["y"] == in_order["y"].cummin()].sort_index()  # ties in y are unlikely among random floats
    pd.testing.assert_frame_equal(pareto(frame, {"x": "min", "y": "min"}), best)


@pytest.mark.parametrize(
    ("objectives", "message"),
    [
        ({}, "no objectives"),
        ({"energy": "min"}, "objective 'energy' is no column; did you mean 'energy_pj'"),
        ({"energy_pj": "least"}, "energy_pj = 'least', expected 'min' or 'max'"),
        ({"table": "min"}, "objective table holds no numbers"),
        ({"area_um2": "min"}, "area_um2 is NaN in 1 of 2 rows"),
    ],
)
def test_what_has_no_front(objectives, message):
    frame = pd.DataFrame({"energy_pj": [1, 2], "table": ["a", "b"], "area_um2": [1.0, np.nan]})
    with pytest.raises(InputError, match=message):
        pareto(frame, objectives)
