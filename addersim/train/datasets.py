"""What the data sets are: shapes, normalisation, where they come from. No files are touched here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from addersim.errors import InputError, nearest
from addersim.nn.catalogue import Task

FOLDER = "folder"  # the name of a data set that is the user's own folder of images
IDX_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


@dataclass(frozen=True)
class DatasetCard:
    """One data set. ``files`` are (name, checksum) at ``url``; mean and std are those of pixels / 255.

    ``labels_sha256`` is that of the training labels, one byte each: it tells sets with equal file names apart;
    empty if unknown. ``class_names`` are known of a folder of images only. ``task`` says what the labels are for:
    classification, one per image, or segmentation, one per pixel. ``made_from`` names the set whose images it is
    composed of, if it has no files of its own.
    """

    name: str
    input_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    url: str
    files: tuple[tuple[str, str], ...]
    licence: str
    labels_sha256: str
    classes: int = 10
    class_names: tuple[str, ...] = ()
    task: Task = "classification"
    made_from: str = ""


@dataclass(frozen=True)
class Dataset:
    """Images (N, C, H, W) of uint8, labels (N,) or (N, H, W) of an unsigned type, and the card of both."""

    card: DatasetCard
    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.unsignedinteger[Any]]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.unsignedinteger[Any]]


@dataclass(frozen=True)
class CifarFiles:
    """The binary version of a CIFAR set: archive, the folder in it, its files, label bytes before the pixels."""

    archive: str
    folder: str
    train: tuple[str, ...]
    test: str
    label_bytes: int


FASHION = DatasetCard(
    name="fashion_mnist",
    input_shape=(1, 28, 28),
    mean=(0.2860,),
    std=(0.3530,),
    url="http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    files=(
        ("train-images-idx3-ubyte.gz", "md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d"),
        ("train-labels-idx1-ubyte.gz", "md5:25c81989df183df01b3e8a0aad5dffbe"),
        ("t10k-images-idx3-ubyte.gz", "md5:bef4ecab320f06d8554ea6380940ec79"),
        ("t10k-labels-idx1-ubyte.gz", "md5:bb300cfdad3c16e7a12a480ee83cd310"),
    ),
    licence="MIT, Zalando Research",
    labels_sha256="657fbd221bfc9f4198cc14b5619cc33ec57c58dd0e47af4d99d6650759e869a7",
)
MNIST = DatasetCard(
    name="mnist",
    input_shape=(1, 28, 28),
    mean=(0.1307,),
    std=(0.3081,),
    url="https://ossci-datasets.s3.amazonaws.com/mnist/",
    files=(
        ("train-images-idx3-ubyte.gz", "md5:f68b3c2dcbeaaa9fbdd348bbdeb94873"),
        ("train-labels-idx1-ubyte.gz", "md5:d53e105ee54ea40749a09fcbcd1e9432"),
        ("t10k-images-idx3-ubyte.gz", "md5:9fb629c4189551a2d022fa330f9573f3"),
        ("t10k-labels-idx1-ubyte.gz", "md5:ec29112dd5afa0611ce80d1b7f02629c"),
    ),
    licence="CC BY-SA 3.0, Yann LeCun and Corinna Cortes",
    labels_sha256="1feba77c54802fa5339a11837ea4b2866434b83314ec45192930f1df69120c13",
)
CIFAR10 = DatasetCard(
    name="cifar10",
    input_shape=(3, 32, 32),
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2023, 0.1994, 0.2010),
    url="https://www.cs.toronto.edu/~kriz/",
    files=(("cifar-10-binary.tar.gz", "md5:c32a1d4ab5d03f1284b67883e8d87530"),),
    licence="none stated; cite Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009",
    labels_sha256="2b7cd2f24487317614016b72ffd53071c3062f592f0eb300c18a770d41ae1253",
)
CIFAR100 = DatasetCard(
    name="cifar100",
    input_shape=(3, 32, 32),
    mean=(0.5071, 0.4867, 0.4408),
    std=(0.2675, 0.2565, 0.2761),
    url="https://www.cs.toronto.edu/~kriz/",
    files=(("cifar-100-binary.tar.gz", "md5:03b5dce01913d631647c71ecec9e9cb8"),),
    licence=CIFAR10.licence,
    labels_sha256="",
    classes=100,
)
CIFAR = {
    "cifar10": CifarFiles(
        archive="cifar-10-binary.tar.gz",
        folder="cifar-10-batches-bin",
        train=tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
        test="test_batch.bin",
        label_bytes=1,
    ),
    "cifar100": CifarFiles(
        archive="cifar-100-binary.tar.gz",
        folder="cifar-100-binary",
        train=("train.bin",),
        test="test.bin",
        label_bytes=2,  # coarse, then fine; the fine one is used
    ),
}
COMPOSITES = DatasetCard(
    name="fashion_composites",
    input_shape=(1, 64, 64),
    mean=(0.1160,),
    std=(0.2653,),
    url="",
    files=(),
    licence=FASHION.licence,
    labels_sha256="",
    classes=11,
    task="segmentation",
    made_from="fashion_mnist",
)
DATASETS: dict[str, DatasetCard] = {card.name: card for card in (FASHION, MNIST, CIFAR10, CIFAR100, COMPOSITES)}


def dataset_card(name: str) -> DatasetCard:
    """Return the card of a published data set; an unknown name is an :class:`InputError` with the nearest one."""
    if name not in DATASETS:
        raise InputError(f"unknown data set {name!r}{nearest(name, [*DATASETS, FOLDER])}")
    return DATASETS[name]
