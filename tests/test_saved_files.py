"""Files of earlier versions load and give the same bits; a newer version is refused in one line."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import safetensors.numpy
import torch
from training import quarters, recipe, save_npz

import addersim
from addersim.errors import InputError
from addersim.files import check_version
from addersim.kernels import native, reference
from addersim.network.float_run import run_float
from addersim.network.torch_file import load_export
from addersim.nn.checkpoint import load_checkpoint
from addersim.study.explore import sweep as sweeping
from addersim.train.loop import train
from addersim.weights.shipped import cards, integer_networks, read_card, weights_file

DATA = Path(__file__).parent / "data"
GOLDEN = json.loads((DATA / "golden.json").read_text())


@pytest.fixture(scope="module")
def images():
    return addersim.sample("fashion_sample", limit=8)[0]


@pytest.mark.parametrize("kernels", [native, reference], ids=["native", "reference"])
@pytest.mark.parametrize("name", ["integers", "integers_on_a_machine"])
def test_networks_of_integers_give_the_same_bits(name, kernels, images):
    qnet = addersim.QuantizedNetwork.load(DATA / f"{name}.safetensors")
    expected = GOLDEN["logits_int" + name.removeprefix("integers")]
    assert addersim.simulate(qnet, images, kernels=kernels).logits_int.tolist() == expected
    assert qnet.to_bytes() == (DATA / f"{name}.safetensors").read_bytes()


def test_a_machine_and_a_quantization_give_the_same_network(images):
    qnet = addersim.quantize(
        addersim.example_network(), images, bits=4, correction="least_squares", steps="power_of_two"
    )
    assert qnet.to_bytes() == (DATA / "integers.safetensors").read_bytes()
    assert qnet.on("adder_tree_16x16").to_bytes() == (DATA / "integers_on_a_machine.safetensors").read_bytes()


def test_a_float_network_and_an_export_compute_the_same(images):
    networks = {
        "float_logits": addersim.Network.load(DATA / "float.safetensors"),
        "export_logits": addersim.from_torch(load_export(DATA / "export.pt2"), None),
    }
    for name, network in networks.items():
        expected = np.array([[float.fromhex(value) for value in row] for row in GOLDEN[name]])
        np.testing.assert_allclose(run_float(network, images), expected, rtol=1e-5)  # BLAS adds in its own order
    assert networks["float_logits"].to_bytes() == (DATA / "float.safetensors").read_bytes()


@pytest.mark.parametrize("name", sorted(GOLDEN["shipped"]))
def test_shipped_networks_give_the_same_bits(name):
    qnet = addersim.QuantizedNetwork.load(name)
    codes = np.random.default_rng(0).integers(-128, 128, (2, *qnet.input.shape))
    logits = addersim.simulate(qnet, codes).logits_int.astype("<i8").tobytes()
    assert hashlib.sha256(logits).hexdigest() == GOLDEN["shipped"][name]


@pytest.mark.parametrize("name", sorted(cards().keys() - integer_networks().keys()))
def test_shipped_weights_load(name):
    file = weights_file(name)
    state = load_checkpoint(cards()[name]["model"], file).state_dict()
    for key, value in safetensors.numpy.load_file(file).items():
        np.testing.assert_array_equal(state[key].numpy(), value)


@pytest.fixture
def swept(tmp_path):
    """A copy of the sweep, whose study names a network beside it."""
    for name in ("study.toml", "integers.safetensors"):
        shutil.copy(DATA / name, tmp_path)
    return Path(shutil.copytree(DATA / "sweep", tmp_path / "sweep"))


def test_a_sweep_goes_on_in_its_folder(swept, monkeypatch):
    expected = pd.DataFrame(GOLDEN["sweep"]).astype({"area_um2": float})  # NaN there: the table prints none
    study = swept.parent / "study.toml"
    computed = addersim.sweep(study, pool="local:1", accuracy=True)
    pd.testing.assert_frame_equal(computed, expected, check_dtype=False, rtol=1e-14)
    monkeypatch.setattr(sweeping, "rows", None)  # everything is there: nothing is computed
    found = addersim.sweep(study, pool="local:1", out=swept, accuracy=True)
    pd.testing.assert_frame_equal(found, computed)


def test_a_newer_sweep_is_refused(swept):
    file = swept / "sweep.json"
    file.write_text(json.dumps({"format": 2, **json.loads(file.read_text())}))
    with pytest.raises(InputError, match=r"sweep\.json: sweep format version 2, of a newer addersim; .* up to 1"):
        addersim.sweep(swept.parent / "study.toml", out=swept, accuracy=True)


def test_a_dump_says_the_same(images, tmp_path):
    qnet = addersim.QuantizedNetwork.load(DATA / "integers_on_a_machine.safetensors")
    manifest = addersim.dump(qnet, images[:1], tmp_path / "dump")
    written, expected = (json.loads(file.read_text()) for file in (manifest, DATA / "dump" / "manifest.json"))
    assert written.pop("versions").keys() == expected.pop("versions").keys()
    assert written == expected
    digest = hashlib.sha256()
    for file in sorted(file.relative_to(manifest.parent) for file in manifest.parent.rglob("*.*") if file != manifest):
        digest.update(f"{file}".encode() + (manifest.parent / file).read_bytes())
    assert digest.hexdigest() == GOLDEN["dump"]


def test_an_earlier_dump_is_replaced_and_a_newer_one_refused(images, tmp_path):
    qnet = addersim.QuantizedNetwork.load(DATA / "integers.safetensors")
    folder = Path(shutil.copytree(DATA / "dump", tmp_path / "dump"))
    manifest = addersim.dump(qnet, images[:2], folder, overwrite=True)
    content = json.loads(manifest.read_text())
    assert content["images"] == 2
    newer = json.dumps({**content, "versions": {**content["versions"], "manifest": 2}})
    manifest.write_text(newer)
    with pytest.raises(InputError, match=r"manifest\.json: dump format version 2, of a newer addersim; .* up to 1"):
        addersim.dump(qnet, images[:1], folder, overwrite=True)
    assert manifest.read_text() == newer


@pytest.fixture
def begun(tmp_path):
    save_npz(tmp_path / "fashion_mnist.npz", quarters())
    return Path(shutil.copytree(DATA / "training", tmp_path / "training"))


def test_a_training_run_goes_on(begun):
    chosen = recipe(momentum=0.0, weight_decay=0.0)
    first = (begun / "epochs.csv").read_text().splitlines()[1]
    result = train(chosen, begun, begun.parent, resume=True, progress=False)
    lines = (begun / "epochs.csv").read_text().splitlines()
    assert lines[1] == first and len(lines) == 3 and result.weights.exists()
    assert json.loads(result.card.read_text())["format"] == 1


@pytest.mark.parametrize("kept", [True, False], ids=["same_keys", "other_keys"])
def test_a_newer_checkpoint_is_refused(begun, kept):
    file = begun / "checkpoint.pt"
    torch.save({**(torch.load(file, weights_only=True) if kept else {}), "format": 2}, file)
    with pytest.raises(InputError, match=r"checkpoint\.pt: checkpoint format version 2, of a newer addersim"):
        train(recipe(momentum=0.0, weight_decay=0.0), begun, begun.parent, resume=True, progress=False)


@pytest.mark.parametrize(
    ("version", "message"), [(2, "2, of a newer addersim"), ("1", "'1', expected"), (0, "0, expe")]
)
def test_a_newer_network_is_refused(tmp_path, version, message):
    file = tmp_path / "net.safetensors"
    with safetensors.safe_open(DATA / "integers.safetensors", "numpy") as stream:
        graph = {**json.loads(stream.metadata()["addersim"]), "version": version}
    arrays = safetensors.numpy.load_file(DATA / "integers.safetensors")
    safetensors.numpy.save_file(arrays, file, {"addersim": json.dumps(graph)})
    with pytest.raises(InputError, match=f"net.safetensors: network format version {message}"):
        addersim.QuantizedNetwork.load(file)


def test_a_newer_card_is_refused(tmp_path):
    (tmp_path / "card.json").write_text('{"format": 7}')
    with pytest.raises(InputError, match=r"card\.json: card format version 7, of a newer addersim; .* up to 1"):
        read_card(tmp_path / "card.json")


@pytest.mark.parametrize("found", [True, 1.0, None, -1, [1]])
def test_what_is_no_version_is_refused(found):
    with pytest.raises(InputError, match="expected a whole number from 1 to 3"):
        check_version("file", "some format", found, 3)
