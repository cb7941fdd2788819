"""CIFAR-100 and folders of images as data sets, and a run on each."""

import functools
import hashlib
import io
import json
import tarfile
import threading
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
from PIL import Image
from training import quarters, recipe, save_npz

from addersim.errors import InputError
from addersim.nn import load_checkpoint
from addersim.train import batches, data, folder, load_dataset, read_recipe, train

CIFAR, MNIST = (3, 32, 32), (1, 28, 28)


def test_cifar100_takes_the_fine_label(tmp_path):
    records = {n: np.random.default_rng(0).integers(0, 100, (4, 3074)).astype(np.uint8) for n in ("train", "test")}
    packed = tmp_path / "packed"
    packed.mkdir()
    with tarfile.open(packed / "cifar-100-binary.tar.gz", "w:gz") as archive:
        for name, array in records.items():
            (tmp_path / f"{name}.bin").write_bytes(array.tobytes())
            member = tarfile.TarInfo(f"cifar-100-binary/{name}.bin")
            member.size = array.nbytes
            archive.addfile(member, io.BytesIO(array.tobytes()))
    for where in (tmp_path, packed):
        got = load_dataset("cifar100", where)
        assert np.array_equal(got.train_labels, records["train"][:, 1]) and got.card.classes == 100
        assert np.array_equal(got.test_images.reshape(4, -1), records["test"][:, 2:])
    (tmp_path / "train.bin").write_bytes(bytes(3073))
    with pytest.raises(InputError, match=r"train.bin: 3073 bytes, expected a multiple of 3074"):
        load_dataset("cifar100", tmp_path)
    (tmp_path / "train.bin").unlink()
    with pytest.raises(InputError, match=r"expected cifar100.npz or cifar-100-binary.tar.gz or train.bin"):
        load_dataset("cifar100", tmp_path)


def test_a_hundred_classes_reach_the_network(tmp_path):
    generator = np.random.default_rng(0)
    x = generator.integers(0, 256, (8, 32, 32, 3)).astype(np.uint8)
    save_npz(tmp_path / "cifar100.npz", (x, np.arange(92, 100, dtype=np.uint8)) * 2)
    result = train(
        recipe(model="resnet20_conv", dataset="cifar100", epochs=1, batch_size=4), tmp_path, tmp_path, progress=False
    )
    assert load_checkpoint("resnet20_conv", result.weights).fc.weight.shape[0] == 100


@pytest.fixture
def pictures(tmp_path):
    """Images of three classes; the brightest channel is the class."""
    for part, count in (("train", 12), ("val", 3)):
        for label, name in enumerate(("ant", "bee", "cat")):
            place = tmp_path / part / name
            place.mkdir(parents=True)
            for i in range(count):
                pixels = np.full((40, 50 + i, 3), 10, np.uint8)
                pixels[:, :, label] = 200 + i
                Image.fromarray(pixels).save(place / f"{i:02}{('.png', '.bmp')[i % 2]}")
    (tmp_path / "train" / "ant" / "notes.txt").write_text("no image")
    (tmp_path / "train" / ".hidden").mkdir()
    return tmp_path


def test_folder_of_images(pictures):
    got = load_dataset("folder", pictures, CIFAR)
    assert got.card.class_names == ("ant", "bee", "cat") and got.card.classes == 3
    assert got.train_images.shape == (36, 3, 32, 32) and got.test_images.shape == (9, 3, 32, 32)
    assert np.array_equal(got.train_images.mean((2, 3)).argmax(1), got.train_labels)  # pixels and labels go together
    assert len(set(got.train_labels[-12:].tolist())) == 3  # what may be held out is of every class
    pixels = got.train_images.transpose(1, 0, 2, 3).reshape(3, -1) / 255
    assert got.card.mean == pytest.approx(pixels.mean(1)) and got.card.std == pytest.approx(pixels.std(1))
    assert np.array_equal(load_dataset("folder", pictures, CIFAR).train_images, got.train_images)
    assert load_dataset("folder", pictures, MNIST).train_images.shape == (36, 1, 28, 28)


def test_images_are_scaled_to_cover_and_cut_around_the_centre(pictures):
    wide = np.zeros((64, 192, 3), np.uint8)
    wide[:, 64:128] = 255  # the middle third alone is white
    Image.fromarray(wide).save(pictures / "val" / "ant" / "00.png")
    got = load_dataset("folder", pictures, CIFAR).test_images[0]
    assert (got[:, :, 2:-2] == 255).all()


