"""Quantisation: formats, gains, the exact clamp, fusion, and what is refused."""

import inspect
import itertools
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
from addersim.network.float_run import float_batches, run_float
from addersim.network.graph import Network
from addersim.network.node import EdgeFormat, Node
from addersim.quantization.fuse import fuse
from addersim.quantization.gains import encode_gains
from addersim.quantization.ranges import Observed, edge_format, observe
from addersim.quantization.settings import Quantization, Settings
from addersim.study.study import check_key

STYLES = get_args(Style)
RULES = ["mse", "output_mse", "quantile", "max"]


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


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_zero_always_has_an_exact_code(rule, bits):
    values = images().ravel()
    for low, centred in ((values.min(), False), (values.min(), True), (0.0, False)):
        sample = np.clip(values, low, None)
        form = edge_format(
            "edge", Observed(float(sample.min()), float(sample.max()), sample), bits, rule=rule, centred=centred
        )
        assert form.real(form.quantise(np.zeros(1)))[0] == 0
        assert form.signed == (low < 0 and not centred)
        assert form.bits == bits


def test_mse_range_beats_its_rivals_and_powers_of_two_are_such():
    sample = np.abs(images(200).ravel())
    seen = Observed(0.0, float(sample.max()), sample)

    def error(form: EdgeFormat) -> float:
        return float(np.mean((form.real(form.quantise(sample)) - sample) ** 2))

    forms = {rule: edge_format("edge", seen, 3, rule=rule) for rule in RULES}
    assert error(forms["mse"]) <= min(error(forms["max"]), error(forms["quantile"]))
    power = edge_format("edge", seen, 8, grid=1.0)
    assert np.log2(power.step) == round(np.log2(power.step))


def test_dead_edges_and_missing_images_are_refused():
    with pytest.raises(InputError, match="edge 'a' carries only zeros"):
        edge_format("a", Observed(0.0, 0.0, np.zeros(3, np.float32)), 8)
    network = chain(layer("a", "x"))
    with pytest.raises(InputError, match="at least one image"):
        addersim.quantize(network, images(0))
    with pytest.raises(InputError, match=r"images have shape \(2, 3, 6, 6\)"):
        addersim.quantize(network, images(2, (3, 6, 6)))
    with pytest.raises(InputError, match="hold integers, expected floats"):
        addersim.quantize(network, np.rint(images(2)).astype(np.int8))
    broken = images(2)
    broken[1, 0, 0, 0] = np.nan
    with pytest.raises(InputError, match="image 1 holds NaN"):
        addersim.quantize(network, broken)


def test_observation_sees_every_channel():
    """Channels whose number divides a stride must not hide each other."""
    x = np.zeros((50, 4, 6, 6), np.float32)
    x[:, 2] = 5.0
    seen = observe(chain(layer("a", "x")), x)
    assert seen["x"].high == 5.0
    assert 0.2 < np.mean(seen["x"].sample > 0) < 0.3


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


CORRECTIONS = ["mean", "least_squares"]


def unclamped(qnet, last):
    """Return what the last layer's stage makes in front of rounding and clamp: p."""
    node = qnet.node(last)
    open_end = replace(node, stage=replace(node.stage, finish=False))
    nodes = tuple(open_end if n.name == last else n for n in qnet.nodes)
    return addersim.simulate(replace(qnet, nodes=nodes), images()).logits_int


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("kind", ["conv2d", "adder_conv2d"])
@pytest.mark.parametrize("gamma", [1.0, -2.0])
def test_mean_correction_leaves_no_mean_error_in_any_channel(style, kind, gamma):
    mean = -30.0 if kind == "adder_conv2d" else 0.0
    network = chain(layer("a", "x", "conv2d"), layer("b", "a", kind), norm("m", "b", mean=mean, gamma=gamma))
    errors = {}
    for correction in ("none", "mean"):
        qnet = addersim.quantize(network, images(), bits=4, output_stage=style, correction=correction)
        real = unclamped(qnet, "b") * 2.0 ** -qnet.node("b").params["shift_k"][:, None, None] * qnet.output.format.step
        errors[correction] = np.abs((real - run_float(network, images())).mean((0, 2, 3)))
    assert np.all(errors["mean"] < 0.5 * qnet.output.format.step)  # of A_k's rounding
    assert errors["none"].max() > errors["mean"].max()


@pytest.mark.parametrize("style", STYLES)
def test_least_squares_is_the_line_that_numpy_fits_to_the_simulators_values(style):
    """The reference: a polynomial of degree 1 through t, taken apart from the simulated p = t * M + A."""
    network = chain(layer("a", "x", "conv2d"), layer("b", "a", K=3), norm("m", "b", K=3, gamma=-1.5))
    qnet = addersim.quantize(network, images(), bits=3, output_stage=style, correction="least_squares")
    node, y = qnet.node("b"), run_float(network, images())
    p = unclamped(qnet, "b")
    M, A, n = (node.params[key][:, None, None] for key in ("multiplier_k", "offset_k", "shift_k"))
    t = (p - A) // M
    np.testing.assert_array_equal(t * M + A, p)
    for k in range(3):
        slope = np.polyfit(t[:, k].ravel(), y[:, k].ravel(), 1)[0] / qnet.output.format.step
        expected = encode_gains(np.array([slope]), style, 8, "b")
        assert (expected[0][0], expected[1][0]) == (M[k, 0, 0], n[k, 0, 0])
        assert abs((p[:, k] * 2.0 ** -n[k] * qnet.output.format.step - y[:, k]).mean()) < 1e-3


