"""Validation against the float model: SQNR by its definition, and the layer where networks part."""

import numpy as np
import pytest
from test_quantize import images as residual_images
from test_quantize import residual

import addersim
from addersim.datapath import with_accumulator
from addersim.errors import InputError
from addersim.floating import channels_last, float_batches
from addersim.network import Network


def test_sqnr_is_its_definition(example, qnet, images):
    validation = addersim.validate(example, qnet, images)
    trace = addersim.simulate(qnet, images, keep="*")
    edges = next(float_batches(example, images, keep=["relu2"]))
    signal = edges["relu2"].astype(np.float64)
    noise = qnet.tensors["conv2"].format.real(channels_last(trace.edges["conv2"])) - signal
    power = np.mean((signal - signal.mean((0, 1, 2))) ** 2)
    found = next(layer for layer in validation.layers if layer.name == "conv2")
    assert found.sqnr_db == pytest.approx(10 * np.log10(power / np.mean(noise**2)), abs=1e-6)
    assert found.largest_error == pytest.approx(np.abs(noise).max())


def test_agreement_and_errors(example, qnet, images):
    validation = addersim.validate(example, qnet, images)
    assert validation.agreement == np.mean(validation.logits.argmax(1) == validation.float_logits.argmax(1))
    assert validation.largest_logit_error == np.abs(validation.logits - validation.float_logits).max()
    assert validation.parting is None
    assert list(validation.to_pandas()["name"]) == [node.name for node in qnet.nodes[1:]]


def test_the_layer_where_networks_part(example, qnet, images):
    path = qnet.node("conv2").datapath
    ruined = qnet.with_datapaths({"conv2": with_accumulator(path, 8)})
    assert addersim.validate(example, ruined, images).parting.name == "conv2"


def test_products_of_residual_branches_are_compared_too():
    network, x = residual(identity_first=True), residual_images()
    validation = addersim.validate(network, addersim.quantize(network, x), x)
    assert all(layer.sqnr_db > 25 for layer in validation.layers)


def test_another_float_model_is_refused(qnet, images, example):
    other = Network("other", example.nodes[:2], {n.name: example.tensors[n.name] for n in example.nodes[:2]})
    with pytest.raises(InputError, match="it is not the model that was quantised"):
        addersim.validate(other, qnet, images)
