"""Toggle counts: the definition against counting by hand, every loop of the core against the definition, and laws."""

import itertools
import os
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import layers, small_window

from addersim.arithmetic.datapath import REGISTERS, Register, exact_datapath, with_accumulator
from addersim.arithmetic.fixed import IntFormat, format_for
from addersim.arithmetic.window import Window
from addersim.errors import InputError
from addersim.kernels import native, reference
from addersim.kernels.isa import instruction_sets
from addersim.kernels.toggles import bytes_suffice, chosen_loop

SETS = instruction_sets()
U2, U8 = IntFormat(2, False), IntFormat(8, False)


def check_all(x, w, initial, datapath, window=None, pad_code=0, sets=SETS):
    """Run the definition and every loop of the core, require equal counts, and return them."""
    layer = x, w, initial, datapath, window or Window(*w.shape[1:3]), pad_code
    counts, by_pixel = reference.toggles(*layer), reference.toggles(*layer, True)
    assert tuple(counts) == tuple(by_pixel) == REGISTERS
    for isa in sets:
        with patch.dict(os.environ, ADDERSIM_ISA=isa):
            assert native.toggles(*layer) == counts, isa
            assert native.toggles(*layer, True) == by_pixel, isa
    return counts


def vectors(*rows):
    return np.array(rows)[:, None, None, :]


@settings(max_examples=300, deadline=None)
@given(layers())
def test_any_datapath_any_shape(layer):
    check_all(*layer, sets=SETS[:1])


