"""Datapaths: exact widths, validity, JSON there and back."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from addersim.arithmetic.datapath import Register, TreeCut, exact_datapath, from_dict, leaf_range, with_accumulator
from addersim.arithmetic.fixed import IntFormat, Overflow, Rounding
from addersim.arithmetic.output_stage import OutputStage, stage_from_dict
from addersim.errors import InputError

U8, S8 = IntFormat(8, signed=False), IntFormat(8, signed=True)


@pytest.mark.parametrize(("depth", "bits"), [(144, 16), (288, 17), (576, 18), (2304, 20), (4608, 21)])
def test_accumulator_widths_of_int8_adders(depth, bits):
    """``ceil(log2(depth * 255 + 1))``."""
    assert exact_datapath("adder", U8, U8, depth).accumulator.format == IntFormat(bits, signed=False)


@given(st.integers(2, 5), st.integers(2, 5), st.booleans(), st.booleans(), st.sampled_from(["adder", "multiplier"]))
def test_leaf_range_by_enumeration(x_bits, w_bits, x_signed, w_signed, kind):
    x, w = IntFormat(x_bits, x_signed), IntFormat(w_bits, w_signed)
    pairs = [(a, b) for a in range(x.min, x.max + 1) for b in range(w.min, w.max + 1)]
    leaves = [abs(a - b) if kind == "adder" else a * b for a, b in pairs]
    low, high = leaf_range(kind, x, w)
    assert high == max(leaves)
    assert low == (0 if kind == "adder" else min(leaves))


def test_json_there_and_back():
    path = exact_datapath("adder", U8, U8, 27, tree_inputs=5, sign="negative")
    cut = TreeCut(2, Rounding.HALF_EVEN, IntFormat(6, signed=True), Overflow.WRAP)
    full = path.__class__(**{**path.__dict__, "cut": cut, "order": "crs", "preload_bias": True})
    for one in (path, full, exact_datapath("multiplier", U8, S8, 9)):
        assert from_dict(json.loads(json.dumps(one.to_dict()))) == one
    stage = OutputStage(IntFormat(15, True), IntFormat(23, True), finish=False, style="shift_add")
    assert stage_from_dict(json.loads(json.dumps(stage.to_dict()))) == stage


def test_negates_only_positive_adders():
    assert exact_datapath("adder", U8, U8, 9).negates
    assert not exact_datapath("adder", U8, U8, 9, sign="negative").negates
    assert not exact_datapath("multiplier", U8, S8, 9).negates


def test_narrower_accumulator():
    path = with_accumulator(exact_datapath("adder", U8, U8, 9), 10, Overflow.WRAP)
    assert path.accumulator == Register(IntFormat(10, signed=False), Overflow.WRAP)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"order": "xyz"}, "choose one of rsc"),
        ({"tree_inputs": 4}, "needs 2 tree levels, not 0"),
        ({"difference": None}, "has a difference register"),
    ],
)
def test_impossible_datapaths(change, message):
    path = exact_datapath("adder", U8, U8, 9)
    with pytest.raises(InputError, match=message):
        path.__class__(**{**path.__dict__, **change})
