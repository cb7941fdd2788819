"""Layers of the native core against the definition: every loop, every set of instructions, every theorem."""

import itertools
import os
import pathlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from addersim.arithmetic.datapath import ORDERS, Register, TreeCut, exact_datapath, with_accumulator
from addersim.arithmetic.fixed import IntFormat, Overflow, Rounding
from addersim.arithmetic.output_stage import OutputStage
from addersim.arithmetic.window import Window
from addersim.errors import InputError
from addersim.kernels import _native, finishing, native, reference, theorems
from addersim.kernels.dispatch import prove
from addersim.kernels.isa import instruction_set, instruction_sets
from addersim.kernels.plan import LayerPlan
from addersim.kernels.theorems import Path

SETS = instruction_sets()
CPUINFO = cpuinfo.read_text() if (cpuinfo := pathlib.Path("/proc/cpuinfo")).exists() else ""


@pytest.fixture(params=SETS)
def isa(request, monkeypatch):
    monkeypatch.setenv("ADDERSIM_ISA", request.param)
    return request.param


@st.composite
def datapaths(draw, kind, depth):
    """Exact datapaths and those that are a few bits too narrow somewhere, of every operand width."""
    bits = draw(st.sampled_from([2, 3, 4, 6, 8, 8, 8, 10, 12, 16]))
    x = IntFormat(bits, draw(st.booleans()))
    w = x if kind == "adder" and draw(st.booleans()) else IntFormat(draw(st.integers(2, bits)), draw(st.booleans()))
    sign = draw(st.sampled_from(["positive", "negative"])) if kind == "adder" else "positive"
    T = draw(st.sampled_from([1, 1, 2, 3, 8, 8, 16]))
    shift = draw(st.sampled_from([0, 0, 0, 2])) if kind == "adder" else 0
    d = exact_datapath(kind, x, w, depth, tree_inputs=T, sign=sign, weight_shift=shift)
    overflow = st.sampled_from(list(Overflow))
    if draw(st.booleans()):
        held = d.accumulator.format
        d = with_accumulator(d, max(2, held.bits - draw(st.integers(0, 4))), draw(overflow))
    if T > 1 and draw(st.booleans()):
        caps = draw(st.integers(2, 12))
        mode = draw(overflow)
        d = replace(
            d,
            tree=tuple(
                Register(IntFormat(min(s.format.bits, caps + draw(st.integers(0, 1))), s.format.signed), mode)
                for s in d.tree
            ),
        )
    if draw(st.integers(0, 3)) == 0:
        top = (d.tree[-1] if d.tree else d.leaf).format
        cut_shift = draw(st.integers(0, 4))
        narrow = max(2, top.bits - cut_shift + draw(st.integers(-2, 1)))
        cut = TreeCut(cut_shift, draw(st.sampled_from(list(Rounding))), IntFormat(narrow, top.signed), draw(overflow))
        d = replace(d, cut=cut)
    if kind == "adder" and draw(st.integers(0, 4)) == 0:
        name = draw(st.sampled_from(["difference", "leaf"]))
        form = getattr(d, name).format
        d = replace(d, **{name: Register(IntFormat(max(2, form.bits - 1), form.signed), draw(overflow))})
    return replace(d, order=draw(st.sampled_from(ORDERS)), preload_bias=draw(st.booleans()))


