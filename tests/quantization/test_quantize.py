"""Quantisation: fusion, the exact clamp, widths, output stages, and what is refused."""

import inspect
import os
import subprocess
import sys
from dataclasses import replace
from typing import get_args, get_type_hints

import numpy as np
import pytest
from builders import chain, images, layer, norm, residual
from hypothesis import given, settings
from hypothesis import strategies as st

import addersim
from addersim.arithmetic.datapath import Register, exact_datapath
from addersim.arithmetic.fixed import IntFormat, Overflow
from addersim.arithmetic.output_stage import Style
from addersim.errors import InputError
from addersim.network.float_run import run_float
from addersim.network.graph import Network
from addersim.network.node import EdgeFormat, Node
from addersim.quantization.fuse import fuse
from addersim.quantization.settings import Quantization, Settings
from addersim.study.study import check_key

STYLES = get_args(Style)
RULES = ["mse", "output_mse", "quantile", "max"]


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 8), st.floats(0.1, 30))
def test_the_clamp_with_bias_compensation_is_exact(seed, bits, spread):
    """For inputs in the edge's range, ``-sum |x - w| = -sum |x - w'| - sum |w - w'|``."""
    rng = np.random.default_rng(seed)
    form = EdgeFormat(bits, False, 0.1, int(rng.integers(0, 2)) * (2 ** (bits - 1) - 1))
    low, high = form.range
    x, w = rng.uniform(low, high, 40), rng.normal(size=40) * spread
    clamped = np.clip(w, low, high)
    np.testing.assert_allclose(np.abs(x - w).sum(), np.abs(x - clamped).sum() + np.abs(w - clamped).sum(), rtol=1e-12)


@pytest.mark.parametrize("spread", [0.5, 10.0])
@pytest.mark.parametrize("relu", [True, False])
def test_large_weights_cost_nothing(spread, relu):
    """Weights far outside the input's range are clamped to it, and the layer adds no error of its own."""
    nodes = [layer("a", "x", "conv2d"), *([Node("r", "relu", ("a",))] if relu else [])]
    network = chain(*nodes, layer("b", nodes[-1].name, spread=spread))
    qnet = addersim.quantize(network, images(), bits=12, residual_bits=12, range="max")
    assert addersim.validate(network, qnet, images()).worst.sqnr_db > 28
    codes = qnet.node("b").params["w_krsc"]
    form = qnet.tensors[qnet.node("b").inputs[0]].format.format
    assert form.min <= codes.min() and codes.max() <= form.max


def test_layers_fuse_with_norm_and_rectifier():
    network = chain(layer("a", "x"), norm("n", "a"), Node("r", "relu", ("n",)), layer("b", "r"), norm("m", "b"))
    fused = fuse(network)
    assert [(f.root.name, f.norm and f.norm.name, f.relu, f.end) for f in fused] == [
        ("x", None, False, "x"),
        ("a", "n", True, "r"),
        ("b", "m", False, "m"),
    ]


@pytest.mark.parametrize("identity_first", [True, False])
def test_residual_additions_round_once(identity_first):
    network = residual(identity_first)
    qnet = addersim.quantize(network, images())
    kinds = [node.kind for node in qnet.nodes]
    assert kinds == ["input", "conv2d", "adder_conv2d", "scale", "add", "adder_conv2d"]
    assert (
        not qnet.node("b").stage.finish
        and not qnet.node("s.identity0" if identity_first else "s.identity1").stage.finish
    )
    assert qnet.node("s").stage.finish and qnet.node("s").stage.relu
    expected = run_float(network, images())
    assert np.abs(addersim.simulate(qnet, images()).logits - expected).max() < 0.15 * expected.std()


