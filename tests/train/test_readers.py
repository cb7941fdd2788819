"""Files of the published data sets: idx, npz, CIFAR's binaries, downloads; what is refused."""

import gzip
import io
import struct
import tarfile

import numpy as np
import pytest
from training import quarters, save_npz

from addersim.errors import InputError
from addersim.train import data, load_dataset
from addersim.train.datasets import CIFAR, FASHION, IDX_FILES
from addersim.train.readers import LIMIT, read_idx


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
