"""Find and load a data set: a folder by argument, the one in ``ADDERSIM_DATA``, or a checked download."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from addersim.errors import InputError
from addersim.train.composites import composites
from addersim.train.datasets import CIFAR, DATASETS, FOLDER, IDX_FILES, Dataset, DatasetCard, dataset_card
from addersim.train.folder import load_folder
from addersim.train.readers import Bytes, read_bytes, read_cifar_archive, read_cifar_records, read_idx, read_npz

VARIABLE = "ADDERSIM_DATA"
TRAIN_CANVASES, TEST_CANVASES = 20_000, 2_000
Arrays = tuple[Bytes, Bytes, Bytes, Bytes]


def load_dataset(
    name: str, folder: str | Path | None = None, input_shape: tuple[int, int, int] | None = None
) -> Dataset:
    """Return a data set.

    Parameters
    ----------
    name
        ``fashion_mnist``, ``mnist``, ``cifar10``, ``cifar100``; ``fashion_composites``, whose 20,000 training and
        2,000 test canvases are made from the training and the test images of Fashion-MNIST; or ``folder``: the
        user's images, one folder per class (:func:`addersim.train.folder.load_folder`).
    folder
        Holds the files as published, packed or not (idx; for CIFAR the binary version), or ``<name>.npz``;
        directly, or in a subfolder named after the set. By default the folder in the environment variable
        ``ADDERSIM_DATA``, else the user's cache, filled by a download whose checksums are checked.
        Debian's package dataset-fashion-mnist puts one at /usr/share/datasets/fashion-mnist.
    input_shape
        (C, H, W) to which the images of a ``folder`` are brought; published sets have their own.

    Raises
    ------
    InputError
        If there are no such files, or one is broken, truncated, or belongs to another set.
    """
    where = folder if folder is not None else os.environ.get(VARIABLE)
    if name == FOLDER:
        if where is None or input_shape is None:
            raise InputError(f"a folder of images: say where it is (--data, or {VARIABLE}) and what the model takes")
        return load_folder(Path(where), input_shape)
    card = dataset_card(name)
    if card.made_from:
        return _composed(card, load_dataset(card.made_from, folder))
    arrays = _from_folder(card, Path(where)) if where else _from_folder(card, download(card))
    dataset = Dataset(card, *(np.require(a, requirements=["C", "W"]) for a in arrays))
    _check(dataset, str(where or "download"))
    return dataset


def _composed(card: DatasetCard, items: Dataset) -> Dataset:
    """Return canvases with the items' images on them; train and test share no image."""
    train = composites(items.train_images[:, 0], items.train_labels, TRAIN_CANVASES, seed=1)
    test = composites(items.test_images[:, 0], items.test_labels, TEST_CANVASES, seed=2)
    return Dataset(card, *train, *test)


def _from_folder(card: DatasetCard, folder: Path) -> Arrays:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected the files of {card.name}")
    for place in (folder / card.name, folder / card.name.replace("_", "-"), folder):
        if (npz := place / f"{card.name}.npz").is_file():
            return read_npz(npz)
        if (arrays := _read_cifar(card.name, place) if card.name in CIFAR else _read_mnist(place)) is not None:
            return arrays
    cifar = CIFAR.get(card.name)
    wanted = f"{cifar.archive} or {cifar.train[0]}" if cifar else f"{IDX_FILES[0]}[.gz]"
    raise InputError(f"{folder}: no {card.name} here; expected {card.name}.npz or {wanted}, here or in {card.name}/")


def _read_mnist(place: Path) -> Arrays | None:
    """Return the four idx arrays of a folder, None if it has none of them."""
    found = [next((f for f in (place / f"{n}.gz", place / n) if f.is_file()), None) for n in IDX_FILES]
    if not any(found):
        return None
    for name, file in zip(IDX_FILES, found, strict=True):
        if file is None:
            raise InputError(f"{place}: {name}[.gz] is missing beside the other files of the set")
    train_x, train_y, test_x, test_y = (read_idx(f, 1 if "labels" in f.name else 3) for f in found if f)
    return train_x[:, None], train_y, test_x[:, None], test_y


def _read_cifar(name: str, place: Path) -> Arrays | None:
    """Return the arrays of a binary CIFAR in a folder or its archive, None if there is neither."""
    which = CIFAR[name]
    wanted = (*which.train, which.test)
    if (there := _cifar_files(name, place)) is None:
        return None
    inner, files = there
    if missing := [name for name in wanted if name not in files]:
        raise InputError(f"{inner}: {missing[0]} is missing beside the other files of the set")
    parts = [read_cifar_records(files[name], f"{inner}: {name}", which.label_bytes) for name in wanted]
    images, labels = (np.concatenate([part[i] for part in parts[:-1]]) for i in (0, 1))
    return images, labels, *parts[-1]


def _cifar_files(name: str, place: Path) -> tuple[Path, dict[str, bytes]] | None:
    """Return where the files of a binary CIFAR are and those found, by name; None if there is no such place."""
    which = CIFAR[name]
    for inner in (place / which.folder, place):
        if (inner / which.train[0]).is_file():
            found = [inner / file for file in (*which.train, which.test)]
            return inner, {file.name: read_bytes(file) for file in found if file.is_file()}
    archive = place / which.archive
    return (archive, read_cifar_archive(archive)) if archive.is_file() else None


def _check(dataset: Dataset, where: str) -> None:
    """Refuse arrays that do not fit the card or that are another known set."""
    card = dataset.card
    _check_part(card, dataset.train_images, dataset.train_labels, f"{where}: train")
    _check_part(card, dataset.test_images, dataset.test_labels, f"{where}: test")
    digest = hashlib.sha256(dataset.train_labels.tobytes()).hexdigest()
    for other in DATASETS.values():
        if other.labels_sha256 == digest and other is not card:
            raise InputError(f"{where}: these files are {other.name}, expected {card.name}")


def _check_part(card: DatasetCard, images: Bytes, labels: NDArray[Any], part: str) -> None:
    if images.dtype != np.uint8 or images.shape[1:] != card.input_shape or not len(images):
        raise InputError(f"{part} images are {images.dtype} {images.shape}, expected {card.input_shape}")
    if labels.dtype != np.uint8 or labels.shape != images.shape[:1] or labels.max() >= card.classes:
        raise InputError(f"{part} labels do not fit {len(images)} images of {card.classes} classes")


def download(card: DatasetCard) -> Path:
    """Return the folder in the user's cache with the published files, fetched if need be and checked."""
    try:
        import pooch
    except ImportError:
        raise InputError(
            f"no folder for {card.name}: give one (--data), set {VARIABLE}, or install addersim[data] to download it"
        ) from None
    folder = Path(pooch.os_cache("addersim")) / card.name
    for name, checksum in card.files:
        try:
            pooch.retrieve(card.url + name, known_hash=checksum, fname=name, path=folder)
        except (OSError, ValueError) as error:
            raise InputError(
                f"{card.url}{name}: download failed ({_reason(error)}); give a folder (--data) or set {VARIABLE}"
            ) from None
    return folder


def _reason(error: Exception) -> str:
    """Return why a download failed in a few words: clients of HTTP nest whole stories in their messages."""
    if isinstance(error, ValueError):
        return "its checksum is not the published one"
    text = " ".join(str(error).split())
    return text if 0 < len(text) <= 80 else type(error).__name__