@pytest.mark.parametrize("branches", [("m", "a"), ("a", "m"), ("a", "a"), ("m", "p")])
def test_additions_without_a_rectifier_carry_their_zero_point_once(branches):
    """The sum feeds an adder layer signed, so its zero is in the middle of the code's range."""
    network = chain(
        layer("a", "x", "conv2d"),
        layer("b", "a"),
        norm("m", "b"),
        layer("d", "a", seed=3),
        norm("p", "d"),
        Node("s", "add", branches),
        layer("c", "s"),
        norm("q", "c"),
    )
    qnet = addersim.quantize(network, images(), residual_bits=8)
    assert qnet.tensors["s"].format.zero_point == 127
    assert addersim.validate(network, qnet, images()).worst.sqnr_db > 24


def test_residual_bits_and_narrow_inputs():
    qnet = addersim.quantize(residual(False), images(), bits=4, residual_bits=8)
    assert qnet.tensors["a"].format.bits == 8  # the addition reads it
    assert qnet.node("b").inputs == ("a.4bit",) and qnet.tensors["a.4bit"].format.bits == 4
    assert qnet.node("c").inputs == ("s",) and qnet.tensors["s"].format.bits == 4
    assert not any(node.name.endswith("bit") for node in addersim.quantize(residual(False), images()).nodes)


@pytest.mark.parametrize("style", STYLES)
def test_output_stages_use_only_what_they_say(style):
    qnet = addersim.quantize(residual(True), images(), output_stage=style)
    names = {row.primitive.name for row in addersim.count(qnet).rows if row.part != "tap"}
    assert ("multiply" in names) == (style == "multiplier_shift")
    for node in qnet.nodes:
        for M in np.abs(node.params.get("multiplier_k", np.zeros(0, np.int64))).tolist():
            if style == "shift_only":
                assert bin(M).count("1") <= 1
            elif style == "shift_add":
                assert M == 0 or min(bin(M).count("1"), bin(M + (M & -M)).count("1") + 1) <= 2


def test_no_register_of_an_exact_network_overflows():
    for bits in (2, 5, 8):
        qnet = addersim.quantize(residual(True), images(), bits=bits)
        loud = images() * 100  # far outside the calibrated range: the input clamps, nothing wraps
        assert not any(layer.overflows for layer in addersim.simulate(qnet, loud).layers)


def test_negative_gammas_and_biases():
    network = chain(
        layer("a", "x", "conv2d"), norm("n", "a", mean=0.1, gamma=-2.0), layer("b", "n"), norm("m", "b", gamma=-1.0)
    )
    qnet = addersim.quantize(network, images())
    expected = run_float(network, images())
    assert np.all(qnet.node("b").params["multiplier_k"] < 0)
    assert np.abs(addersim.simulate(qnet, images()).logits - expected).max() < 0.15 * expected.std()


def test_the_bias_may_be_preloaded():
    """With the bias in the accumulator and wrapping, only the centred value has to fit: same logits, fewer bits."""
    network = chain(layer("a", "x", "conv2d"), Node("r", "relu", ("a",)), layer("b", "r"), norm("m", "b"))
    qnet = addersim.quantize(network, images())
    node = qnet.node("b")
    width = node.stage.centred.bits
    narrow = replace(node.datapath, preload_bias=True, accumulator=Register(IntFormat(width + 1, True), Overflow.WRAP))
    changed = qnet.with_datapaths({"b": narrow})
    np.testing.assert_array_equal(
        addersim.simulate(changed, images()).logits_int, addersim.simulate(qnet, images()).logits_int
    )


