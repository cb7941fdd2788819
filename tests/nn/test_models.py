"""The bundled models that came after LeNet and the CIFAR ResNets: published sizes and keys, and the whole chain."""

import itertools
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import addersim
from addersim.errors import InputError
from addersim.kernels import reference
from addersim.network.float_run import run_float
from addersim.nn import AdderConv2d, build_model, load_checkpoint
from addersim.nn.batch_norm import reestimate_batch_norm
from addersim.nn.catalogue import CATALOGUE
from addersim.nn.models import ImageNetResNet
from addersim.nn.models.imagenet import Bottleneck
from addersim.nn.models.resnet import BasicBlock
from addersim.weights.shipped import weights_file

SIZES = {"vgg_small": 32, "resnet18": 64, "resnet50": 64, "segmenter": 32, "detector": 32}


@cache
def calibrated(name):
    """Return a model whose batch norms know what its random layers make of the random images beside it."""
    torch.manual_seed(0)
    model, family = build_model(name), name.rsplit("_", 1)[0]
    size, count = SIZES[family], 1 if family == "vgg_small" else 4  # VGG-small is slow in NumPy
    # Coarse patterns, not white noise: deep features of noise hardly differ, and batch norm would blow up rounding.
    coarse = np.random.default_rng(0).normal(size=(count, CATALOGUE[name].input_shape[0], 4, 4)).astype(np.float32)
    images = np.kron(coarse, np.ones((size // 4, size // 4), np.float32))
    for block in model.modules():
        if isinstance(block, BasicBlock | Bottleneck):  # else random blocks in a row amplify any rounding: chaos
            nn.init.constant_(getattr(block, "bn3", block.bn2).weight, 0.2)
    reestimate_batch_norm(model, [torch.from_numpy(images)])
    return model.eval(), images


@cache
def quantised(name):
    model, images = calibrated(name)
    network = addersim.from_torch(model, images[:1])
    return network, addersim.quantize(network, images)


def error(y, expected):
    """Return the root mean square of the difference, relative to the spread of what was expected."""
    return np.sqrt(np.mean((y - expected) ** 2)) / expected.std()


def taps_by_hooks(model, images):
    """Return multiply- or subtract-accumulates of one image, as PyTorch's own layers see their outputs."""
    taps = 0

    def add(layer, _, y):
        nonlocal taps
        taps += y[0].numel() * layer.weight[0].numel()

    layers = [m for m in model.modules() if isinstance(m, AdderConv2d | nn.Conv2d | nn.Linear)]
    handles = [layer.register_forward_hook(add) for layer in layers]
    with torch.no_grad():
        model(torch.from_numpy(images[:1]))
    for handle in handles:
        handle.remove()
    return taps


@pytest.mark.parametrize("name", ["vgg_small_adder", "resnet18_adder", "resnet50_adder", "segmenter_adder",
                                  "segmenter_conv", "detector_adder", "detector_conv"])  # fmt: skip
def test_export_count_quantise_simulate_and_price(name):
    model, images = calibrated(name)
    network, qnet = quantised(name)
    with torch.no_grad():
        expected = model(torch.from_numpy(images)).numpy()
    assert error(run_float(network, images), expected) < 1e-3
    counts = addersim.count(qnet)
    assert counts.taps == taps_by_hooks(model, images)
    kinds = {type(layer).__name__ for layer in model.modules()}
    assert bool(counts.adder_taps) == ("AdderConv2d" in kinds) == name.endswith("_adder")
    machine = f"{'adder' if name.endswith('_adder') else 'multiplier'}_16x16"
    placed = qnet.on(machine)
    trace = addersim.simulate(placed, images)
    assert trace.logits.shape == expected.shape and not any(layer.overflows for layer in trace.layers)
    checked = addersim.validate(model, qnet, images)
    if name.startswith(
        "resnet50"
    ):  # 49 random layers turn the rounding of 8 bits into anything: look at the first half
        early = [layer.sqnr_db for layer in checked.layers if layer.name.startswith(("conv1", "layer1", "layer2"))]
        assert len(early) > 30 and min(early) > 15
    else:
        assert error(trace.logits, expected) < 0.3
    np.testing.assert_array_equal(checked.logits, trace.logits)
    cost = addersim.evaluate(placed, machine, "output_stationary", "horowitz2014_45nm")
    assert cost.energy_pj > 0 and sum(run.taps for run in cost.layers if run.array) == counts.taps


@pytest.mark.parametrize("name", ["segmenter_adder", "detector_adder"])
def test_both_kernels_agree_on_every_edge(name):
    _, images = calibrated(name)
    _, qnet = quantised(name)
    ours = addersim.simulate(qnet, images[:1], keep="*")
    theirs = addersim.simulate(qnet, images[:1], keep="*", kernels=reference)
    for edge, codes in ours.edges.items():
        np.testing.assert_array_equal(codes, theirs.edges[edge], err_msg=edge)


@pytest.mark.parametrize("name", ["segmenter_adder", "detector_adder"])
def test_quantised_networks_come_back_from_disk(name, tmp_path):
    _, images = calibrated(name)
    _, qnet = quantised(name)
    qnet.save(tmp_path / "net.safetensors")
    again = addersim.QuantizedNetwork.load(tmp_path / "net.safetensors")
    expected = addersim.simulate(qnet, images).logits_int
    np.testing.assert_array_equal(addersim.simulate(again, images).logits_int, expected)


def imported(name):
    return addersim.from_torch(build_model(name), torch.zeros(1, *CATALOGUE[name].input_shape))


def test_vgg_small_has_the_published_size():
    """607.5 M in the convolutions; CVPR 2020, table 1 prints 0.65 G for a VGG-small with larger last layers."""
    expected = 9 * (1024 * (3 * 128 + 128 * 128) + 256 * (128 * 256 + 256 * 256) + 64 * (256 * 512 + 512 * 512))
    counts = addersim.count(imported("vgg_small_adder"))
    assert round(expected / 1e6, 1) == 607.5
    assert counts.taps == expected + 512 * 4 * 4 * 10
    assert counts.multiplications == 9 * 1024 * 3 * 128 + 512 * 4 * 4 * 10
    assert addersim.count(imported("vgg_small_conv")).multiplications == counts.taps


@pytest.mark.parametrize(("depth", "parameters", "billions"), [(18, 11_689_512, 1.81), (50, 25_557_032, 4.09)])
def test_imagenet_resnets_have_the_size_of_torchvision_s(depth, parameters, billions):
    """Parameters and multiply-accumulates in 1e9 from the pages of torchvision.models.resnet18 and resnet50."""
    last_norm = 2 * 1000  # torchvision has no batch norm on the logits
    for kind in ("adder", "conv"):
        name = f"resnet{depth}_{kind}"
        assert sum(p.numel() for p in build_model(name).parameters()) == parameters + last_norm
    taps = addersim.count(imported(f"resnet{depth}_adder")).taps
    assert round(taps / 1e9, 2) == billions
    with pytest.raises(InputError, match="18 or 50, got 34"):
        ImageNetResNet(34, adder=True)


def published_keys(blocks, layers):
    """Return the keys of huawei-noah/AdderNet's resnet50.py, built from its structure."""
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    keys = {"conv1.weight", "fc.weight", "fc.bias", *(f"{bn}.{k}" for bn in ("bn1", "bn2") for k in norm)}
    for stage, count in enumerate(blocks, 1):
        for block, layer in itertools.product(range(count), range(1, layers + 1)):
            where = f"layer{stage}.{block}"
            keys |= {f"{where}.conv{layer}.adder", *(f"{where}.bn{layer}.{k}" for k in norm)}
        if stage > 1 or layers == 3:
            where = f"layer{stage}.0.downsample"
            keys |= {f"{where}.0.adder", *(f"{where}.1.{k}" for k in norm)}
    return keys


def published(model):
    """Return the state dict as the published files name it."""
    adders = {f"{name}.weight" for name, m in model.named_modules() if isinstance(m, AdderConv2d)}
    return {f"module.{k.replace('.weight', '.adder') if k in adders else k}": v for k, v in model.state_dict().items()}


@pytest.mark.parametrize(("name", "blocks", "layers"),
                         [("resnet18_adder", (2, 2, 2, 2), 2), ("resnet50_adder", (3, 4, 6, 3), 3)])  # fmt: skip
def test_published_keys_of_the_imagenet_resnets(name, blocks, layers, tmp_path):
    model, images = calibrated(name)
    state = published(model)
    assert {key.removeprefix("module.") for key in state} == published_keys(blocks, layers)
    torch.save({"state_dict": state, "epoch": 150}, tmp_path / "w.pth")
    with torch.no_grad():
        x = torch.from_numpy(images[:1])
        assert torch.equal(load_checkpoint(name, tmp_path / "w.pth")(x), model(x))
    del state["module.layer1.0.conv1.adder"]
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(InputError, match=r"missing layer1\.0\.conv1\.weight"):
        load_checkpoint(name, tmp_path / "w.pth")


@pytest.mark.parametrize("name", ["vgg_small_adder", "segmenter_adder", "detector_adder"])
@pytest.mark.parametrize("classes", [3, 20])
def test_checkpoints_bring_their_number_of_classes(name, classes, tmp_path):
    model = build_model(name, classes).eval()
    torch.save(published(model), tmp_path / "w.pth")
    x = torch.randn(1, *CATALOGUE[name].input_shape)
    with torch.no_grad():
        assert torch.equal(load_checkpoint(name, tmp_path / "w.pth")(x), model(x))


@pytest.mark.parametrize("name", ["vgg_small", "resnet18", "segmenter", "detector"])
def test_twins_differ_in_the_layers_and_keep_their_ends(name):
    adder, conv = (build_model(f"{name}_{kind}") for kind in ("adder", "conv"))
    pairs = list(zip(adder.named_modules(), conv.named_modules(), strict=True))
    assert all(a[0] == b[0] for a, b in pairs)
    changed = [a[0] for a, b in pairs if type(a[1]) is not type(b[1])]
    assert changed and all(isinstance(adder.get_submodule(n), AdderConv2d) for n in changed)
    assert {k: v.shape for k, v in adder.state_dict().items()} == {k: v.shape for k, v in conv.state_dict().items()}
    kept = [n for n, m in adder.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    expected = {"segmenter": ["conv1", "head", "detail"],
                "detector": ["conv1", "class_logits", "centre_ness", "distances"],
                "vgg_small": ["features.0", "fc"], "resnet18": ["conv1", "fc"]}  # fmt: skip
    assert kept == expected[name]


def test_the_weights_of_a_twin_are_refused(tmp_path):
    published = {f"module.{key}": value for key, value in build_model("resnet20_adder").state_dict().items()}
    key = "module.layer1.0.conv1"
    published[f"{key}.adder"] = published.pop(f"{key}.weight")
    torch.save(published, tmp_path / "published.pth")
    with pytest.raises(
        InputError, match=r"published\.pth: 'module\.layer1\.0\.conv1\.adder' is an adder layer's; expected"
    ):
        load_checkpoint("resnet20_conv", tmp_path / "published.pth")
    with pytest.raises(InputError, match=r"its card says lenet5_conv, expected the weights of lenet5_adder"):
        load_checkpoint("lenet5_adder", weights_file("lenet5_conv-mnist"))


def test_pickles_of_more_than_tensors_are_refused_in_one_line(tmp_path):
    torch.save(nn.Linear(2, 2), tmp_path / "whole.pth")
    with pytest.raises(
        InputError, match=r"whole\.pth: not a readable file of tensors \(it holds objects that may run code"
    ):
        load_checkpoint("lenet5_adder", tmp_path / "whole.pth")


def test_levels_of_the_detector_are_what_its_head_says():
    model, images = calibrated("detector_adder")
    with torch.no_grad():
        x = torch.from_numpy(images)
        levels = model.levels(model(x), 32, 32)
        maps = [torch.relu(model.bn1(model.conv1(x)))]
        for layer in (model.layer1, model.layer2, model.layer3):
            maps.append(layer(maps[-1]))
        for level, features, stride in zip(levels, model.pyramid(maps[1:]), (2, 4, 8), strict=True):
            seen = model.tower(features)
            torch.testing.assert_close(level.class_logits, model.class_logits(seen))
            torch.testing.assert_close(level.centre_ness, model.centre_ness(seen))
            torch.testing.assert_close(level.distances, model.distances(seen).clamp(min=0) * stride)
            assert level.distances.shape == (4, 4, 32 // stride, 32 // stride)


def test_all_output_layers_of_the_detector_keep_8_bit_weights_and_write_16_bit_logits():
    network, _ = quantised("detector_adder")
    _, images = calibrated("detector_adder")
    qnet = addersim.quantize(network, images, bits=4)
    outputs = [n for n in qnet.nodes if n.name.split(".")[0] in ("class_logits", "centre_ness", "distances")]
    assert len(outputs) == 9
    for node in outputs:
        assert node.datapath.w.bits == 8 and qnet.tensors[node.name].format == qnet.output.format
    assert qnet.output.format.bits == 16
    assert all(qnet.node(name).kind == "flatten" for name in qnet.nodes[-1].inputs)  # nothing is rounded twice
    assert qnet.node("tower.3.adder_conv2d").datapath.w.bits == 4


README = Path(__file__).parents[2] / "README.md"


@pytest.mark.skipif(not README.is_file(), reason="tests an installed package, without its repository")
@pytest.mark.parametrize("name", [name for name in CATALOGUE if name.endswith("_adder")])
def test_the_readme_s_table_of_models_is_counted(name):
    counts, shape = addersim.count(imported(name)), " x ".join(map(str, CATALOGUE[name].input_shape))
    row = f"| `{name.removesuffix('_adder')}` | {shape} | {counts.taps:,} | {counts.multiplications:,} |"
    assert row in README.read_text(encoding="utf-8")
