"""Ranges of edges: what calibration sees, the steps that its rules choose, and what has no range."""

import numpy as np
import pytest
from builders import chain, images, layer, norm

import addersim
from addersim.errors import InputError
from addersim.network.node import EdgeFormat, Node
from addersim.quantization.ranges import Observed, edge_format, observe

RULES = ["mse", "output_mse", "quantile", "max"]


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


def test_an_edge_without_values_names_who_reads_it():
    network = chain(layer("a", "x", "conv2d"), Node("r", "relu", ("a",)), layer("b", "r"), norm("m", "b"))
    network.node("a").params["w_krsc"][:] = 0
    with pytest.raises(InputError, match=r"edge 'r' carries only zeros .* \(read by 'b'\)"):
        addersim.quantize(network, images())
    network.node("a").params["w_krsc"][1, 0, 0, 0] = np.nan
    with pytest.raises(InputError, match="edge 'a' holds NaN or infinity on the calibration images"):
        addersim.quantize(network, images())