@pytest.mark.parametrize("correction", CORRECTIONS)
@pytest.mark.parametrize("identity_first", [True, False])
@pytest.mark.parametrize("style", ["multiplier_shift", "shift_add"])  # one power of two is too coarse to promise it
def test_correction_brings_a_residual_network_nearer_to_its_floats(correction, identity_first, style):
    network = residual(identity_first)
    expected, error = run_float(network, images()), {}
    for name in ("none", correction):
        qnet = addersim.quantize(network, images(), bits=3, output_stage=style, correction=name)
        trace = addersim.simulate(qnet, images())
        assert not any(entry.overflows for entry in trace.layers)
        error[name] = float(np.mean((trace.logits - expected) ** 2))
    assert error[correction] < error["none"]


def test_correction_works_on_lone_norms_dead_channels_and_constant_inputs():
    network = chain(layer("a", "x", "conv2d"), Node("r", "relu", ("a",)), norm("n", "r", mean=0.5), layer("b", "n"))
    network.node("n").params["gamma_k"][1] = 0
    network.node("a").params["w_krsc"][2] = 0
    for correction in CORRECTIONS:
        qnet = addersim.quantize(network, images(), correction=correction)
        assert qnet.node("n").kind == "scale" and qnet.node("n").params["multiplier_k"][1] == 0
        assert addersim.validate(network, qnet, images()).worst.sqnr_db > 20


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


def test_an_edge_without_values_names_who_reads_it():
    network = chain(layer("a", "x", "conv2d"), Node("r", "relu", ("a",)), layer("b", "r"), norm("m", "b"))
    network.node("a").params["w_krsc"][:] = 0
    with pytest.raises(InputError, match=r"edge 'r' carries only zeros .* \(read by 'b'\)"):
        addersim.quantize(network, images())
    network.node("a").params["w_krsc"][1, 0, 0, 0] = np.nan
    with pytest.raises(InputError, match="edge 'a' holds NaN or infinity on the calibration images"):
        addersim.quantize(network, images())


def test_batch_norm_correction_gives_every_channel_the_floats_mean_and_variance():
    network = chain(layer("a", "x", "conv2d"), layer("b", "a"), norm("m", "b", gamma=-1.5))
    expected = run_float(network, images())
    qnet = addersim.quantize(network, images(), bits=3, multiplier_bits=12, correction="batch_norm")
    found = unclamped(qnet, "b") * 2.0 ** -qnet.node("b").params["shift_k"][:, None, None] * qnet.output.format.step
    np.testing.assert_allclose(found.mean((0, 2, 3)), expected.mean((0, 2, 3)), atol=qnet.output.format.step)
    np.testing.assert_allclose(found.std((0, 2, 3)), expected.std((0, 2, 3)), rtol=1e-3)


@pytest.mark.parametrize("style", STYLES)
def test_the_second_branch_of_an_addition_makes_up_for_the_first(style):
    """A layer that an addition reads is fitted to the sum: no channel of the sum has a mean error."""
    network = residual(True)
    qnet = addersim.quantize(network, images(), bits=3, residual_bits=3, output_stage=style, correction="mean")
    branches = qnet.node("s").inputs
    edges = addersim.simulate(qnet, images(), keep=branches).edges
    real = 0.0
    for name in branches:
        node, form = qnet.node(name), qnet.tensors[name].format
        real = real + form.real(edges[name] * 2.0 ** -node.params["shift_k"][:, None, None])
    expected = next(iter(float_batches(network, images(), keep=["s"])))["s"]
    error_k = real.mean((0, 2, 3)) - expected.mean((0, 1, 2))
    assert np.abs(error_k).max() < 0.02 * expected.std()


@pytest.mark.parametrize("kind", ["conv2d", "adder_conv2d"])
def test_behind_a_rectifier_least_squares_fit_what_passes_it(monkeypatch, kind):
    """Gains of one power of two are wrong; then a fit to the values that pass the rectifier beats one to all."""
    network = chain(
        layer("a", "x", "conv2d", spread=0.16),
        layer("b", "a", kind),
        norm("m", "b", mean=-38.0 if kind == "adder_conv2d" else 0.0),
        Node("r", "relu", ("m",)),
        layer("c", "r", "conv2d", R=1),
    )
    expected = next(iter(float_batches(network, images(40), keep=["r"])))["r"]
    errors = {}
    for passes in (0, 3):
        monkeypatch.setattr("addersim.quantization.correction.PASSES", passes)
        qnet = addersim.quantize(network, images(40), output_stage="shift_only", correction="least_squares")
        codes = addersim.simulate(qnet, images(40), keep=["b"]).edges["b"]
        errors[passes] = float(np.mean((qnet.tensors["b"].format.real(np.moveaxis(codes, 1, -1)) - expected) ** 2))
    assert errors[3] < 0.95 * errors[0]


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
