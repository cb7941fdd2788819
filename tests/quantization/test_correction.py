"""Corrections of output stages: the means and lines that they promise, channel by channel."""

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
from builders import chain, images, layer, norm, residual

import addersim
from addersim.arithmetic.output_stage import Style
from addersim.network.float_run import float_batches, run_float
from addersim.network.node import Node
from addersim.quantization.gains import encode_gains

STYLES = get_args(Style)


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