def test_a_given_datapath_reaches_every_adder_layer():
    u8 = IntFormat(8, False)
    path = exact_datapath("adder", u8, u8, 36, tree_inputs=4, sign="negative")
    network = chain(layer("a", "x", "conv2d"), Node("r", "relu", ("a",)), layer("b", "r"), norm("m", "b"))
    qnet = addersim.quantize(network, images(), datapath=path)
    assert qnet.node("b").datapath.sign == "negative" and qnet.node("b").datapath.tree_inputs == 4
    plain = addersim.simulate(addersim.quantize(network, images()), images()).logits_int
    np.testing.assert_array_equal(addersim.simulate(qnet, images()).logits_int, plain)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bits": 1}, "bits = 1: input should be greater than or equal to 2"),
        ({"bits": "4"}, "bits = '4': expected a plain number, in bits"),
        ({"layer_bits": {"conv2": 4.0}}, "layer_bits.conv2 = 4.0: input should be a valid integer"),
        ({"residual_bits": 17}, "residual_bits = 17"),
        ({"range": "mze"}, "did you mean 'mse'"),
        ({"output_stage": "shift"}, "output_stage = 'shift'"),
        ({"quantile": 0.0}, "quantile = 0.0"),
        ({"multiplier_bits": 2}, "multiplier_bits = 2"),
        ({"correction": "means"}, "did you mean 'mean'"),
        ({"steps": "power of two"}, "did you mean 'power_of_two'"),
        ({"weight_bits": 17}, "weight_bits = 17"),
        ({"bits": 4, "weight_bits": 5}, "weight_bits = 5 is more than bits = 4"),
        ({"layer_bits": {"a": 1}}, "layer_bits.a = 1: input should be greater"),
        ({"layer_bits": {"b": 4}}, "layer_bits: no layer 'b'"),
    ],
)
def test_arguments_out_of_range(arguments, message):
    with pytest.raises(InputError, match=message):
        addersim.quantize(chain(layer("a", "x")), images(), **arguments)


def test_keywords_and_record_are_one():
    """Type checkers read the keywords from ``Settings``; fields, defaults and limits stand in ``Quantization``."""
    fields = {"bits", *get_type_hints(Settings)}
    assert fields == set(Quantization.model_fields)
    shown = inspect.signature(addersim.quantize).parameters
    assert {"network", "images", *fields} == set(shown) and shown["quantile"].default == 0.9997
    with pytest.raises(InputError, match="quantize: Quantization has no 'rnage'; did you mean 'range'"):
        addersim.quantize(chain(layer("a", "x")), images(), rnage="max")
    assert addersim.quantize(chain(layer("a", "x")), images(), np.int64(4)).node("a").datapath.w.bits == 4


def test_a_datapath_is_no_key_of_a_file(tmp_path):
    (tmp_path / "s.toml").write_text('[network]\nmodel = "lenet5_adder"\n[quantization]\ndatapath = {}\n')
    with pytest.raises(InputError, match="datapath: expected an adder datapath"):
        addersim.Study.read(tmp_path / "s.toml")
    with pytest.raises(InputError, match=r"no key 'quantization\.datapath'"):
        check_key("quantization.datapath", "s.toml")
    assert "datapath" not in Quantization().model_dump()