def test_test_folder_goes_before_val(pictures):
    (pictures / "val").rename(pictures / "test")
    for name in ("ant", "bee", "cat"):
        (pictures / "val" / name).mkdir(parents=True)
    assert len(load_dataset("folder", pictures, CIFAR).test_images) == 9


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda p: (p / "train").rename(p / "training"), "train: no such folder; expected train/CLASS/"),
        (lambda p: (p / "val").rename(p / "other"), "test: no such folder"),
        (lambda p: (p / "val" / "bee").rename(p / "bee"), "val: class 'bee' is missing"),
        (lambda p: (p / "val" / "dog").mkdir(), "train: class 'dog' is missing"),
        (lambda p: [(p / "train" / n).rename(p / n) for n in ("bee", "cat")], "1 class folder(s), expected two"),
        (lambda p: [f.unlink() for f in (p / "train" / "cat").iterdir()], "cat: no images (.bmp, "),
        (lambda p: (p / "train" / "bee" / "00.png").write_bytes(b"\x89PNG\r\n\x1a\nrubbish"), "00.png: not a readable"),
        (lambda p: (p / "val" / "bee" / "00.png").write_bytes(b""), "00.png: not a readable image"),
    ],
)
def test_folders_that_cannot_be_used(pictures, break_it, words):
    break_it(pictures)
    with pytest.raises(InputError) as caught:
        load_dataset("folder", pictures, CIFAR)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_truncated_image_and_too_many_pixels(pictures, monkeypatch):
    file = pictures / "train" / "ant" / "00.png"
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(InputError, match=r"00\.png: not a readable image"):
        load_dataset("folder", pictures, CIFAR)
    monkeypatch.setattr(folder, "LIMIT_BYTES", 45 * 3072 - 1)
    with pytest.raises(InputError, match=r"138240 bytes of pixels .* at most 138239"):
        load_dataset("folder", pictures, CIFAR)


def test_a_folder_has_to_be_said(monkeypatch):
    monkeypatch.delenv("ADDERSIM_DATA", raising=False)
    with pytest.raises(InputError, match="say where it is"):
        load_dataset("folder", None, CIFAR)


def test_a_run_on_a_folder(tmp_path):
    x, labels, test_x, test_labels = quarters(120, 40)
    for part, images, of in (("train", x, labels), ("test", test_x, test_labels)):
        for i, (image, label) in enumerate(zip(images, of, strict=True)):
            (tmp_path / part / f"class{label}").mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(tmp_path / part / f"class{label}" / f"{i}.png")
    (tmp_path / "r.toml").write_text('model = "lenet5_conv"\ndataset = "folder"\nepochs = 2\nbatch_size = 20\n')
    chosen, out = read_recipe(tmp_path / "r.toml"), tmp_path / "out"
    result = train(chosen, out, tmp_path, progress=False)
    card = json.loads(result.card.read_text())
    assert card["classes"] == [f"class{i}" for i in range(4)] and result.accuracy_percent > 50
    model, data = load_checkpoint("lenet5_conv", result.weights), load_dataset("folder", tmp_path, MNIST)
    with torch.no_grad():
        logits = model(batches.normalise(torch.from_numpy(data.test_images), data.card))
    assert logits.shape == (40, 4)
    assert 100 * (logits.argmax(1).numpy() == data.test_labels).mean() == pytest.approx(result.accuracy_percent)
    for part in ("train", "test"):
        (tmp_path / part / "class3").rename(tmp_path / part / "other")
    with pytest.raises(InputError, match=r"made with the classes .*'class3'.* the data have .*'other'"):
        train(chosen, out, tmp_path, resume=True, progress=False)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def cifar100_server(tmp_path, monkeypatch):
    """A server on this machine with a tiny CIFAR-100, whose checksum the card says; yields its file and the cache."""
    pooch = pytest.importorskip("pooch")
    monkeypatch.delenv("ADDERSIM_DATA", raising=False)
    monkeypatch.setattr(pooch, "os_cache", lambda _: tmp_path / "cache")
    file = tmp_path / "served" / "cifar-100-binary.tar.gz"
    file.parent.mkdir()
    with tarfile.open(file, "w:gz") as archive:
        for name in ("train", "test"):
            member = tarfile.TarInfo(f"cifar-100-binary/{name}.bin")
            member.size = 2 * 3074
            archive.addfile(member, io.BytesIO(bytes(member.size)))
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(file.parent)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    checksum = f"md5:{hashlib.md5(file.read_bytes()).hexdigest()}"
    url = f"http://127.0.0.1:{server.server_port}/"
    card = replace(data.DATASETS["cifar100"], url=url, files=((file.name, checksum),))
    monkeypatch.setitem(data.DATASETS, "cifar100", card)
    yield file, tmp_path / "cache" / "cifar100"
    server.shutdown()
    server.server_close()


def test_a_download_is_kept_when_its_checksum_is_right(cifar100_server):
    file, cache = cifar100_server
    assert load_dataset("cifar100").train_images.shape == (2, 3, 32, 32)
    file.unlink()
    assert len(load_dataset("cifar100").test_images) == 2  # from the cache
    (cache / file.name).write_bytes(b"rot")  # a cache that has gone bad is fetched anew, which fails here
    with pytest.raises(InputError, match=r"cifar-100-binary\.tar\.gz: download failed"):
        load_dataset("cifar100")


def test_a_corrupt_download_is_refused_and_not_kept(cifar100_server):
    file, cache = cifar100_server
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(InputError, match=r"its checksum is not the published one\); give a folder \(--data\)"):
        load_dataset("cifar100")
    assert not any(cache.iterdir())


def test_no_network_says_how_to_go_on(cifar100_server, monkeypatch):
    monkeypatch.setitem(data.DATASETS, "cifar100", replace(data.DATASETS["cifar100"], url="http://127.0.0.1:9/"))
    with pytest.raises(InputError, match=r"download failed \(.*\); give a folder \(--data\) or set ADDERSIM_DATA"):
        load_dataset("cifar100")
