"""Readers of image files: idx (MNIST), npz, and the binary versions of CIFAR. Pickles are never read."""

from __future__ import annotations

import gzip
import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from addersim.errors import InputError

Bytes = NDArray[np.uint8]
LIMIT = 1 << 30  # no data set read here has a file of a gigabyte: stop a gzip bomb there
CIFAR_PIXELS = 3 * 32 * 32


def read_bytes(file: Path) -> bytes:
    """Return the content of a file, unpacked if it is gzip; InputError if it is broken or too large."""
    try:
        with file.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
        with gzip.open(file) if packed else file.open("rb") as stream:
            return _bounded(stream, file)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{file}: cannot be read ({error})") from None


def _bounded(stream: IO[bytes] | gzip.GzipFile, file: Path) -> bytes:
    content = stream.read(LIMIT + 1)
    if len(content) > LIMIT:
        raise InputError(f"{file}: more than {LIMIT} bytes, expected a data set file")
    return content


def read_idx(file: Path, axes: int) -> Bytes:
    """Return the array of an idx file of unsigned bytes with so many axes, gzipped or not.

    The format (http://yann.lecun.com/exdb/mnist/): two zero bytes, the type (8: unsigned byte), the number
    of axes, then each size as a big-endian 32-bit integer, then the data.
    """
    content = read_bytes(file)
    if content[:4] != bytes((0, 0, 8, axes)):
        raise InputError(f"{file}: starts with {content[:4].hex()}, expected an idx file of bytes with {axes} axes")
    if len(content) < 4 + 4 * axes:
        raise InputError(f"{file}: truncated header, {len(content)} bytes")
    sizes = [int(n) for n in np.frombuffer(content, ">u4", axes, offset=4)]
    expected = 4 + 4 * axes + int(np.prod(sizes, dtype=object))
    if len(content) != expected:
        raise InputError(f"{file}: {len(content)} bytes, expected {expected} for {sizes}; is it truncated?")
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(sizes)


def read_npz(file: Path) -> tuple[Bytes, Bytes, Bytes, Bytes]:
    """Return train images, train labels, test images, test labels of an ``.npz``; images become N C H W.

    The arrays are ``train_images`` (N, H, W) or (N, H, W, C), ``train_labels`` (N,), and the same for test.
    """
    names = ("train_images", "train_labels", "test_images", "test_labels")
    try:
        with file.open("rb") as raw, np.load(raw, allow_pickle=False) as arrays:
            if missing := [name for name in names if name not in arrays]:
                raise InputError(f"{file}: no array {missing[0]!r}, expected {', '.join(names)}")
            a, b, c, d = (arrays[name] for name in names)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{file}: not a readable npz file ({error})") from None
    return _nchw(a, file), b, _nchw(c, file), d


def _nchw(images: Bytes, file: Path) -> Bytes:
    if images.ndim not in (3, 4):
        raise InputError(f"{file}: images have {images.ndim} axes, expected (N, H, W) or (N, H, W, C)")
    return images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)


def read_cifar_records(content: bytes, where: str, label_bytes: int) -> tuple[Bytes, Bytes]:
    """Return images (N, 3, 32, 32) and labels (N,) of a ``.bin`` file: labels, then red, green, blue plane.

    Of several labels (CIFAR-100 has the coarse and the fine class) the last is returned.
    """
    size = label_bytes + CIFAR_PIXELS
    if not content or len(content) % size:
        raise InputError(f"{where}: {len(content)} bytes, expected a multiple of {size}; is it truncated?")
    records = np.frombuffer(content, np.uint8).reshape(-1, size)
    return records[:, label_bytes:].reshape(-1, 3, 32, 32), records[:, label_bytes - 1]


def read_cifar_archive(file: Path) -> dict[str, bytes]:
    """Return the ``.bin`` members of an archive of CIFAR by bare name; nothing is put on disk."""
    try:
        with tarfile.open(file) as archive:
            members = [m for m in archive if m.isfile() and m.name.endswith(".bin") and m.size <= LIMIT]
            return {Path(m.name).name: stream.read() for m in members if (stream := archive.extractfile(m))}
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise InputError(f"{file}: not a readable tar archive ({error})") from None
