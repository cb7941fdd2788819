"""What several test files need: the shared data where it is, and a small pair of networks."""

import os
from pathlib import Path

import pytest

import addersim
from addersim.shelf import PLUGINS, Shelf


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder named by ADDERSIM_DATA; tests that need it are skipped where it is absent."""
    folder = os.environ.get("ADDERSIM_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("needs ADDERSIM_DATA, a folder with CIFAR-10 and the published checkpoints")
    return Path(folder)


@pytest.fixture(scope="session")
def images():
    return addersim.sample("fashion_calibration", limit=24)[0]


@pytest.fixture(scope="session")
def example():
    return addersim.example_network()


@pytest.fixture(scope="session")
def qnet(example, images):
    return addersim.quantize(example, images)


@pytest.fixture
def shelves():
    """What plug-ins put on the shelves in a test is taken off again."""
    before, loaded = [(shelf, dict(shelf)) for shelf in Shelf.every], dict(PLUGINS)
    yield
    for shelf, things in before:
        shelf.replace(things)
    PLUGINS.clear()
    PLUGINS.update(loaded)


@pytest.fixture
def study_file(tmp_path, example):
    """A study of the example network and its multiplier twin, in files of their own."""
    example.save(tmp_path / "net.safetensors")
    addersim.example_network(adder=False).save(tmp_path / "twin.safetensors")
    text = '[network]\nfile = "net.safetensors"\n[twin]\nfile = "twin.safetensors"\n'
    text += "[data]\nlimit = 16\ncalibration_limit = 16\n"
    path = tmp_path / "study.toml"
    path.write_text(text + '[space]\n"hardware.rows" = [8, 16]\n"quantization.bits" = [4, 8]\n')
    return path
