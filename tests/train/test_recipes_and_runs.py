"""Recipes, data sets, and the training loop on a small synthetic set."""

import csv
import gzip
import io
import json
import math
import struct
import tarfile
from importlib.resources import files

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from training import quarters, recipe, save_npz, train_cut_short

from addersim.errors import InputError
from addersim.nn import build_model, load_checkpoint
from addersim.train import Recipe, batches, data, load_dataset, read_recipe, train
from addersim.train.batches import augment, normalise
from addersim.train.datasets import CIFAR, FASHION, IDX_FILES, dataset_card
from addersim.train.loop import learning_rate
from addersim.train.readers import LIMIT, read_idx
from addersim.train.recipe import Augmentation
from addersim.train.task import TASKS


def idx(array):
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture(scope="module")
def images():
    return quarters()


@pytest.fixture(scope="module")
def folder(images, tmp_path_factory):
    """The four idx files, two of them packed, in a subfolder named after the set."""
    place = tmp_path_factory.mktemp("data") / "fashion-mnist"
    place.mkdir()
    for i, (name, array) in enumerate(zip(IDX_FILES, images, strict=True)):
        content = idx(array)
        (place / (name if i % 2 else f"{name}.gz")).write_bytes(content if i % 2 else gzip.compress(content))
    return place.parent


def write(file, text):
    file.write_text(text, encoding="utf-8")
    return file


BASE = 'model = "lenet5_adder"\ndataset = "fashion_mnist"\nepochs = 3\n'


def test_recipe_is_read_with_the_published_defaults(tmp_path):
    got = read_recipe(write(tmp_path / "r.toml", BASE + "learning_rate = 1\naugmentation = { flip = true }\n"))
    assert (got.epochs, got.learning_rate, got.momentum, got.weight_decay, got.eta) == (
        3,
        1.0,
        0.9,
        5e-4,
        0.2,
    )
    assert got.augmentation == Augmentation(flip=True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BASE + "epoch = 4", ("no 'epoch'", "did you mean 'epochs'")),
        (BASE + "augmentation = { flips = true }", ("Augmentation has no 'flips'", "did you mean 'flip'")),
        (BASE + 'seed = "1"', ("seed", "integer")),
        (BASE + "momentum = 1.5", ("momentum", "less than 1")),
        (BASE + "learning_rate = nan", ("learning_rate",)),
        (BASE + "threads = 1.5", ("threads",)),
        ("epochs = 3", ("Recipe needs 'model'",)),
        (BASE.replace("lenet5_adder", "lenet5"), ("unknown model 'lenet5'", "lenet5_")),
        (BASE.replace("fashion_mnist", "fashion"), ("unknown data set", "did you mean 'fashion_mnist'")),
        ("model = ", ("not a TOML file",)),
    ],
)
def test_recipe_errors_are_one_line_and_name_the_key(text, words, tmp_path):
    file = write(tmp_path / "r.toml", text)
    with pytest.raises(InputError) as caught:
        read_recipe(file)
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


