"""Images and labels: the embedded Fashion-MNIST sample, or a folder of the user's."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.resources import as_file, files
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from addersim.errors import InputError, nearest

Labelled: TypeAlias = tuple[NDArray[np.float32], NDArray[np.int64]]

# name: (description, mean, std), statistics of the 60,000 training images
SAMPLES = {
    "fashion_sample": ("the first 2,000 test images of Fashion-MNIST", (0.2860,), (0.3530,)),
    "fashion_calibration": ("the first 500 training images of Fashion-MNIST", (0.2860,), (0.3530,)),
}


def sample(name: str = "fashion_sample", limit: int | None = None) -> Labelled:
    """Return (images N C H W, labels N) of an embedded sample, normalised as the shipped models expect.

    Fashion-MNIST: Xiao, Rasul and Vollgraf, arXiv 1708.07747; MIT licence. ``(pixel / 255 - mean) / std``
    with mean 0.2860 and std 0.3530.

    Examples
    --------
    >>> import addersim
    >>> addersim.sample("fashion_sample", limit=3)[0].shape
    (3, 1, 28, 28)
    """
    if name not in SAMPLES:
        raise InputError(f"unknown sample {name!r}{nearest(name, SAMPLES)}")
    _, mean, std = SAMPLES[name]
    with as_file(files("addersim") / "weights" / f"{name}.npz") as path, np.load(path) as arrays:
        images, labels = arrays["images"][:limit], arrays["labels"][:limit]
    return normalise(images, mean, std), labels.astype(np.int64)


def normalise(images_nchw: NDArray[np.uint8], mean: Sequence[float], std: Sequence[float]) -> NDArray[np.float32]:
    """Return ``(pixel / 255 - mean) / std`` per channel, float32."""
    channels = images_nchw.shape[1]
    if {len(mean), len(std)} - {1, channels}:
        raise InputError(f"mean and std have {len(mean)} and {len(std)} numbers for images of {channels} channels")
    shape = (1, -1, 1, 1)
    scaled = images_nchw.astype(np.float32) / np.float32(255)
    mean_c, std_c = (np.asarray(v, np.float32).reshape(shape) for v in (mean, std))
    return np.asarray((scaled - mean_c) / std_c, np.float32)


def folder(
    path: str | os.PathLike[str],
    *,
    mean: Sequence[float] = (0.0,),
    std: Sequence[float] = (1.0,),
    limit: int | None = None,
) -> Labelled:
    """Return images and labels of a folder.

    The folder holds either ``images.npy`` (N C H W; uint8, which is normalised, or float, which is not) and
    ``labels.npy`` (N integers), or one sub-folder of PNG or JPEG files per class, classes in order of name.

    Raises
    ------
    InputError
        If neither is there, shapes do not match, or an image cannot be read; the message names the file.
    """
    root = Path(path)
    if (root / "images.npy").exists():
        return _arrays(root, mean, std, limit)
    classes = sorted(p for p in root.iterdir() if p.is_dir()) if root.is_dir() else []
    if not classes:
        raise InputError(f"{root}: expected images.npy and labels.npy, or one folder of images per class")
    found = [
        (p, k)
        for k, c in enumerate(classes)
        for p in sorted(c.iterdir())
        if p.suffix.lower() in {".png", ".jpg", ".jpeg"}
    ]
    if not found:
        raise InputError(f"{root}: no .png or .jpg file in its class folders")
    pixels = [_pixels(p) for p, _ in found[:limit]]
    sizes = {p.shape for p in pixels}
    if len(sizes) > 1:
        raise InputError(f"{root}: images have different sizes, {sorted(sizes)[0]} and {sorted(sizes)[1]}")
    return normalise(np.stack(pixels), mean, std), np.array([k for _, k in found[:limit]], np.int64)


def _arrays(root: Path, mean: Sequence[float], std: Sequence[float], limit: int | None) -> Labelled:
    try:
        images, labels = (np.load(root / f"{n}.npy", allow_pickle=False, mmap_mode="r") for n in ("images", "labels"))
    except (OSError, ValueError) as error:
        raise InputError(f"{root}: images.npy or labels.npy cannot be read: {error}") from error
    if images.ndim != 4 or labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
        raise InputError(
            f"{root}: images.npy has shape {images.shape}, labels.npy {labels.shape} {labels.dtype}; "
            "expected N C H W and N integers"
        )
    chosen = np.asarray(images[:limit])
    values = normalise(chosen, mean, std) if chosen.dtype == np.uint8 else chosen.astype(np.float32)
    return values, np.asarray(labels[:limit], np.int64)


def _pixels(path: Path) -> NDArray[np.uint8]:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            array = np.asarray(image if image.mode in ("L", "RGB") else image.convert("RGB"), np.uint8)
    except (UnidentifiedImageError, OSError) as error:
        raise InputError(f"{path}: not a readable image") from error
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
