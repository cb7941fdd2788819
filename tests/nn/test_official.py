"""The published ResNet-20 AdderNet through the same code: import, quantise, simulate, integers to the logits."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import addersim
from addersim.kernels import reference
from addersim.network.float_run import run_float
from addersim.nn import load_checkpoint
from addersim.simulation.simulate import simulate
from addersim.study.images import normalise

MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


def decoded(folder: Path, name: str, first: int) -> np.ndarray:
    """Return the first images of one of the lossless CIFAR-10 files, N C H W uint8."""
    if not (folder / "images.py").exists():
        pytest.skip(f"{folder} holds no images.py, the reader of lossless CIFAR-10")
    spec = importlib.util.spec_from_file_location("images_reader", folder / "images.py")
    reader = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reader)
    pixels = reader.decode((folder / name).read_bytes(), (10000, 32, 32, 3))
    return pixels[:first].transpose(0, 3, 1, 2)


@pytest.fixture(scope="module")
def official(shared_data):
    path = shared_data / "checkpoints" / "ResNet20-AdderNet.pth"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    module = load_checkpoint("resnet20_adder", path)
    calibration = normalise(decoded(shared_data, "cifar10_train_0.xz", 48), MEAN, STD)
    network = addersim.from_torch(module, calibration[:1])
    return network, addersim.quantize(network, calibration)


def test_int8_keeps_the_accuracy(official, shared_data):
    network, qnet = official
    images = normalise(decoded(shared_data, "cifar10_test.xz", 200), MEAN, STD)
    with np.load(shared_data / "cifar10_labels.npz") as labels:
        truth = labels["test_labels"][:200]
    trace = simulate(qnet, images, threads=2)
    floats = run_float(network, images)
    assert not any(layer.overflows for layer in trace.layers)
    assert np.mean(trace.logits_int.argmax(1) == floats.argmax(1)) > 0.96
    assert np.mean(trace.logits_int.argmax(1) == truth) > np.mean(floats.argmax(1) == truth) - 0.02


def test_reference_and_native_agree_on_every_edge(official):
    _, qnet = official
    image = np.random.default_rng(0).normal(size=(1, *qnet.input.shape)).astype(np.float32)
    ours, theirs = (simulate(qnet, image, keep="*", kernels=k) for k in (reference, addersim.kernels.native))
    for name, edge in ours.edges.items():
        np.testing.assert_array_equal(edge, theirs.edges[name])


def test_it_is_priced_and_fits_a_machine(official):
    _, qnet = official
    cost = addersim.evaluate(qnet.on("adder_32x32"), "adder_32x32", "weight_stationary", "qkeras_fit_45nm")
    assert cost.energy_pj > 0
    assert sum(run.taps for run in cost.layers if run.array) == 40_813_184