def test_missing_recipe(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        read_recipe(tmp_path / "none.toml")


@pytest.mark.parametrize("file", sorted(f.name for f in files("addersim.train").joinpath("recipes").iterdir()))
def test_shipped_recipes_are_valid_and_named_after_what_they_make(file):
    got = read_recipe(files("addersim.train").joinpath("recipes", file))
    bits = "" if got.quantization is None else f"-{got.quantization.bits}bit"
    assert file == f"{got.model}-{got.dataset}{bits}.toml"
    assert got.test_at_end or not got.validation_images  # the card of shipped weights says what the test images say


def test_idx_folder(folder, images, monkeypatch):
    for where in (folder, folder / "fashion-mnist"):
        got = load_dataset("fashion_mnist", where)
        assert got.train_images.shape == (300, 1, 28, 28)
        arrays = (got.train_images[:, 0], got.train_labels, got.test_images[:, 0], got.test_labels)
        assert all(np.array_equal(a, b) for a, b in zip(arrays, images, strict=True))
    monkeypatch.setenv("ADDERSIM_DATA", str(folder))
    assert np.array_equal(load_dataset("fashion_mnist").train_images, got.train_images)


def test_truncated_and_foreign_idx_files(tmp_path, images):
    file, good = tmp_path / "x.gz", idx(images[0])
    for content, why in (
        (good[:-1], "truncated"),
        (good + b"x", "bytes, expected"),
        (good[:9], "truncated header"),
        (b"", "expected an idx file"),
        (good.replace(b"\x08\x03", b"\x0d\x03", 1), "expected an idx file"),
        (struct.pack(">HBBIII", 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1), "expected"),
        (gzip.compress(good)[:-20], "cannot be read"),
        (b"\x1f\x8bnot gzip at all", "cannot be read"),
    ):
        file.write_bytes(content)
        with pytest.raises(InputError, match=why) as caught:
            read_idx(file, 3)
        assert str(file) in str(caught.value)
    with pytest.raises(InputError, match="cannot be read"):
        read_idx(tmp_path / "none", 3)


def test_a_packed_bomb_stops_at_the_limit(tmp_path, monkeypatch):
    assert LIMIT == 2**30
    monkeypatch.setattr("addersim.train.readers.LIMIT", 1000)
    (tmp_path / "x.gz").write_bytes(gzip.compress(bytes(10**6)))
    with pytest.raises(InputError, match="more than 1000 bytes"):
        read_idx(tmp_path / "x.gz", 3)


def test_npz_folder(images, tmp_path):
    save_npz(tmp_path / "fashion_mnist.npz", images)
    assert np.array_equal(load_dataset("fashion_mnist", tmp_path).train_images[:, 0], images[0])
    x = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3)).astype(np.uint8)
    save_npz(tmp_path / "cifar10.npz", (x, np.arange(5, dtype=np.uint8)) * 2)
    assert np.array_equal(load_dataset("cifar10", tmp_path).test_images, x.transpose(0, 3, 1, 2))


def test_bad_npz(images, tmp_path):
    file = tmp_path / "fashion_mnist.npz"
    for arrays, why in (
        ((images[0].astype(float), *images[1:]), "float64"),
        ((images[0][:, :20], *images[1:]), "expected"),
        ((images[0][:0], images[1][:0], *images[2:]), "expected"),
        ((images[0], images[1][:7], *images[2:]), "labels do not fit"),
        ((images[0], images[1] + 100, *images[2:]), "labels do not fit"),
        ((np.array([{}], dtype=object), *images[1:]), "not a readable npz"),
        ((images[1], *images[1:]), "axes"),
    ):
        save_npz(file, arrays)
        with pytest.raises(InputError, match=why):
            load_dataset("fashion_mnist", tmp_path)
    np.savez(file, x=images[0])
    with pytest.raises(InputError, match="no array 'train_images'"):
        load_dataset("fashion_mnist", tmp_path)
    file.write_bytes(b"PK\x03\x04 not a zip")
    with pytest.raises(InputError, match="not a readable npz"):
        load_dataset("fashion_mnist", tmp_path)


def test_cifar_binary_folder_and_archive(tmp_path):
    generator = np.random.default_rng(0)
    names = (*CIFAR["cifar10"].train, CIFAR["cifar10"].test)
    records = {name: generator.integers(0, 10, (2, 3073)).astype(np.uint8) for name in names}
    inner, packed = tmp_path / "cifar10" / "cifar-10-batches-bin", tmp_path / "packed"
    inner.mkdir(parents=True)
    packed.mkdir()
    with tarfile.open(packed / "cifar-10-binary.tar.gz", "w:gz") as archive:
        for name, array in records.items():
            (inner / name).write_bytes(array.tobytes())
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = array.nbytes
            archive.addfile(member, io.BytesIO(array.tobytes()))
    for where in (tmp_path, packed):
        got = load_dataset("cifar10", where)
        assert got.train_images.shape == (10, 3, 32, 32)
        assert np.array_equal(got.test_images.reshape(2, -1), records["test_batch.bin"][:, 1:])
        assert np.array_equal(got.train_labels[2:4], records["data_batch_2.bin"][:, 0])
    (inner / "data_batch_3.bin").write_bytes(bytes(3072))
    with pytest.raises(InputError, match=r"data_batch_3.bin: 3072 bytes"):
        load_dataset("cifar10", tmp_path)
    (inner / "data_batch_3.bin").unlink()
    with pytest.raises(InputError, match=r"data_batch_3.bin is missing"):
        load_dataset("cifar10", tmp_path)
    (packed / "cifar-10-binary.tar.gz").write_bytes(b"\x1f\x8b")
    with pytest.raises(InputError, match="not a readable tar"):
        load_dataset("cifar10", packed)