@st.composite
def plans(draw):
    """A layer and images for it; shapes leave remainders of every tile, panel and vector."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    kind = draw(st.sampled_from(["adder", "adder", "multiplier"]))
    groups = draw(st.sampled_from([1, 1, 2, 5]))
    window = Window(
        draw(st.integers(1, 3)), draw(st.integers(1, 3)),
        (draw(st.integers(1, 2)), draw(st.integers(1, 3))),
        (draw(st.integers(0, 2)), draw(st.integers(0, 1))),
        (draw(st.integers(1, 2)), draw(st.integers(1, 2))),
        groups,
    )  # fmt: skip
    K, C = groups * draw(st.integers(1, 11)), draw(st.integers(1, 17))
    d = draw(datapaths(kind, window.R * window.S * C))
    weights = rng.integers(d.w.min, d.w.max, (K, window.R, window.S, C), endpoint=True)
    if draw(st.booleans()):
        weights = np.where(rng.random(weights.shape) < 0.5, weights, rng.choice([d.w.min, d.w.max]))
    most = d.accumulator.format.max
    bias = rng.integers(-most - 1, most, K, endpoint=True) // draw(st.sampled_from([1, 8, 1000]))
    gain = rng.integers(-255, 256, K) << draw(st.sampled_from([0, 0, 14]))
    offset, shift = rng.integers(-(2**16), 2**16, K), rng.integers(0, draw(st.sampled_from([8, 20, 40])), K)
    centred = IntFormat(d.accumulator.format.bits + draw(st.integers(-1, 3)), True)
    product = IntFormat(min(60, centred.bits + draw(st.integers(2, 24))), True)
    relu, zero = draw(st.booleans()), draw(st.integers(d.x.min, d.x.max))
    stage = OutputStage(
        centred, product, rounding=draw(st.sampled_from(list(Rounding))), finish=draw(st.booleans()), relu=relu
    )
    low, high = draw(st.sampled_from([(0, 255), (-128, 127), (-8, 7), (0, 4095), (-2000, 1999), (0, 1 << 20)]))
    plan = LayerPlan(weights, bias, gain, offset, shift, d, stage, window, zero, low, high)
    size = draw(st.integers(1, 2)), draw(st.integers(5, 9)), draw(st.integers(5, 14)), groups * C
    image = rng.integers(d.x.min, d.x.max, size, endpoint=True)
    narrow = draw(st.booleans())
    return plan, image.astype(finishing.word_for(d.x.min, d.x.max)) if narrow else image


def check_same(ours, theirs):
    np.testing.assert_array_equal(ours.y_npqk, theirs.y_npqk)
    assert dict(ours.events) == dict(theirs.events)
    assert (ours.stage_overflows, ours.saturated, ours.accumulator) == (
        theirs.stage_overflows, theirs.saturated, theirs.accumulator,
    )  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(plans(), st.sampled_from(SETS))
def test_any_layer_on_any_set_of_instructions(case, name):
    plan, image = case
    expected = reference.layer(plan)(image)
    with patch.dict(os.environ, ADDERSIM_ISA=name):
        check_same(native.layer(plan)(image), expected)


@settings(max_examples=40, deadline=None)
@given(plans(), st.integers(1, 5))
def test_layout_in_memory_does_not_matter(case, offset):
    """Misaligned, strided and Fortran-ordered inputs give the same bits."""
    plan, image = case
    expected = native.layer(plan)(image)
    raw = np.zeros(image.nbytes + offset, np.uint8)
    misaligned = raw[offset : offset + image.nbytes].view(image.dtype).reshape(image.shape)
    misaligned[...] = image
    strided = np.repeat(image, 2, axis=3)[..., ::2]
    for x in (misaligned, strided, np.asfortranarray(image)):
        check_same(native.layer(plan)(x), expected)


def plan_for(d, K=9, C=8, seed=0, finish=True, window=None):
    rng = np.random.default_rng(seed)
    window = window or Window(3, 3)
    w = rng.integers(d.w.min, d.w.max, (K, window.R, window.S, C), endpoint=True)
    zero = np.zeros(K, np.int64)
    stage = OutputStage(IntFormat(31, True), IntFormat(50, True), finish=finish)
    return LayerPlan(w, zero, zero + 3, zero, zero + 9, d, stage, window, 0, -128, 127)


U8, S8, U16 = IntFormat(8, False), IntFormat(8, True), IntFormat(16, False)


def narrow_tree(d, bits):
    return replace(d, tree=tuple(Register(IntFormat(b, False), Overflow.SATURATE) for b in bits))


ADDER = exact_datapath("adder", U8, U8, 72)
TREE = exact_datapath("adder", U8, U8, 72, tree_inputs=8)
CASES = {
    "byte distances": (ADDER, Path.DISTANCE8, theorems.BOUNDED),
    "signed bytes": (exact_datapath("adder", S8, S8, 72, sign="negative"), Path.DISTANCE8, theorems.BOUNDED),
    "an exact tree": (TREE, Path.DISTANCE8, theorems.BOUNDED),
    "16-bit distances": (exact_datapath("adder", U16, U16, 72), Path.DISTANCE16, theorems.BOUNDED),
    "products": (exact_datapath("multiplier", U8, S8, 72), Path.PRODUCT16, theorems.BOUNDED),
    "wrapping": (with_accumulator(ADDER, 11, Overflow.WRAP), Path.DISTANCE8, theorems.WRAPS),
    "saturating": (with_accumulator(ADDER, 11, Overflow.SATURATE), Path.DISTANCE8, theorems.SATURATES),
    "equal caps": (narrow_tree(TREE, (9, 9, 9)), Path.SEGMENT8, theorems.SEGMENTS),
    "growing caps": (narrow_tree(TREE, (9, 10, 11)), Path.DISTANCE8, theorems.BOUNDED),
    "inner caps too narrow": (narrow_tree(TREE, (8, 9, 10)), Path.LANES16, theorems.STEPWISE),
    "requantised sums": (
        replace(TREE, cut=TreeCut(2, Rounding.HALF_EVEN, IntFormat(9, False))), Path.SEGMENT8, theorems.SEGMENTS,
    ),
    "requantised by wrapping": (
        replace(TREE, cut=TreeCut(2, Rounding.FLOOR, IntFormat(5, False), Overflow.WRAP)), Path.LANES16,
        theorems.STEPWISE,
    ),
    "a narrow difference": (
        replace(ADDER, difference=Register(IntFormat(8, True), Overflow.WRAP)), Path.LANES16, theorems.STEPWISE,
    ),
    "mixed signs that saturate": (
        with_accumulator(exact_datapath("multiplier", U8, S8, 72), 18), Path.LANES16, theorems.STEPWISE,
    ),
    "a narrow 16-bit difference": (
        replace(exact_datapath("adder", U16, U16, 72), difference=Register(IntFormat(16, True), Overflow.WRAP)),
        Path.LANES32, theorems.STEPWISE,
    ),
    "wide products": (
        with_accumulator(exact_datapath("multiplier", U16, U16, 72), 36), Path.LANES64, theorems.STEPWISE,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_the_expected_theorem_is_found_and_right(name, isa):
    d, path, theorem = CASES[name]
    plan = plan_for(d)
    proof = prove(d, plan.w_krsc, np.zeros(9, np.int64))
    assert proof.path == path and theorem in proof.theorem
    x = np.random.default_rng(1).integers(d.x.min, d.x.max, (2, 5, 6, 8), endpoint=True)
    ours = native.layer(plan)(x)
    check_same(ours, reference.layer(plan)(x))
    assert isa in ours.path and theorem in ours.path
    extremes = np.stack([np.full((5, 6, 8), d.x.min), np.full((5, 6, 8), d.x.max)])
    check_same(native.layer(plan)(extremes), reference.layer(plan)(extremes))


@pytest.mark.parametrize("x", [IntFormat(3, False), IntFormat(3, True)])
@pytest.mark.parametrize("weights", [(-4, 4), (0, 4), (-4, -1), (2, 4)])
def test_bounds_of_a_sum_of_products_are_those_of_its_worst_inputs(x, weights):
    w = np.random.default_rng(4).integers(*weights, (50, 1, 2, 3), endpoint=True)
    start = np.arange(50)
    products = np.stack([w * v for v in range(x.min, x.max + 1)])
    proof = prove(exact_datapath("multiplier", x, IntFormat(4, True), 50), w, start)
    np.testing.assert_array_equal(proof.least_k, start + np.minimum(products.min(0), 0).sum((1, 2, 3)))
    np.testing.assert_array_equal(proof.most_k, start + np.maximum(products.max(0), 0).sum((1, 2, 3)))


@pytest.mark.parametrize("caps", list(itertools.product([1, 2, 3], [1, 2, 3, 4])))
def test_tree_theorem_exhaustively(caps):
    """Four leaves of 2 bits under every pair of caps: whatever the dispatcher decides, bits and flags are right."""
    u2 = IntFormat(2, False)
    values = np.array(list(itertools.product(range(4), repeat=4)))
    d = exact_datapath("adder", u2, u2, 8, tree_inputs=4)
    d = replace(d, tree=tuple(Register(IntFormat(bits, False), Overflow.SATURATE) for bits in caps))
    x = np.concatenate([values, values[::-1]], axis=1)[:, None, None, :]
    plan = replace(plan_for(d, K=len(values), C=8, window=Window(1, 1)), w_krsc=x[::3])
    plan = replace(
        plan,
        **{key: getattr(plan, key)[: len(plan.w_krsc)] for key in ("bias_k", "multiplier_k", "offset_k", "shift_k")},
    )
    check_same(native.layer(plan)(x), reference.layer(plan)(x))


@pytest.mark.parametrize("depthwise", [1, 2])
def test_depthwise_layers_keep_the_lanes_full(depthwise, isa):
    """One input channel per group: neighbouring channels of x meet neighbouring lanes."""
    d, groups = exact_datapath("adder", U8, U8, 9), 37
    window = Window(3, 3, (1, 1), (1, 1), (1, 1), groups)
    plan = plan_for(d, K=groups * depthwise, C=1, window=window)
    x = np.random.default_rng(2).integers(0, 256, (2, 6, 5, groups))
    ours = native.layer(plan)(x)
    check_same(ours, reference.layer(plan)(x))
    assert "lanes" in ours.path


def test_empty_and_one_pixel_edges(isa):
    d = exact_datapath("adder", U8, U8, 8)
    plan = plan_for(d, window=Window(1, 1))
    for shape in ((0, 5, 5, 8), (1, 1, 1, 8), (3, 1, 1, 8), (1, 1, 13, 8)):
        x = np.random.default_rng(3).integers(0, 256, shape)
        check_same(native.layer(plan)(x), reference.layer(plan)(x))
    assert native.max_pool(np.zeros((0, 4, 4, 2), np.uint8), Window(2, 2)).shape == (0, 3, 3, 2)


def test_shapes_and_values_that_do_not_fit_are_named_before_c_runs():
    plan = plan_for(ADDER)
    with pytest.raises(InputError, match="expected 8 channels and room for a window of 3 x 3"):
        native.layer(plan)(np.zeros((1, 5, 5, 7), np.uint8))
    with pytest.raises(InputError, match="room for a window of 3 x 3"):
        native.layer(plan)(np.zeros((1, 2, 5, 8), np.uint8))
    with pytest.raises(InputError, match="x holds 0 to 300, its format is u8"):
        native.convolve(
            np.full((1, 3, 3, 8), 300) * (np.arange(8) > 3), plan.w_krsc, plan.bias_k, ADDER, Window(3, 3), 0
        )
    with pytest.raises(InputError, match="takes integers, not float32"):
        native.layer(plan)(np.zeros((1, 5, 5, 8), np.float32))
    with pytest.raises(InputError, match="sums up to 4096 at once"):
        wide = exact_datapath("adder", U8, U8, 72, tree_inputs=1 << 13)
        native.layer(replace(plan, datapath=wide))


def test_a_set_of_instructions_is_chosen_by_name(monkeypatch):
    assert instruction_set().name == SETS[0] and "portable" in SETS
    monkeypatch.setenv("ADDERSIM_ISA", "mmx")
    with pytest.raises(InputError, match=r"ADDERSIM_ISA = 'mmx': this processor has .*portable"):
        instruction_set()


@pytest.mark.parametrize(("name", "flag"), [("avx512", "avx512bw"), ("avx2", "avx2"), ("sse2", "sse2")])
def test_a_set_that_this_processor_lacks_is_not_taken(name, flag, monkeypatch):
    assert (name in SETS) == (_native.instruction_set(name) is not None)
    if name in SETS:
        assert flag in CPUINFO.split()  # an emulated processor shows the flags of its host, which may be more
    else:
        monkeypatch.setenv("ADDERSIM_ISA", name)
        with pytest.raises(InputError, match=f"ADDERSIM_ISA = '{name}': this processor has"):
            instruction_set()


def test_threads_that_share_a_layer_give_the_same_bits():
    plan = plan_for(TREE, K=40, C=16)
    rng = np.random.default_rng(5)
    images = [rng.integers(0, 256, (3, 9, 9, 16), dtype=np.uint8) for _ in range(24)]
    run = native.layer(plan)
    alone = [run(x) for x in images]
    with ThreadPoolExecutor(6) as pool:
        for ours, theirs in zip(pool.map(run, images), alone, strict=True):
            check_same(ours, theirs)


def test_what_the_core_does_not_hold_goes_by_the_definition():
    """Operands of more than 32 bits; products of bounds beyond 64 bits; tree sums cut by more than 30 bits."""
    rng = np.random.default_rng(6)
    wide = exact_datapath("multiplier", IntFormat(38, True), S8, 8)
    plan = plan_for(wide, window=Window(1, 1))
    x = rng.integers(-(2**37), 2**37, (1, 3, 3, 8))
    check_same(native.layer(plan)(x), reference.layer(plan)(x))
    np.testing.assert_array_equal(
        native.convolve(x, plan.w_krsc, plan.bias_k, wide, Window(1, 1), 0)[0],
        reference.convolve(x, plan.w_krsc, plan.bias_k, wide, Window(1, 1), 0)[0],
    )
    d = replace(exact_datapath("multiplier", U16, U16, 8), accumulator=Register(IntFormat(50, True)))
    plan = plan_for(d, window=Window(1, 1))
    plan = replace(
        plan, multiplier_k=plan.multiplier_k << 13, stage=OutputStage(IntFormat(52, True), IntFormat(40, True))
    )
    x = rng.integers(0, 1 << 16, (1, 3, 3, 8))
    ours = native.layer(plan)(x)
    check_same(ours, reference.layer(plan)(x))
    assert ours.stage_overflows > 0
    tree = exact_datapath("adder", U8, U8, 16, tree_inputs=8, sign="negative")
    for shift, mode in itertools.product((30, 31, 32, 40, 62), Rounding):
        plan = plan_for(replace(tree, cut=TreeCut(shift, mode, IntFormat(8, True))), C=16, window=Window(1, 1))
        x = rng.integers(0, 256, (1, 3, 3, 16))
        check_same(native.layer(plan)(x), reference.layer(plan)(x))


def test_one_bias_for_all_channels_and_one_factor_for_all_pixels():
    plan = plan_for(replace(ADDER, preload_bias=True))
    x = np.random.default_rng(7).integers(0, 256, (1, 4, 4, 8), dtype=np.uint8)
    one = replace(plan, bias_k=np.array([-300]))
    check_same(native.layer(one)(x), reference.layer(one)(x))
    factor = np.array([[3]])
    np.testing.assert_array_equal(
        native.sum_pool(x, Window(2, 2), -1, factor), reference.sum_pool(x, Window(2, 2), -1, factor)
    )


def test_plans_that_contradict_themselves():
    plan = plan_for(ADDER)
    padded = replace(plan, window=Window(3, 3, padding=(1, 1)), pad_code=256)
    with pytest.raises(InputError, match="padded pixels hold 256, the input's format is u8"):
        native.layer(padded)
    with pytest.raises(InputError, match="window 2 x 3"):
        native.layer(replace(plan, window=Window(2, 3)))
    with pytest.raises(InputError, match="4 groups"):
        native.layer(replace(plan, window=Window(3, 3, groups=4)))
    with pytest.raises(InputError, match="shifts of 9 to 70"):
        native.layer(replace(plan, shift_k=np.where(np.arange(9) > 3, 70, 9)))
    with pytest.raises(InputError, match="shift = 63, expected 0 to 62"):
        TreeCut(63, Rounding.FLOOR, IntFormat(8, True))
    with pytest.raises(InputError, match="weight_shift stands in front of a subtractor"):
        replace(exact_datapath("multiplier", U8, S8, 8), weight_shift=1)
    far = replace(plan, window=Window(3, 3, dilation=(40_000, 1)))
    with pytest.raises(InputError, match="more than the core takes"):
        native.layer(far)(np.broadcast_to(np.zeros((1, 1, 1, 8), np.uint8), (1, 90_000, 1000, 8)))
