"""A folder of the user's images as a data set: one sub-folder per class, brought to the model's input by Pillow."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from addersim.errors import InputError
from addersim.train.datasets import FOLDER, Dataset, DatasetCard

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff"})
LIMIT_BYTES = 1 << 30  # of pixels: all of them stay in memory
PIECE_BYTES = 1 << 24  # looked at together for the statistics, which takes eight times as much for a moment
Shape = tuple[int, int, int]


def load_folder(root: Path, input_shape: Shape) -> Dataset:
    """Return the images below ``train/<class>/`` and ``test/<class>/`` as a data set.

    Classes are numbered in the order of their names, which the card keeps. ``val/`` is taken where there is no
    ``test/``. Every image becomes grey (C = 1) or RGB (C = 3), is scaled until it covers H x W, and cut to it
    around its centre. Training images come in a fixed random order, so that the last ones, which a run may hold
    out, are of all classes. Mean and standard deviation of the card are those of the training images. The pixels
    stay in memory, one byte each: at most 1 GiB, or 349,525 images of 3 x 32 x 32.

    Parameters
    ----------
    root
        Holds ``train`` and ``test`` or ``val``. Files that are no images by their suffix are left out.
    input_shape
        (C, H, W), what the model takes.

    Raises
    ------
    InputError
        If a part is missing, has fewer than two classes or other classes than the other part, a class has no
        images, an image cannot be read, or there are more pixels than the limit.
    """
    test = next((root / part for part in ("test", "val") if (root / part).is_dir()), root / "test")
    names = _classes(root / "train")
    if differing := sorted(set(names) ^ set(_classes(test))):
        here, lacking = (root / "train", test) if differing[0] in names else (test, root / "train")
        raise InputError(f"{lacking}: class {differing[0]!r} is missing; {here} has it")
    files = [_files(part, names) for part in (root / "train", test)]
    files[0] = [files[0][i] for i in np.random.default_rng(0).permutation(len(files[0]))]
    if (size := sum(map(len, files)) * int(np.prod(input_shape))) > LIMIT_BYTES:
        raise InputError(f"{root}: {size} bytes of pixels at {input_shape}, expected at most {LIMIT_BYTES}")
    (train_images, train_labels), (test_images, test_labels) = (_read(part, input_shape) for part in files)
    mean, std = _statistics(train_images)
    card = DatasetCard(FOLDER, input_shape, mean, std, "", (), "the user's", "", len(names), tuple(names))
    return Dataset(card, train_images, train_labels, test_images, test_labels)


def _classes(part: Path) -> list[str]:
    """Return the names of the class folders in one part, sorted."""
    if not part.is_dir():
        raise InputError(f"{part}: no such folder; expected train/CLASS/ and test/CLASS/ (or val/CLASS/) with images")
    names = sorted(entry.name for entry in part.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if len(names) < 2:
        raise InputError(f"{part}: {len(names)} class folder(s), expected two or more")
    return names


def _files(part: Path, names: Sequence[str]) -> list[tuple[Path, int]]:
    """Return every image file of a part with its label."""
    found: list[tuple[Path, int]] = []
    for label, name in enumerate(names):
        images = sorted(file for file in (part / name).iterdir() if file.suffix.lower() in SUFFIXES)
        if not images:
            raise InputError(f"{part / name}: no images ({', '.join(sorted(SUFFIXES))})")
        found += [(file, label) for file in images]
    return found


def _read(files: Sequence[tuple[Path, int]], shape: Shape) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    images = np.empty((len(files), *shape), np.uint8)
    for image, (file, _) in zip(images, files, strict=True):
        image[:] = _pixels(file, shape)
    return images, np.array([label for _, label in files], np.uint16)


def _pixels(file: Path, shape: Shape) -> NDArray[np.uint8]:
    """Return one image (C, H, W), scaled to cover H x W and cut around its centre."""
    from PIL import Image, ImageOps

    channels, height, width = shape
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd palettes
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as image:
                plain = image.convert("L" if channels == 1 else "RGB")
        fitted = ImageOps.fit(plain, (width, height), Image.Resampling.BILINEAR)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(f"{file}: not a readable image ({type(error).__name__})") from None
    return np.asarray(fitted, np.uint8).reshape(height, width, channels).transpose(2, 0, 1)


def _statistics(images: NDArray[np.uint8]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and standard deviation of pixels / 255 per channel; counted exactly, piece by piece."""
    channels = images.shape[1]
    counts = np.zeros((channels, 256), np.int64)
    for part in np.array_split(images, 1 + images.nbytes // PIECE_BYTES):
        counts += [np.bincount(part[:, c].ravel(), minlength=256) for c in range(channels)]
    values = np.arange(256) / 255
    share = counts / counts.sum(1, keepdims=True)
    mean = share @ values
    std = np.sqrt(np.einsum("cv,cv->c", share, (values - mean[:, None]) ** 2))
    std[std == 0] = 1.0  # one grey all over: nothing to scale
    return tuple(map(float, mean)), tuple(map(float, std))
