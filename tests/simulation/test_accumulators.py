"""Accumulators: bounds against a walk over every input, and networks that wrap without losing anything."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from builders import array_node, small_network
from hypothesis import given, settings
from hypothesis import strategies as st

import addersim
from addersim.arithmetic.datapath import Register, TreeCut, exact_datapath, with_accumulator
from addersim.arithmetic.fixed import IntFormat, Overflow, Rounding, format_for
from addersim.arithmetic.window import Window
from addersim.errors import InputError
from addersim.kernels import native, reference
from addersim.network.node import EdgeFormat, Tensor
from addersim.simulation.accumulators import sum_bounds
from addersim.simulation.simulate import simulate

U3, S2, S3, U8 = IntFormat(3, False), IntFormat(2, True), IntFormat(3, True), IntFormat(8, False)


def sums_of_every_input(d, w_krsc):
    """Return the extremes, per channel, of the sum over all images of one window's size."""
    free = replace(d, accumulator=Register(IntFormat(40, True)))
    codes = range(d.x.min, d.x.max + 1)
    x = np.array(list(itertools.product(codes, repeat=w_krsc[0].size))).reshape(-1, *w_krsc.shape[1:])
    acc, _ = reference.convolve(x, w_krsc, np.zeros(len(w_krsc), np.int64), free, Window(*w_krsc.shape[1:3]), 0)
    return acc.min((0, 1, 2)), acc.max((0, 1, 2))


@pytest.mark.parametrize(
    ("kind", "x", "w", "further"),
    [
        ("adder", U3, U3, {}),
        ("adder", U3, U3, {"sign": "negative"}),
        ("adder", S3, S2, {"weight_shift": 1}),
        ("adder", S2, S3, {}),  # weights beyond the inputs' range: no sum of 0
        ("multiplier", S3, S3, {}),
        ("multiplier", U3, S3, {"tree_inputs": 2}),
    ],
)
def test_bounds_are_those_of_every_input(kind, x, w, further):
    w_krsc = np.random.default_rng(3).integers(w.min, w.max + 1, (5, 2, 1, 2))
    d = exact_datapath(kind, x, w, 4, **further)
    for bound, found in zip(sum_bounds(d, w_krsc), sums_of_every_input(d, w_krsc), strict=True):
        np.testing.assert_array_equal(bound, found)


@pytest.mark.parametrize("sign", ["positive", "negative"])
def test_bounds_behind_registers_that_cut(sign):
    w_krsc = np.random.default_rng(4).integers(0, 8, (5, 2, 1, 2))
    d = exact_datapath("adder", U3, U3, 4, tree_inputs=2, sign=sign)
    tree = Register(IntFormat(3, sign == "negative"), Overflow.SATURATE)
    cut = TreeCut(1, Rounding.HALF_UP, IntFormat(3, sign == "negative"))
    for path in (replace(d, tree=(tree,)), replace(d, cut=cut), replace(d, tree=(replace(tree, overflow="wrap"),))):
        least_k, most_k = sum_bounds(path, w_krsc)
        least, most = sums_of_every_input(path, w_krsc)
        assert np.all(least_k <= least) and np.all(most <= most_k)
        assert max(most_k.max(), -least_k.min()) <= 2 * 8


def deep_network(seed, sign="positive"):
    """Return the small network with an adder layer whose biases lie anywhere in the range of its sums."""
    rng, qnet = np.random.default_rng(seed), small_network()
    d = exact_datapath("adder", IntFormat(6, False), IntFormat(6, False), 36, sign=sign)
    params = {
        **qnet.node("conv2").params,
        "w_krsc": rng.integers(0, 64, (8, 3, 3, 4)),
        "bias_k": -rng.integers(0, 36 * 64, 8),
        "multiplier_k": rng.integers(-2, 3, 8) * 100,
    }
    nodes = [replace(n, params=params, datapath=d) if n.name == "conv2" else n for n in qnet.nodes]
    return replace(qnet, nodes=tuple(nodes))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1 << 32), st.sampled_from(["positive", "negative"]), st.sampled_from([reference, native]))
def test_a_centred_value_that_fits_is_enough(seed, sign, kernels):
    qnet = deep_network(seed, sign)
    codes = np.random.default_rng(seed).integers(-128, 128, (3, 3, 8, 8))
    wide = simulate(qnet, codes, keep="*")
    found = {row.layer: row for row in addersim.accumulators(qnet, codes).layers}["conv2"]
    assert found.observed_centred_bits <= found.centred_bits <= found.signed_bits + 1
    for bits in (found.observed_centred_bits, found.centred_bits, found.signed_bits + 3):
        wrapped = simulate(addersim.narrowed(qnet, {"conv2": bits}), codes, keep="*", kernels=kernels)
        np.testing.assert_array_equal(wrapped.logits_int, wide.logits_int)
        np.testing.assert_array_equal(wrapped.edges["conv2"], wide.edges["conv2"])
        assert sum(layer.facts.stage_overflows for layer in wrapped.layers) == 0
    from_zero = addersim.narrowed(qnet, {"conv2": found.observed_bits}, "saturate", preload_bias=False)
    trace = simulate(from_zero, codes, kernels=kernels)
    np.testing.assert_array_equal(trace.logits_int, wide.logits_int)
    assert not any(layer.overflows for layer in trace.layers)


