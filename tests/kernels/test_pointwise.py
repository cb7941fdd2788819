"""Everything of the native core that is no array layer: output stages, residual additions, pooling, codes."""

import itertools
import os
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from addersim.arithmetic.fixed import IntFormat, Rounding
from addersim.arithmetic.output_stage import OutputStage
from addersim.arithmetic.window import Window
from addersim.errors import InputError
from addersim.kernels import native, reference
from addersim.kernels.isa import instruction_sets
from addersim.kernels.plan import AddPlan, StagePlan

SETS = instruction_sets()


@settings(max_examples=150, deadline=None)
@given(
    st.integers(0, 2**32),
    st.integers(2, 17),
    st.sampled_from(list(Rounding)),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_output_stages_alone(seed, bits, rounding, finish, relu, wide):
    rng = np.random.default_rng(seed)
    x, K = IntFormat(bits, bool(seed % 2)), int(rng.integers(1, 20))
    b, m, n = rng.integers(-300, 300, K), rng.integers(-255, 256, K) << (18 if wide else 0), rng.integers(0, 24, K)
    a = rng.integers(-(2**18), 2**18, K)
    product = IntFormat(int(rng.integers(bits + 4, 50)), True)
    stage = OutputStage(IntFormat(bits + 2, True), product, rounding=rounding, finish=finish, relu=relu)
    plan = StagePlan(b, m, a, n, x, stage, 0 if relu else -100, 100)
    words = rng.integers(x.min, x.max, (3, 2, 2, K), endpoint=True)
    for name in SETS:
        with patch.dict(os.environ, ADDERSIM_ISA=name):
            expected, found = reference.output_stage(plan)(words), native.output_stage(plan)(words)
        np.testing.assert_array_equal(found[0], expected[0])
        assert found[1:] == expected[1:]


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.integers(4, 20), st.integers(4, 20), st.booleans(), st.integers(0, 6))
def test_residual_additions(seed, p_bits, q_bits, relu, spread):
    rng = np.random.default_rng(seed)
    K = int(rng.integers(1, 20))
    p, q = IntFormat(p_bits, True), IntFormat(q_bits, True)
    shifts = rng.integers(0, 5, K), rng.integers(0, 5, K) + spread
    stage = OutputStage(IntFormat(30, True), IntFormat(30, True), relu=relu)
    plan = AddPlan(*shifts, np.maximum(*shifts), p, q, stage, 0 if relu else -100, 100)
    terms = [rng.integers(f.min, f.max, (2, 3, K), endpoint=True) for f in (p, q)]
    for plan_, name in itertools.product((plan, replace(plan, stage=replace(stage, product=IntFormat(8, True)))), SETS):
        with patch.dict(os.environ, ADDERSIM_ISA=name):
            expected, found = reference.residual(plan_)(*terms), native.residual(plan_)(*terms)
        np.testing.assert_array_equal(found[0], expected[0])
        assert found[1:] == expected[1:]


WORDS = [np.uint8, np.int8, np.uint16, np.int16, np.int32, np.int64]


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(WORDS), st.booleans())
def test_pooling(seed, word, ceil_padding):
    rng = np.random.default_rng(seed)
    R, S = (int(v) for v in rng.integers(1, 4, 2))
    window = Window(
        R,
        S,
        tuple(rng.integers(1, 4, 2).tolist()),
        (R // 2 * ceil_padding, S // 2),
        tuple(rng.integers(1, 3, 2).tolist()),
    )
    info = np.iinfo(word)
    low, high = max(info.min, -(2**20)), min(info.max, 2**20)
    x = rng.integers(low, high, (2, 7, 8, int(rng.integers(1, 40))), endpoint=True).astype(word)
    np.testing.assert_array_equal(native.flatten(x), reference.flatten(x))
    np.testing.assert_array_equal(native.max_pool(x, window), reference.max_pool(x, window))
    factor = rng.integers(1, 4, window.out_size(7, 8))
    for code in (0, 5):
        np.testing.assert_array_equal(
            native.sum_pool(x, window, code, factor), reference.sum_pool(x, window, code, factor)
        )


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([np.float32, np.float64, np.float16]), st.integers(2, 16), st.booleans())
def test_images_become_codes(seed, real, bits, signed):
    """Ties to even, far outside, both channel orders; every set of codes the format has."""
    rng = np.random.default_rng(seed)
    form, step = IntFormat(bits, signed), float(rng.choice([0.25, 1 / 3, 2.0**-9]))
    zero = int(rng.integers(form.min, form.max, endpoint=True))
    x = np.concatenate([rng.normal(0, 30, (1, 3, 5, 60)), np.arange(-450, 450).reshape(1, 3, 5, 60) * step / 2]).astype(
        real
    )
    x[0, 0, 0, :2] = 6e4, -6e4
    for images in (x, np.asfortranarray(x), x[:, :, 0, 0]):
        expected, found = reference.quantise(images, step, zero, form), native.quantise(images, step, zero, form)
        np.testing.assert_array_equal(found[0], expected[0])
        assert found[1] == expected[1]


def test_unsigned_branches_fill_the_residual_sum():
    zero = np.zeros(5, np.int64)
    stage = OutputStage(IntFormat(40, True), IntFormat(40, True))
    plan = AddPlan(zero, zero, zero, IntFormat(31, False), IntFormat(10, True), stage, -128, 127)
    terms = np.full((1, 1, 1, 5), 2**31 - 1), np.full((1, 1, 1, 5), 511)
    for clamp in ((-128, 127), (0, 2**32 - 1)):
        plan = replace(plan, low=clamp[0], high=clamp[1])
        np.testing.assert_array_equal(native.residual(plan)(*terms)[0], reference.residual(plan)(*terms)[0])
    with pytest.raises(InputError, match="residual addition of shapes"):
        native.residual(replace(plan, p=IntFormat(8, True), low=-128, high=127))(terms[0], terms[1][..., :1])