@settings(max_examples=100, deadline=None)
@given(layers(), st.sampled_from(["difference", "leaf", "accumulator"]), st.integers(20, 60))
def test_wide_registers(layer, name, bits):
    """Registers in which nothing is cut, up to the widths that need words of 64 bits."""
    x, w, initial, datapath, window, pad_code = layer
    stage = getattr(datapath, name)
    if stage is not None:
        wide = replace(stage, format=IntFormat(stage.format.bits + bits - 10, stage.format.signed))
        datapath = replace(datapath, **{name: wide})
        assert chosen_loop(datapath, w[0].size, initial)[2] != np.int64 or wide.format.bits > 30
    check_all(x, w, initial << (bits // 2), datapath, window, pad_code)


@st.composite
def byte_layers(draw):
    """A layer for the loop of bytes: operands of their own formats, wider registers, remainders of every vector."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    x, w = (IntFormat(draw(st.integers(1, 6)), draw(st.booleans())) for _ in range(2))
    if draw(st.booleans()):
        x = w = IntFormat(draw(st.integers(2, 8)), draw(st.booleans()))
    shift = draw(st.integers(0, 1)) if w.bits < 7 else 0
    groups = draw(st.sampled_from([1, 1, 2]))
    window = small_window(draw, groups)
    C, K = draw(st.integers(1, 9)), draw(st.one_of(st.integers(1, 9), st.integers(10, 70)))
    depth = window.R * window.S * C
    path = exact_datapath("adder", x, w, depth, weight_shift=shift)
    reach = path.leaf.format.max * depth
    most = draw(st.sampled_from([0, 300, 1 << 16, (1 << 31) - 1 - reach]))
    least = -draw(st.sampled_from([0, reach, 1 << 16, 1 << 31]))
    initial = rng.integers(least, most, groups * K, endpoint=True)
    exact = format_for(int(initial.min()), int(initial.max()) + reach)
    wider = [draw(st.integers(0, 12)) for _ in range(3)]
    path = replace(
        path,
        difference=Register(IntFormat(path.difference.format.bits + wider[0], True)),
        leaf=Register(IntFormat(path.leaf.format.bits + wider[1], False)),
        accumulator=Register(IntFormat(exact.bits + wider[2], exact.signed)),
        order=draw(st.sampled_from(["".join(p) for p in itertools.permutations("rsc")])),
    )
    images = rng.integers(x.min, x.max, (draw(st.integers(1, 3)), 5, 4, groups * C), endpoint=True)
    weights = rng.integers(w.min, w.max, (groups * K, window.R, window.S, C), endpoint=True)
    return images, weights, initial, path, window, draw(st.integers(x.min, x.max))


@settings(max_examples=250, deadline=None)
@given(byte_layers())
def test_every_instruction_set_is_the_definition(layer):
    _, w, initial, datapath, _, _ = layer
    assert bytes_suffice(datapath, w[0].size, initial)
    check_all(*layer)


@settings(max_examples=60, deadline=None)
@given(byte_layers(), st.sampled_from(["difference", "leaf", "accumulator"]))
def test_without_a_proof_it_steps(layer, name):
    """One bit less than the formats need, and the loop of bytes steps aside."""
    x, w, initial, datapath, window, pad_code = layer
    exact = exact_datapath("adder", datapath.x, datapath.w, w[0].size, weight_shift=datapath.weight_shift)
    narrow = getattr(exact, name).format
    narrow = Register(IntFormat(max(1, narrow.bits - 1), narrow.signed))
    datapath = replace(datapath, **{name: narrow})
    if narrow.format.bits < getattr(exact, name).format.bits:
        assert not bytes_suffice(datapath, w[0].size, np.maximum(initial, 0))
    check_all(x, w, np.maximum(initial, 0), datapath, window, pad_code)


def test_by_hand():
    """Differences 2, -2; magnitudes 2, 2; sums 2, 4."""
    datapath = exact_datapath("adder", U2, U2, 2)
    counts = check_all(vectors([3, 0]), vectors([1, 2]), np.zeros(1, np.int64), datapath)
    assert counts == {"difference": 1, "sign": 1, "leaf": 1, "tree": 0, "requantise": 0, "accumulator": 1 + 2}


def test_a_tree_by_hand():
    """Four channels, three per step: leaves 3 1 2, then 2 and two zeros; nodes 4 and 6, then 2 and 2; sums 6, 8."""
    datapath = exact_datapath("adder", U2, U2, 4, tree_inputs=3)
    counts = check_all(vectors([3, 1, 2, 3]), vectors([0, 0, 0, 1]), np.zeros(1, np.int64), datapath)
    assert counts == {"difference": 7, "sign": 0, "leaf": 7, "tree": 3 + 3, "requantise": 0, "accumulator": 2 + 3}


def test_weight_stationary_by_hand():
    """Pixels 3, 1, 2 pass the weights 1 and 0: differences 2 0 1 and 3 1 2; sums start at 1 and are 3 1 2 and 4 2 3."""
    x, w = np.array([3, 1, 2]).reshape(1, 1, 3, 1), vectors([1], [0])
    datapath = replace(exact_datapath("adder", U2, U2, 1), accumulator=Register(IntFormat(4, False)))
    check_all(x, w, np.ones(2, np.int64), datapath)
    counts = native.toggles(x, w, np.ones(2, np.int64), datapath, Window(1, 1), 0, weight_stationary=True)
    leaf, accumulator = (1 + 1 + 1) + (2 + 1 + 2), (2 + 1 + 2) + (1 + 2 + 1)
    expected = {"difference": leaf, "sign": 0, "leaf": leaf, "tree": 0, "requantise": 0, "accumulator": accumulator}
    assert counts == expected


def test_the_initial_value_is_not_counted():
    datapath = exact_datapath("adder", U2, U2, 2)
    counts = check_all(vectors([0, 1]), vectors([0, 0]), np.array([6]), datapath)
    assert counts["accumulator"] == 1


@pytest.mark.parametrize("signed", [False, True])
def test_two_steps_exhaustively(signed):
    """Every pair of 3-bit operands after every other, against strings of binary digits."""
    form = IntFormat(3, signed)
    pairs = list(itertools.product(range(form.min, form.max + 1), repeat=2))
    path = exact_datapath("adder", form, form, 2)
    counts = check_all(vectors(*pairs), vectors(*pairs), np.zeros(64, np.int64), path)
    expected = dict.fromkeys(REGISTERS, 0)
    for x, w in itertools.product(pairs, repeat=2):
        d = [0, x[0] - w[0], x[1] - w[1]]
        difference = [f"{v & 15:04b}" for v in d]
        words = {
            "sign": [v[0] for v in difference],
            "difference": [v[1:] for v in difference],
            "leaf": [f"{abs(v):03b}" for v in d],
            "accumulator": [f"{v:04b}" for v in itertools.accumulate(map(abs, d))],
        }
        for name, (a, b, c) in words.items():
            expected[name] += sum(i != j for i, j in zip(a + b, b + c, strict=True))
    assert counts == expected


@pytest.mark.parametrize("K", [1, 3, 4, 5, 8, 15, 16, 17, 31, 32, 33, 64, 65])
@pytest.mark.parametrize("depth", [1, 15, 16, 17, 33])
def test_remainders_of_vectors_and_blocks(K, depth):
    rng = np.random.default_rng(K * depth)
    x, w = rng.integers(0, 256, (3, 1, 3, depth)), rng.integers(0, 256, (K, 1, 1, depth))
    check_all(x, w, np.zeros(K, np.int64), exact_datapath("adder", U8, U8, depth))


def test_sums_beyond_sixteen_bits():
    """A sum that counts to n changes 2 n - ones(n) bits, n of them in the lowest; carries reach the upper half."""
    n = 200_000
    path = exact_datapath("adder", U8, U8, n)
    ones = np.ones((1, 1, 1, n), np.int64)
    counts = native.toggles(ones, 0 * ones, np.zeros(1, np.int64), path, Window(1, 1), 0)
    assert counts["accumulator"] == 2 * n - n.bit_count()
    assert counts["leaf"] == counts["difference"] == 1
    rng = np.random.default_rng(5)
    x, w = rng.integers(0, 256, (2, 1, 1, 1500)), rng.integers(0, 256, (5, 1, 1, 1500))
    check_all(x, w, np.arange(5), exact_datapath("adder", U8, U8, 1600))


@settings(max_examples=60, deadline=None)
@given(st.one_of(layers(), byte_layers()), st.randoms(use_true_random=False))
def test_laws(layer, random):
    """Images add up; output channels have no order."""
    x, w, initial, datapath, window, pad_code = layer
    counts = native.toggles(*layer)
    for by_pixel in (False, True):
        whole = native.toggles(*layer, by_pixel)
        alone = [native.toggles(image[None], *layer[1:], by_pixel) for image in x]
        assert {name: sum(part[name] for part in alone) for name in REGISTERS} == whole
    if window.groups == 1:
        order = random.sample(range(len(w)), len(w))
        assert native.toggles(x, w[order], initial[order], datapath, window, pad_code) == counts


def test_shifting_both_operands_changes_nothing():
    rng = np.random.default_rng(3)
    x, w = rng.integers(0, 200, (3, 6, 6, 5)), rng.integers(0, 200, (4, 3, 3, 5))
    datapath = exact_datapath("adder", U8, U8, 45)
    counts = check_all(x, w, np.zeros(4, np.int64), datapath)
    assert check_all(x + 55, w + 55, np.zeros(4, np.int64), datapath) == counts


def test_upper_bits_that_stay_zero_never_toggle():
    rng = np.random.default_rng(4)
    x, w, none = rng.integers(0, 256, (2, 4, 4, 3)), rng.integers(0, 256, (3, 3, 3, 3)), np.zeros(3, np.int64)
    datapath = exact_datapath("adder", U8, U8, 27)
    assert check_all(x, w, none, with_accumulator(datapath, 40)) == check_all(x, w, none, datapath)


def test_multipliers_have_no_difference():
    rng = np.random.default_rng(6)
    s8 = IntFormat(8, True)
    x, w = rng.integers(0, 256, (2, 4, 4, 3)), rng.integers(-128, 128, (3, 3, 3, 3))
    counts = check_all(x, w, np.zeros(3, np.int64), exact_datapath("multiplier", U8, s8, 27))
    assert counts["difference"] == counts["sign"] == 0 < counts["leaf"]


def test_nothing_to_count_and_shapes_that_do_not_fit():
    datapath = exact_datapath("adder", U2, U2, 9)
    w, none = np.zeros((2, 3, 3, 1), np.int64), np.zeros(2, np.int64)
    assert not any(check_all(np.zeros((0, 4, 4, 1), np.int64), w, none, datapath).values())
    with pytest.raises(InputError, match="input of 3 channels, weights for 1"):
        native.toggles(np.zeros((1, 4, 4, 3), np.int64), w, none, datapath, Window(3, 3), 0)


def test_the_environment_chooses_the_instruction_set(monkeypatch):
    layer = exact_datapath("adder", U8, U8, 9), 9, np.zeros(2, np.int64)
    for name in SETS:
        monkeypatch.setenv("ADDERSIM_ISA", name)
        found = "avx2" if name == "avx512" else name  # beyond AVX2 these loops gain nothing
        assert chosen_loop(*layer) == (found, 32 if found == "avx2" else 16, np.uint8)
    monkeypatch.setenv("ADDERSIM_ISA", "mmx")
    with pytest.raises(InputError, match="ADDERSIM_ISA = 'mmx'"):
        chosen_loop(*layer)