def test_folders_without_the_set(folder, tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        load_dataset("fashion_mnist", tmp_path / "none")
    with pytest.raises(InputError, match="no cifar10 here"):
        load_dataset("cifar10", folder)
    (tmp_path / IDX_FILES[0]).write_bytes(b"")
    with pytest.raises(InputError, match=f"{IDX_FILES[1]}.* is missing"):
        load_dataset("mnist", tmp_path)
    with pytest.raises(InputError, match="unknown data set 'cifar'"):
        load_dataset("cifar")


def test_another_set_with_the_same_file_names_is_refused(folder, images, monkeypatch):
    import hashlib
    from dataclasses import replace

    known = replace(FASHION, labels_sha256=hashlib.sha256(images[1].tobytes()).hexdigest())
    monkeypatch.setitem(data.DATASETS, "fashion_mnist", known)
    with pytest.raises(InputError, match="these files are fashion_mnist, expected mnist"):
        load_dataset("mnist", folder / "fashion-mnist")


def test_download_checks_and_explains(tmp_path, monkeypatch):
    pooch = pytest.importorskip("pooch")
    calls, failures = [], []

    def retrieve(url, known_hash, fname, path):
        calls.append((url, known_hash, fname))
        raise failures[0]

    monkeypatch.delenv("ADDERSIM_DATA", raising=False)
    monkeypatch.setattr(pooch, "retrieve", retrieve)
    monkeypatch.setattr(pooch, "os_cache", lambda _: tmp_path)
    story = "HTTPConnectionPool(host='x', port=80): Max retries exceeded with url: / (Caused by " + "x" * 500
    for failure, why in (
        (ValueError("MD5 hash of downloaded file\ndoes not match"), "its checksum is not the published one"),
        (ConnectionError(story), "ConnectionError"),
        (OSError(28, "No space left on device"), "[Errno 28] No space left on device"),
    ):
        failures[:] = [failure]
        with pytest.raises(InputError) as caught:
            load_dataset("fashion_mnist")
        end = f"download failed ({why}); give a folder (--data) or set ADDERSIM_DATA"
        assert str(caught.value).endswith(end) and len(str(caught.value)) < 250 and "\n" not in str(caught.value)
    assert calls[0][1].startswith("md5:") and calls[0][0].endswith(calls[0][2])


def test_mixtures_are_shares_of_two_images():
    flat = torch.arange(0, 200, 20, dtype=torch.uint8)[:, None, None, None].expand(10, 1, 4, 4)
    x = torch.cat([flat, 200 - flat], 1)  # channels that add up to 200
    mixed = batches.augment(x, Augmentation(mix=True), torch.Generator().manual_seed(0))
    assert mixed.dtype == torch.uint8 and mixed.float().var((2, 3)).max() == 0  # whole images
    assert (mixed.int().sum(1) - 200).abs().max() <= 1 and not torch.equal(mixed, x)
    share = torch.rand(10, 1, 1, 1, generator=torch.Generator().manual_seed(0))
    assert ((mixed - (share * x)).amin((1, 2, 3)) >= -0.5).all()  # the other image is not negative


def test_augmentation_moves_and_mirrors_whole_images():
    x = torch.arange(1, 10, dtype=torch.uint8).reshape(1, 1, 3, 3).repeat(400, 1, 1, 1)
    generator = torch.Generator().manual_seed(0)
    assert batches.augment(x, Augmentation(), generator) is x
    flipped = batches.augment(x, Augmentation(flip=True), generator)
    same = (flipped == x).flatten(1).all(1)
    assert torch.equal(flipped[~same], x[~same].flip(3)) and 150 < same.sum() < 250
    moved = batches.augment(x, Augmentation(shift_pixels=1), generator)
    padded = torch.nn.functional.pad(x[0, 0], (1, 1, 1, 1))
    expected = {tuple(padded[i : i + 3, j : j + 3].flatten().tolist()) for i in range(3) for j in range(3)}
    assert {tuple(image.flatten().tolist()) for image in moved} == expected


def test_batches_are_all_images_once_and_normalised():
    x = torch.arange(10, dtype=torch.uint8)[:, None, None, None].expand(10, 1, 28, 28).contiguous()
    labels, generator = torch.arange(10), torch.Generator().manual_seed(0)
    got = list(batches.batches(x, labels, 4, Augmentation(), FASHION, generator, TASKS["classification"].augmented))
    assert [len(y) for _, y in got] == [4, 4]
    for images, y in got:
        torch.testing.assert_close(images[:, 0, 0, 0], (y / 255 - 0.2860) / 0.3530)
    assert len(set(torch.cat([y for _, y in got]).tolist())) == 8
    assert (
        len(list(batches.batches(x, labels, 64, Augmentation(), FASHION, generator, TASKS["classification"].augmented)))
        == 1
    )


def test_learning_rate_is_a_cosine():
    got = [learning_rate(recipe(epochs=4, learning_rate=0.2), e) for e in range(4)]
    assert got == pytest.approx([0.1 * (1 + math.cos(math.pi * e / 4)) for e in range(4)])


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    return train(recipe(), out, folder, progress=False, command="addersim train r.toml")


def test_a_run_learns_and_leaves_its_files(finished, folder):
    assert finished.history[1].train_percent > 60  # four classes: chance is 25
    out = finished.weights.parent
    names = {
        "checkpoint.pt",
        "curves.svg",
        "epochs.csv",
        "lenet5_adder-fashion_mnist.json",
        "lenet5_adder-fashion_mnist.safetensors",
    }
    assert {f.name for f in out.iterdir()} == names
    with (out / "epochs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1"] and float(rows[1]["loss"]) < float(rows[0]["loss"])
    card = json.loads(finished.card.read_text())
    assert card["accuracy_percent"] == finished.accuracy_percent and card["command"] == "addersim train r.toml"
    assert card["measured_on"].startswith("50 test images") and Recipe(**card["recipe"]) == recipe()
    model, test = load_checkpoint("lenet5_adder", finished.weights), load_dataset("fashion_mnist", folder)
    with torch.no_grad():
        logits = model(batches.normalise(torch.from_numpy(test.test_images), FASHION))
    right = (logits.argmax(1).numpy() == test.test_labels).mean()
    assert 100 * right == pytest.approx(finished.accuracy_percent)
    assert load_checkpoint("lenet5_adder", out / "checkpoint.pt") is not None


def test_resume_gives_the_same_result(finished, folder, tmp_path):
    train_cut_short(recipe(), tmp_path, folder)
    torch.manual_seed(99)  # the global generator must not matter
    resumed = train(recipe(), tmp_path, folder, resume=True, progress=False)
    first, second = load_file(finished.weights), load_file(resumed.weights)
    assert all(torch.equal(first[key], second[key]) for key in first) and first.keys() == second.keys()
    assert [row.loss for row in resumed.history] == [row.loss for row in finished.history]
    again = train(recipe(), tmp_path, folder, resume=True, progress=False)
    assert again.history == resumed.history and again.accuracy_percent == resumed.accuracy_percent


def test_resume_refuses_another_recipe_and_broken_files(finished, folder, tmp_path):
    with pytest.raises(InputError, match=r"made with learning_rate = 0.1, the recipe says 0.2"):
        train(recipe(learning_rate=0.2), finished.weights.parent, folder, resume=True, progress=False)
    torch.save({"state_dict": {}}, tmp_path / "checkpoint.pt")
    with pytest.raises(InputError, match="not a checkpoint"):
        train(recipe(), tmp_path, folder, resume=True, progress=False)
    for content in (b"", b"rubbish", (finished.weights.parent / "checkpoint.pt").read_bytes()[:999]):
        (tmp_path / "checkpoint.pt").write_bytes(content)
        with pytest.raises(InputError, match="not a readable file of tensors"):
            train(recipe(), tmp_path, folder, resume=True, progress=False)


def test_an_earlier_run_is_not_overwritten_unasked(folder, tmp_path, monkeypatch):
    from addersim.train import loop

    train(recipe(epochs=1), tmp_path, folder, progress=False)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    with pytest.raises(InputError, match=r"checkpoint\.pt: of an earlier run; expected --resume .*or --overwrite"):
        train(recipe(epochs=1), tmp_path, folder, progress=False)
    with pytest.raises(InputError, match="expected one of them"):
        train(recipe(epochs=1), tmp_path, folder, resume=True, overwrite=True, progress=False)
    with pytest.raises(InputError, match="no such folder"):
        train(recipe(epochs=1), tmp_path, folder / "none", overwrite=True, progress=False)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "_epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(recipe(epochs=1, seed=1), tmp_path, folder, overwrite=True, progress=False)
    assert not (tmp_path / "checkpoint.pt").exists()  # a resume must not find the run that was to be replaced


def test_held_out_images_are_measured_and_the_test_images_are_not(folder, tmp_path, capsys):
    result = train(recipe(epochs=1, validation_images=100, model="lenet5_conv"), tmp_path, folder)
    assert result.history[0].validation_percent == result.accuracy_percent
    assert json.loads(result.card.read_text())["measured_on"] == "100 validation images, float32"
    shown = capsys.readouterr().err
    row = result.history[0]
    assert "images/s" in shown and f"epoch 1/1: loss {row.loss:.4f}, {row.train_percent:.2f} %" in shown
    assert f"{row.validation_percent:.2f} % of the held-out ones" in shown


def test_batch_norms_are_re_estimated_on_images_augmented_as_in_training(images, folder, tmp_path):
    """The first norm's mean is that of the first layer over the augmented images, not over the images as they are."""
    how = Augmentation(flip=True, shift_pixels=4)
    settings = {
        "epochs": 1,
        "seed": 3,
        "model": "lenet5_conv",
        "batch_norm_images": 60,
        "augmentation": how.model_dump(),
    }
    result = train(recipe(**settings), tmp_path, folder, progress=False)
    model = build_model("lenet5_conv")
    model.load_state_dict(load_file(result.weights))
    convolution, norm = (
        next(m for m in model.modules() if isinstance(m, kind)) for kind in (nn.Conv2d, nn.BatchNorm2d)
    )
    plain = torch.from_numpy(images[0][:60])[:, None]
    changed = augment(plain, how, torch.Generator().manual_seed(3))
    means = [convolution(normalise(x, dataset_card("fashion_mnist"))).mean((0, 2, 3)) for x in (changed, plain)]
    torch.testing.assert_close(norm.running_mean, means[0].detach(), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(norm.running_mean, means[1].detach(), rtol=1e-2, atol=1e-3)


def test_runs_that_cannot_be(folder, tmp_path):
    with pytest.raises(InputError, match="resnet20_adder takes"):
        train(recipe(model="resnet20_adder"), tmp_path, folder, progress=False)
    with pytest.raises(InputError, match="leaves 0 images"):
        train(recipe(validation_images=300), tmp_path, folder, progress=False)
    with pytest.raises(InputError, match="the loss became nan in epoch 0"):
        train(recipe(learning_rate=1e38, model="lenet5_conv"), tmp_path, folder, progress=False)
    assert not (tmp_path / "checkpoint.pt").exists()
