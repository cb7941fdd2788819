"""Validation against the float model: SQNR by its definition, and the layer where networks part."""

import numpy as np
import pytest
from builders import images as residual_images
from builders import residual

import addersim
from addersim.arithmetic.datapath import with_accumulator
from addersim.errors import InputError
from addersim.network.float_run import channels_last, float_batches
from addersim.network.graph import Network


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


def test_per_layer_saturation_range_and_widths(example, qnet, images):
    trace = addersim.simulate(qnet, images, keep="*")
    layers = {layer.name: layer for layer in addersim.validate(example, qnet, images).layers}
    assert layers["conv1"].saturated_inputs == trace.saturated_inputs / images.size
    conv2, form = layers["conv2"], qnet.tensors["conv2"].format
    x = qnet.tensors[qnet.node("conv2").inputs[0]].format
    w = np.rint(example.node("conv2").params["w_krsc"].astype(np.float64) / x.step) + x.zero_point
    assert conv2.saturated_weights == np.mean((w < x.format.min) | (w > x.format.max)) > 0
    pooled = np.rint(next(float_batches(example, images, keep=["pool"]))["pool"] / x.step) + x.zero_point
    assert conv2.saturated_inputs == np.mean((pooled < x.format.min) | (pooled > x.format.max)) > 0
    codes = trace.edges["conv2"]
    assert conv2.range_use == (codes.max() - codes.min()) / (2**form.bits - 1)
    path = qnet.node("conv2").datapath
    assert (conv2.step, conv2.out) == (form.step, str(form.format))
    assert conv2.widths == f"{path.x}/{path.w}/{path.accumulator.format}"
    assert layers["conv1"].saturated_weights == 0 and np.isnan(layers["pool"].saturated_weights)


def test_image_by_image_where_they_part(example, qnet, images):
    path = qnet.node("conv2").datapath
    ruined = qnet.with_datapaths({"conv2": with_accumulator(path, 8)})
    validation = addersim.validate(example, ruined, images)
    differ = validation.float_logits.argmax(1) != validation.logits.argmax(1)
    assert differ.any()
    assert [image.image for image in validation.disagreements] == np.flatnonzero(differ).tolist()
    assert {image.parting for image in validation.disagreements} == {"conv2"}
    frame = validation.images_to_pandas()
    assert (frame["float_class"] != frame["integer_class"]).all() and len(frame) == differ.sum()
    assert len(validation.images_to_pandas(all_images=True)) == len(images)
    assert validation.summary.count("\n") == 0 and f"conv2 ({differ.sum()})" in validation.summary
    assert repr(validation).endswith(validation.summary)


def test_one_spoiled_image_is_found_in_its_layer(example, qnet, images):
    """An image far beyond the calibrated range parts at the input's first reader, the others do not."""
    spoiled = images.copy()
    spoiled[3] *= 40
    validation = addersim.validate(example, qnet, np.concatenate([spoiled, np.concatenate([images] * 3)]))
    assert [image.image for image in validation.images if image.parting == "conv1"] == [3]


def test_an_image_s_sqnr_and_the_threshold(example, qnet, images):
    validation = addersim.validate(example, qnet, images, threshold_db=1000)
    assert {image.parting for image in validation.images} == {validation.layers[0].name} == {validation.parting.name}
    alone = addersim.validate(example, qnet, images[:1])
    image, layer = alone.images[0], alone.worst  # one image: its SQNR is the layer's
    assert image.lowest == layer.name and image.lowest_db == pytest.approx(layer.sqnr_db)
    first, second = sorted(alone.float_logits[0])[:-3:-1]
    assert image.margin == first - second
    with pytest.raises(InputError, match="no image to validate on"):
        addersim.validate(example, qnet, images[:0])


def test_a_torch_module_s_own_logits_are_compared(images):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 5, 2),
        torch.nn.BatchNorm2d(4),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(576, 5),
    ).train()
    qnet = addersim.quantize(addersim.from_torch(module, images[:1]), images)
    before = module[1].running_mean.clone()
    validation = addersim.validate(module, qnet, images)
    assert module.training and torch.equal(module[1].running_mean, before)
    with torch.no_grad():
        np.testing.assert_array_equal(validation.float_logits, module.eval()(torch.tensor(images)).double().numpy())
    assert validation.worst.sqnr_db > 20


def test_where_every_pixel_has_a_class(images):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(4, 3, 1)).eval()
    qnet = addersim.quantize(addersim.from_torch(module, images[:1]), images, bits=4)
    validation = addersim.validate(module, qnet, images)
    assert np.mean([image.agreement for image in validation.images]) == pytest.approx(validation.agreement)
    assert {image.float_class for image in validation.images} == {None}
