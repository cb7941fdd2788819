"""The one-pass loops of the native core: every instruction set gives the definition's bits, or steps aside."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from addersim.datapath import OutputStage, Stage, exact_datapath
from addersim.fixed import IntFormat, Overflow, Rounding, format_for
from addersim.kernels import _native, fused, native, pointwise, reference
from addersim.kernels.plan import AddPlan, LayerPlan, StagePlan
from addersim.loops import Window

SETS = [name for name in ("avx2", "sse2") if _native.instruction_set(name)]


def stage_for(low, high, multiplier, offset, **options) -> OutputStage:
    """Registers that just hold what the numbers make of sums between low and high (before the bias comes off)."""
    corners = [v * multiplier + offset for v in (low, high)]
    product = format_for(int(np.min(corners)), int(np.max(corners)), signed=True)
    return OutputStage(format_for(int(np.min(low)), int(np.max(high)), signed=True), product, **options)


@st.composite
def plans(draw):
    """A layer whose registers just hold everything; its shapes leave remainders of every block and tile."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    kind = draw(st.sampled_from(["adder", "multiplier"]))
    bits = draw(st.integers(2, 8 if kind == "adder" else 12))
    x = IntFormat(bits, draw(st.booleans()))
    w = x if kind == "adder" else IntFormat(draw(st.integers(2, 12)), True)
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    window = Window(
        draw(st.integers(1, 3)),
        draw(st.integers(1, 3)),
        (draw(st.integers(1, 2)), draw(st.integers(1, 3))),
        (draw(st.integers(0, 2)), draw(st.integers(0, 1))),
        (draw(st.integers(1, 2)), draw(st.integers(1, 2))),
        groups,
    )
    K, C = groups * draw(st.integers(1, 11)), draw(st.integers(1, 17))
    weights = rng.integers(w.min, w.max, (K, window.R, window.S, C), endpoint=True)
    sign = draw(st.sampled_from(["positive", "negative"])) if kind == "adder" else "positive"
    datapath = exact_datapath(kind, x, w, window.R * window.S * C, sign=sign)
    numbers = (
        rng.integers(-500, 500, K),
        rng.integers(-255, 256, K),
        rng.integers(-(2**16), 2**16, K),
        rng.integers(0, 20, K),
    )
    wide = draw(st.booleans())
    if wide:
        numbers = numbers[0], numbers[1] << 14, numbers[2] << 20, numbers[3]
    relu, zero = draw(st.booleans()), draw(st.integers(x.min, x.max))
    plan = LayerPlan(weights, *numbers, datapath, OutputStage(x, x), window, zero, 0 if relu else -128, 127)
    low, high = (extreme - numbers[0] for extreme in fused._extremes(plan))
    stage = stage_for(low, high, *numbers[1:3], finish=draw(st.booleans()), relu=relu)
    image = rng.integers(
        x.min,
        x.max,
        (draw(st.integers(1, 2)), draw(st.integers(6, 9)), draw(st.integers(5, 14)), groups * C),
        endpoint=True,
    )
    return replace(plan, stage=stage), image


def check_same(ours, theirs):
    np.testing.assert_array_equal(ours.y_npqk, theirs.y_npqk)
    assert ours.saturated == theirs.saturated
    assert ours.stage_overflows == theirs.stage_overflows
    assert dict(ours.events) == dict(theirs.events)
    assert ours.accumulator == theirs.accumulator


@settings(max_examples=250, deadline=None)
@given(plans())
def test_every_instruction_set_is_the_definition(case):
    plan, image = case
    expected = reference.layer(plan)(image)
    for isa in SETS:
        packed = fused.pack(plan, True, isa)
        assert packed is not None
        check_same(fused.run(packed, image), expected)
    assert fused.pack(plan, True, "none") is None
    check_same(native.layer(plan)(image), expected)


@settings(max_examples=100, deadline=None)
@given(plans(), st.sampled_from(["product", "centred", "accumulator", "rounding", "overflow"]))
def test_without_a_proof_it_steps_aside(case, what):
    """One bit less in a register, or another rounding: the plain loops take over and count what happens."""
    plan, image = case
    stage, path = plan.stage, plan.datapath
    if what in ("product", "centred"):
        form = getattr(stage, what)
        plan = replace(plan, stage=replace(stage, **{what: IntFormat(max(1, form.bits - 1), True)}))
    elif what == "rounding":
        plan = replace(plan, stage=replace(stage, rounding=Rounding.HALF_EVEN))
    else:
        form = path.accumulator.format
        mode = Overflow.WRAP if what == "overflow" else Overflow.SATURATE
        plan = replace(
            plan, datapath=replace(path, accumulator=Stage(IntFormat(max(1, form.bits - 1), form.signed), mode))
        )
    check_same(native.layer(plan)(image), reference.layer(plan)(image))


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 17), st.booleans(), st.booleans(), st.booleans())
def test_output_stages_alone(seed, bits, finish, relu, wide):
    rng = np.random.default_rng(seed)
    x, K = IntFormat(bits, bool(seed % 2)), int(rng.integers(1, 20))
    b, m, n = rng.integers(-300, 300, K), rng.integers(-255, 256, K) << (18 if wide else 0), rng.integers(0, 24, K)
    a = rng.integers(-(2**18), 2**18, K)
    stage = stage_for(x.min - b, x.max - b, m, a, finish=finish, relu=relu)
    plan = StagePlan(b, m, a, n, x, stage, 0 if relu else -100, 100)
    words = rng.integers(x.min, x.max, (3, 2, 2, K), endpoint=True)
    expected = reference.output_stage(plan)(words)
    assert pointwise.stage(plan) is not None or not SETS
    for plan_ in (plan, replace(plan, stage=replace(stage, product=IntFormat(max(2, stage.product.bits - 1), True)))):
        expected, found = reference.output_stage(plan_)(words), native.output_stage(plan_)(words)
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
    for plan_ in (plan, replace(plan, stage=replace(stage, product=IntFormat(8, True)))):
        expected, found = reference.residual(plan_)(*terms), native.residual(plan_)(*terms)
        np.testing.assert_array_equal(found[0], expected[0])
        assert found[1:] == expected[1:]


def test_the_environment_chooses_the_instruction_set(monkeypatch):
    monkeypatch.setenv("ADDERSIM_ISA", "none")
    assert fused.instruction_set() is None
    for name in SETS:
        monkeypatch.setenv("ADDERSIM_ISA", name)
        assert fused.instruction_set()[0] == name
    monkeypatch.setenv("ADDERSIM_ISA", "mmx")
    assert fused.instruction_set() is None


@pytest.mark.skipif(not SETS, reason="no vector instructions here")
def test_the_path_is_named_with_its_theorem():
    u8 = IntFormat(8, False)
    zero = np.zeros(2, np.int64)
    stage = OutputStage(IntFormat(20, True), IntFormat(40, True))
    plan = LayerPlan(
        np.ones((2, 1, 1, 3), int),
        zero,
        zero,
        zero,
        zero + 1,
        exact_datapath("adder", u8, u8, 3),
        stage,
        Window(1, 1),
        0,
        0,
        255,
    )
    path = native.layer(plan)(np.ones((1, 1, 1, 3), int)).path
    assert SETS[0] in path and "exact since no register can overflow" in path