def test_the_result_does_not_depend_on_the_hash_seed(tmp_path):
    """Sets of names iterate in another order in every process; no integer may follow them."""
    code = (
        "import sys, addersim\n"
        "images, _ = addersim.sample('fashion_calibration', 500)\n"
        "addersim.quantize(addersim.example_network(), images).save(sys.argv[1])"
    )
    for seed in ("1", "2", "3"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", code, str(tmp_path / seed)], check=True, env=environment)
    assert len({(tmp_path / seed).read_bytes() for seed in ("1", "2", "3")}) == 1


def test_lenet_at_int8_is_close_to_its_floats(example, qnet):
    x = addersim.sample("fashion_calibration", limit=64)[0]
    validation = addersim.validate(example, qnet, x)
    assert validation.agreement > 0.95
    assert validation.worst.sqnr_db > 20  # calibrated on 24 images, so a few logits meet their clamp


def heads(*behind: str) -> Network:
    """Return two layers, two convolutions behind them, each with the kinds of ``behind``, and their concatenation."""
    branches = []
    for i in (1, 2):
        branches.append(layer(f"head{i}", "trunk", "conv2d", R=1, seed=i, spread=10.0**i))
        branches += [Node(f"{kind}{i}", kind, (branches[-1].name,)) for kind in behind]
    ends = tuple(f"{behind[-1] if behind else 'head'}{i}" for i in (1, 2))
    return chain(layer("first", "x", "conv2d"), layer("trunk", "first"), *branches, Node("cat", "concat", ends))


@pytest.mark.parametrize("behind", [(), ("flatten",)])
def test_layers_that_make_the_output_side_by_side_are_all_last_and_share_its_format(behind):
    qnet = addersim.quantize(heads(*behind), images(), bits=4)
    assert [node.kind for node in qnet.nodes].count("scale") == 0  # no head is rounded twice
    for name in ("head1", "head2"):
        assert qnet.node(name).datapath.w.bits == 8
        assert qnet.tensors[name].format == qnet.output.format and qnet.output.format.bits == 16


def test_a_rectifier_ends_the_search_for_output_layers():
    qnet = addersim.quantize(heads("relu"), images(), bits=4)
    assert [qnet.node(name).datapath.w.bits for name in ("head1", "head2")] == [4, 8]  # the last one stays the last


@pytest.mark.parametrize(("bits", "weight_bits"), [(5, 4), (8, 4), (4, 4)])
@pytest.mark.parametrize("signed", [False, True])
def test_narrow_adder_weights_stand_on_a_coarser_step(bits, weight_bits, signed):
    """Weights written out in the inputs' own step, without a shift, give the same integers."""
    between = [] if signed else [Node("r", "relu", ("a",))]
    network = chain(layer("a", "x", "conv2d"), *between, layer("b", "a" if signed else "r"), norm("m", "b"))
    qnet = addersim.quantize(network, images(), bits=bits, weight_bits=weight_bits)
    node = qnet.node("b")
    assert (node.datapath.w.bits, node.datapath.x.bits) == (weight_bits, bits)
    assert node.datapath.weight_shift == bits - weight_bits
    codes = node.params["w_krsc"] << node.datapath.weight_shift
    plain = exact_datapath("adder", node.datapath.x, node.datapath.x, 36)
    wide = replace(node, params={**node.params, "w_krsc": codes}, datapath=plain)
    other = replace(qnet, nodes=tuple(wide if n.name == "b" else n for n in qnet.nodes))
    trace = addersim.simulate(qnet, images(), keep="*")
    np.testing.assert_array_equal(trace.logits_int, addersim.simulate(other, images()).logits_int)
    form = qnet.tensors[node.inputs[0]].format
    weights = np.clip(network.node("b").params["w_krsc"], *form.range)
    error = np.abs((codes - form.zero_point) * form.step - weights)
    assert error.max() <= form.step * (1 << node.datapath.weight_shift) * (1 + 1e-6)
    assert not any(entry.overflows for entry in trace.layers)


def test_layers_take_the_widths_that_name_them():
    network = chain(
        layer("a", "x", "conv2d"), layer("b", "a"), norm("m", "b"), layer("c", "m"), norm("n", "c"), layer("d", "n")
    )
    qnet = addersim.quantize(network, images(), bits=8, layer_bits={"b": 3, "c": 5, "a": 6})
    assert [qnet.node(name).datapath.w.bits for name in "abcd"] == [6, 3, 5, 8]
    assert [qnet.node(name).datapath.x.bits for name in "abcd"] == [8, 3, 5, 8]
    assert not any(node.kind == "scale" for node in qnet.nodes)  # every edge has the width of its reader
    shared = chain(layer("a", "x", "conv2d"), layer("b", "a"), layer("c", "a"), Node("cat", "concat", ("b", "c")))
    qnet = addersim.quantize(shared, images(), bits=8, layer_bits={"b": 3})
    assert qnet.node("b").inputs == ("a.3bit",) and qnet.node("c").inputs == ("a",)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("bits", [3, 4, 6])
def test_adder_inputs_behind_a_residual_edge_are_shifts_of_it(style, bits):
    qnet = addersim.quantize(residual(False), images(), bits=bits, residual_bits=8, output_stage=style)
    wide, narrow = qnet.tensors["a"].format, qnet.tensors[f"a.{bits}bit"].format
    exponent = np.log2(narrow.step / wide.step)
    assert exponent == round(exponent) and 0 <= exponent <= 8 - bits
    node = qnet.node(f"a.{bits}bit")
    assert np.all(node.params["multiplier_k"] * 2.0 ** (exponent - node.params["shift_k"]) == 1)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("style", STYLES)
def test_steps_of_all_edges_may_be_powers_of_two(rule, style):
    qnet = addersim.quantize(residual(True), images(), bits=6, range=rule, steps="power_of_two", output_stage=style)
    for name, tensor in qnet.tensors.items():
        assert np.log2(tensor.format.step) == round(np.log2(tensor.format.step)), name
    if rule == "max":
        assert addersim.simulate(qnet, images()).saturated_inputs == 0
    free = addersim.quantize(residual(True), images(), bits=6, range=rule, output_stage=style)
    assert any(np.log2(t.format.step) != round(np.log2(t.format.step)) for t in free.tensors.values())


@pytest.mark.parametrize("kind", ["conv2d", "adder_conv2d"])
def test_logits_keep_their_width_behind_a_flatten(kind):
    """A classifier may end in operations that only move codes."""
    network = chain(
        layer("a", "x", "conv2d"), Node("r", "relu", ("a",)), layer("b", "r", kind), Node("f", "flatten", ("b",))
    )
    qnet = addersim.quantize(network, images(), bits=3)
    assert qnet.output.format == qnet.tensors["b"].format and qnet.output.format.bits == 16


def test_the_last_layers_inputs_keep_eight_bits_in_front_of_an_average_pool():
    pool = {"kernel": (2, 2), "stride": (2, 2), "padding": (0, 0), "dilation": (1, 1)}
    network = chain(
        layer("a", "x", "conv2d"),
        layer("b", "a"),
        norm("m", "b", mean=-200.0),
        Node("r", "relu", ("m",)),
        Node("p", "avg_pool", ("r",), {**pool, "count_include_pad": True, "squeeze": False}),
        layer("c", "p", "conv2d", R=1),
    )
    qnet = addersim.quantize(network, images(), bits=3)
    assert (qnet.tensors["b"].format.bits, qnet.node("b").datapath.x.bits) == (8, 3)
    assert qnet.node("c").datapath.x.bits == 8


def test_steps_that_no_shift_aligns_are_refused_without_a_batch_norm():
    """The layer behind has inputs of the size of its weights, 1e-12 of what the offset in front of it makes."""
    network = chain(layer("a", "x", "conv2d"), Node("r", "relu", ("a",)), layer("b", "r", "conv2d", spread=1e-12))
    network.node("b").params["bias_k"] = np.full(4, 10.0)
    with pytest.raises(InputError, match=r"layer 'b': without a batch norm .* cannot be aligned: their ratio is .*e-1"):
        addersim.quantize(network, images())


def test_what_rounding_leaves_of_the_bias_goes_into_the_offset():
    """B_k is an integer in steps of the input; at 2 bits its rounding alone would move a channel by half a step."""
    network = chain(layer("a", "x", "conv2d"), Node("r", "relu", ("a",)), layer("b", "r"), norm("m", "b"))
    qnet = addersim.quantize(network, images(), bits=2, multiplier_bits=12)
    node, form, lost = qnet.node("b"), qnet.tensors["r" if "r" in qnet.tensors else "a"].format, network.node("b")
    w = lost.params["w_krsc"].astype(np.float64)
    lost_k = np.abs(w - np.clip(w, *form.range)).sum((1, 2, 3))
    p = network.node("m").params
    gain_k = p["gamma_k"] / np.sqrt(p["var_k"].astype(np.float64) + 1e-5)
    at_zero_k = (0.0 - p["mean_k"] - lost_k) * gain_k + p["beta_k"]
    M, A, n = (node.params[key] for key in ("multiplier_k", "offset_k", "shift_k"))
    found_k = (M * -node.params["bias_k"] + A) * 2.0**-n * qnet.output.format.step
    np.testing.assert_allclose(found_k, at_zero_k, rtol=2e-3)
