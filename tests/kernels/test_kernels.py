"""reference = native, in every bit and every event; and both obey the laws of the datapath."""

import inspect
import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import OVERFLOWS, ROUNDINGS, layers

from addersim.arithmetic.datapath import TreeCut, exact_datapath, with_accumulator
from addersim.arithmetic.fixed import IntFormat, Overflow
from addersim.arithmetic.window import Window
from addersim.errors import InputError
from addersim.kernels import native, reference

TWINS = [
    "convolve",
    "scale",
    "finish",
    "add",
    "max_pool",
    "sum_pool",
    "flatten",
    "path_taken",
    "layer",
    "output_stage",
    "residual",
    "toggles",
]


def check_both(x, w, initial, datapath, window=None, pad_code=0):
    """Run both twins, require equal bits and events, and return them."""
    window = window or Window(*w.shape[1:3])
    expected, events = reference.convolve(x, w, initial, datapath, window, pad_code)
    acc, native_events = native.convolve(x, w, initial, datapath, window, pad_code)
    np.testing.assert_array_equal(acc, expected)
    assert native_events == events
    return acc, events


@pytest.mark.parametrize("name", TWINS)
def test_twins_have_one_signature(name):
    assert inspect.signature(getattr(native, name)) == inspect.signature(getattr(reference, name))


@settings(max_examples=400, deadline=None)
@given(layers())
def test_any_datapath_any_shape(layer):
    check_both(*layer)


@settings(max_examples=60, deadline=None)
@given(layers(), st.randoms(use_true_random=False))
def test_images_and_output_channels_are_independent(layer, random):
    x, w, initial, datapath, window, pad = layer
    acc, _ = check_both(*layer)
    if window.groups == 1:
        order = random.sample(range(len(w)), len(w))
        permuted, _ = native.convolve(x, w[order], initial[order], datapath, window, pad)
        np.testing.assert_array_equal(permuted, acc[..., order])
    alone = [native.convolve(image[None], w, initial, datapath, window, pad)[0] for image in x]
    np.testing.assert_array_equal(np.concatenate(alone), acc)


@pytest.mark.parametrize("sign", ["positive", "negative"])
@pytest.mark.parametrize("overflow", OVERFLOWS)
def test_two_bit_adder_exhaustively(sign, overflow):
    """Every pair of 2-bit operand triples, in accumulators from too narrow to wide enough."""
    u2 = IntFormat(2, signed=False)
    values = np.array(list(itertools.product(range(4), repeat=3)))
    x, w = values[:, None, None, :], values[:, None, None, :]
    for bits in range(2 if sign == "positive" else 3, 7):
        datapath = with_accumulator(exact_datapath("adder", u2, u2, 3, sign=sign), bits, overflow)
        acc, events = check_both(x, w, np.zeros(64, np.int64), datapath)
        exact = np.abs(values[:, None] - values[None]).sum(-1)
        if datapath.accumulator.format.holds(-9 if sign == "negative" else 0, 9 if sign == "positive" else 0):
            assert not any(events.values())
            np.testing.assert_array_equal(acc[:, 0, 0], exact if sign == "positive" else -exact)
        else:
            assert events["accumulator"] > 0


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("shift", [0, 1, 2])
@pytest.mark.parametrize("overflow", OVERFLOWS)
def test_cut_tree_sums_exhaustively(rounding, shift, overflow):
    """Three leaves (an odd last node passes on), every 2-bit signed operand, a 3-bit register behind the tree."""
    s2 = IntFormat(2, signed=True)
    values = np.array(list(itertools.product(range(-2, 2), repeat=3)))
    base = exact_datapath("multiplier", s2, s2, 3, tree_inputs=3)
    datapath = replace(base, cut=TreeCut(shift, rounding, IntFormat(3, signed=True), overflow))
    check_both(values[:, None, None, :], values[:, None, None, :], np.zeros(64, np.int64), datapath)