def test_observed_widths_are_the_narrowest(qnet, images):
    """They are those of simulate, and of accumulators written out in full."""
    trace = simulate(qnet, images, keep="*")
    known = {layer.name: layer.accumulator_bits for layer in trace.layers}
    rows = {row.layer: row for row in addersim.accumulators(qnet, images, threads=2).layers}
    assert list(rows) == ["conv1", "conv2", "fc"]
    assert rows["conv2"].observed_bits == known["conv2"] and rows["conv2"].unsigned_bits >= known["conv2"]
    node = qnet.node("conv2")
    x_nhwc = trace.edges[node.inputs[0]].transpose(0, 2, 3, 1)
    nothing_k, window = np.zeros(8, np.int64), Window(3, 3, stride=(2, 2))
    acc, _ = reference.convolve(x_nhwc, node.params["w_krsc"], nothing_k, node.datapath, window, 0)
    t = acc + node.params["bias_k"]
    assert rows["conv2"].observed_centred_bits == format_for(int(t.min()), int(t.max()), signed=True).bits
    assert not addersim.accumulators(qnet).to_pandas()["observed_bits"].notna().any()


def test_dead_channels_need_no_bits():
    qnet = deep_network(1)
    params = {**qnet.node("conv2").params, "multiplier_k": np.zeros(8, np.int64)}
    nodes = tuple(replace(n, params=params) if n.name == "conv2" else n for n in qnet.nodes)
    dead = replace(qnet, nodes=nodes)
    assert addersim.accumulators(dead).layers[1].centred_bits == 1
    codes = np.random.default_rng(0).integers(-128, 128, (3, 3, 8, 8))
    expected = simulate(dead, codes).logits_int
    np.testing.assert_array_equal(simulate(addersim.narrowed(dead, 2), codes).logits_int, expected)


def test_wrapping_keeps_the_fast_loop(qnet, images):
    narrow = addersim.narrowed(qnet, 8)
    layer = next(layer for layer in simulate(narrow, images).layers if layer.name == "conv2")
    assert "byte differences" in layer.facts.path and "ring homomorphism" in layer.facts.path
    again = addersim.narrowed(narrow, qnet.node("conv2").datapath.accumulator.format.bits + 1)
    np.testing.assert_array_equal(simulate(again, images).logits_int, simulate(qnet, images).logits_int)


def test_bits_that_change_in_a_register_that_wraps():
    codes = np.random.default_rng(2).integers(-128, 128, (3, 3, 8, 8))
    narrow = addersim.narrowed(deep_network(5), 9)
    assert addersim.activity(narrow, codes) == addersim.activity(narrow, codes, kernels=reference)


def test_narrowed_changes_what_it_says(qnet):
    narrow = addersim.narrowed(qnet, 11).node("conv2")
    assert narrow.datapath.accumulator == Register(IntFormat(11, True), Overflow.WRAP)
    assert narrow.datapath.preload_bias and narrow.stage.centred == IntFormat(12, True)
    plain = addersim.narrowed(qnet, 11, "saturate", preload_bias=False)
    assert plain.node("conv2").datapath == with_accumulator(qnet.node("conv2").datapath, 11, Overflow.SATURATE)
    assert plain.node("conv2").stage == qnet.node("conv2").stage
    assert plain.node("conv1") is qnet.node("conv1")
    assert addersim.narrowed(qnet, {"fc": 20}).node("fc").datapath.accumulator.format == IntFormat(20, True)


def test_a_preloaded_bias_is_not_subtracted_again(qnet):
    def subtractions(net):
        return addersim.count(net).total(["subtract"], part="output")

    outputs = int(np.prod(qnet.tensors["conv2"].shape))
    assert subtractions(qnet) - subtractions(addersim.narrowed(qnet, 24)) == outputs


def test_arguments_that_cannot_be_used(qnet, images):
    with pytest.raises(InputError, match="layer 'conv' has no accumulator; did you mean 'conv"):
        addersim.narrowed(qnet, {"conv": 12})
    with pytest.raises(InputError, match="overflow = 'wraps'; did you mean 'wrap'"):
        addersim.narrowed(qnet, 12, "wraps")
    with pytest.raises(InputError, match="bits = 63 is out of range"):
        addersim.narrowed(qnet, 63)
    with pytest.raises(InputError, match="no adder layer"):
        addersim.narrowed(small_network("conv2d"), 12)
    with pytest.raises(InputError, match="no image to observe"):
        addersim.accumulators(qnet, images[:0])
    with pytest.raises(InputError, match="threads = 0"):
        addersim.accumulators(qnet, images, threads=0)


def test_linear_layers_are_observed_too():
    w = np.random.default_rng(0).integers(0, 256, (4, 1, 1, 6))
    node = array_node("fc", "adder_linear", "x", w, U8)
    qnet = small_network()
    net = replace(
        qnet,
        nodes=(replace(qnet.nodes[0]), node),
        tensors={
            "x": Tensor((6,), EdgeFormat(8, False, 1.0)),
            "fc": Tensor((4,), EdgeFormat(8, False, 1.0)),
        },
    )
    x = np.random.default_rng(1).integers(0, 256, (5, 6))
    sums = np.abs(x[:, None] - w[:, 0, 0]).sum(-1)
    assert addersim.accumulators(net, x).layers[0].observed_bits == int(sums.max()).bit_length()
