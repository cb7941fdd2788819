"""Files: folders that exist afterwards, and files that are there whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from addersim.errors import InputError

PARTIAL = ".part"  # ends the name of a file that is not whole yet


def make_folder(path: Path) -> Path:
    """Return ``path`` after making it a folder; raise InputError if that cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error
    return path


def write_atomically(path: Path, data: bytes | memoryview | str, durable: bool = False) -> None:
    """Write ``data`` to a temporary file beside ``path``, then rename it: readers see the old file or the new one.

    If it is to be ``durable``, the bytes are on the disk before the name is: a power failure leaves one of both, too.

    Raises
    ------
    InputError
        If the file cannot be written, the old one being there still, or would replace a device or a pipe.
    """
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise InputError(f"{path}: cannot be written: it is no regular file")
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=PARTIAL)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(data.encode() if isinstance(data, str) else data)
                stream.flush()
                if durable:
                    os.fsync(handle)
            Path(temporary).chmod(0o644)
            Path(temporary).replace(path)
        finally:
            Path(temporary).unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error


def check_version(path: str | os.PathLike[str], what: str, found: object, newest: int) -> None:
    """Raise InputError unless ``found`` is a version of the saved format ``what`` up to ``newest``."""
    if type(found) is not int or found < 1:
        raise InputError(f"{path}: {what} version {found!r}, expected a whole number from 1 to {newest}")
    if found > newest:
        raise InputError(f"{path}: {what} version {found}, of a newer addersim; this one reads up to {newest}")