def test_shifting_or_swapping_operands_changes_nothing():
    rng = np.random.default_rng(3)
    u8 = IntFormat(8, signed=False)
    x, w = rng.integers(0, 200, (3, 6, 6, 5)), rng.integers(0, 200, (4, 3, 3, 5))
    datapath = exact_datapath("adder", u8, u8, 45)
    acc, _ = check_both(x, w, np.zeros(4, np.int64), datapath)
    shifted, _ = check_both(x + 55, w + 55, np.zeros(4, np.int64), datapath)
    np.testing.assert_array_equal(acc, shifted)
    window_only = x[:, :3, :3]
    ab, _ = check_both(window_only, w, np.zeros(4, np.int64), datapath)
    ba, _ = check_both(w, window_only, np.zeros(3, np.int64), datapath)
    np.testing.assert_array_equal(ab[:, 0, 0], ba[:, 0, 0].T)


def test_extreme_operands_fill_but_do_not_overflow_the_exact_datapath():
    for bits, signed in itertools.product((2, 8, 16), (False, True)):
        form = IntFormat(bits, signed)
        for kind, sign in (("adder", "positive"), ("adder", "negative"), ("multiplier", "positive")):
            datapath = exact_datapath(kind, form, form, 9, tree_inputs=4, sign=sign)
            ends = np.array([form.min, form.max])
            x = np.repeat(ends, 9).reshape(2, 3, 3, 1)
            _, events = check_both(x, x.copy(), np.zeros(2, np.int64), datapath)
            assert not any(events.values())
            narrower = with_accumulator(datapath, datapath.accumulator.format.bits - 1)
            _, events = check_both(x, x.copy(), np.zeros(2, np.int64), narrower)
            assert events["accumulator"] > 0


def test_saturating_chain_equals_one_final_clamp():
    """All terms have one sign, so saturating at every step is saturating once (theorem T3)."""
    rng = np.random.default_rng(4)
    u4 = IntFormat(4, signed=False)
    x, w = rng.integers(0, 16, (8, 3, 3, 4)), rng.integers(0, 16, (5, 3, 3, 4))
    exact = exact_datapath("adder", u4, u4, 36)
    total, _ = check_both(x, w, np.zeros(5, np.int64), exact)
    clamped, _ = check_both(x, w, np.zeros(5, np.int64), with_accumulator(exact, 7, Overflow.SATURATE))
    wrapped, _ = check_both(x, w, np.zeros(5, np.int64), with_accumulator(exact, 7, Overflow.WRAP))
    np.testing.assert_array_equal(clamped, np.minimum(total, 127))
    np.testing.assert_array_equal(wrapped, total % 128)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(ROUNDINGS), st.booleans(), st.booleans())
def test_output_stage(seed, rounding, negate, relu):
    rng = np.random.default_rng(seed)
    acc = rng.integers(-(2**18), 2**18, (2, 3, 2, 4))
    bias, multiplier = rng.integers(-(2**17), 2**17, 4), rng.integers(-255, 256, 4)
    offset, shift = rng.integers(-(2**20), 2**20, 4), rng.integers(0, 25, 4)
    forms = IntFormat(int(rng.integers(12, 21)), True), IntFormat(int(rng.integers(18, 30)), True)
    results = [m.scale(acc, bias, multiplier, offset, *forms, negate) for m in (reference, native)]
    np.testing.assert_array_equal(results[0][0], results[1][0])
    assert results[0][1] == results[1][1]
    codes = [m.finish(results[0][0], shift, rounding, 0, 255, relu) for m in (reference, native)]
    np.testing.assert_array_equal(codes[0][0], codes[1][0])
    assert codes[0][1] == codes[1][1]


def test_empty_batches_and_shapes_that_do_not_fit():
    u4 = IntFormat(4, signed=False)
    datapath = exact_datapath("adder", u4, u4, 9)
    w, none = np.zeros((2, 3, 3, 1), np.int64), np.zeros(2, np.int64)
    assert check_both(np.zeros((0, 4, 4, 1), np.int64), w, none, datapath)[0].shape == (0, 2, 2, 2)
    with pytest.raises(InputError, match="input of 3 channels, weights for 1"):
        native.convolve(np.zeros((1, 4, 4, 3), np.int64), w, none, datapath, Window(3, 3), 0)
