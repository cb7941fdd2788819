"""A sweep's folder: Parquet parts, each there whole or not at all, and the study and space they belong to."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from addersim.errors import InputError
from addersim.files import check_version, make_folder, write_atomically
from addersim.study.explore.identity import difference
from addersim.study.explore.pricing import Columns
from addersim.study.explore.space import Indices

MANIFEST = "sweep.json"
FORMAT_VERSION = 1  # of the folder; one without it is of version 1


class Results:
    """The folder of one sweep.

    ``sweep.json`` holds the sweep's :func:`~addersim.study.explore.identity.identity`, ``part-HASH.parquet`` the rows
    of a batch, under the hash of study, space and points, ``accuracy/`` what was simulated.

    Raises
    ------
    InputError
        If the folder cannot be written or belongs to another study, space or version; the message names the
        first key that differs.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        file = make_folder(folder) / MANIFEST
        if file.exists():
            _check_same(file, identity)
        else:
            write_atomically(file, json.dumps({"format": FORMAT_VERSION, **identity}, indent=2) + "\n")
        self.folder = folder
        self.memory = make_folder(folder / "accuracy") if identity["accuracy"] else None
        self._hash = f"{identity['study_sha256']}{identity['space_sha256']}".encode()

    def path(self, indices: Indices) -> Path:
        """Return the file of a batch."""
        digest = hashlib.sha256(self._hash + indices.astype("<i8").tobytes()).hexdigest()
        return self.folder / f"part-{digest[:20]}.parquet"

    def read(self, indices: Indices) -> Columns | None:
        """Return the rows of a batch, or nothing if it is not finished."""
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile

        path = self.path(indices)
        if not path.exists():
            return None
        try:
            table = ParquetFile(path).read()
        except (ArrowException, OSError) as error:
            raise InputError(
                f"{path}: not a readable Parquet file; delete it to have its rows computed again"
            ) from error
        return {name: table[name].to_numpy() for name in table.column_names}

    def write(self, indices: Indices, columns: Columns) -> None:
        """Write the rows of a batch, first under a temporary name."""
        from pyarrow import table
        from pyarrow.parquet import write_table

        stream = io.BytesIO()
        write_table(table(dict(columns)), stream)
        write_atomically(self.path(indices), stream.getvalue())


def _check_same(file: Path, identity: Mapping[str, Any]) -> None:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: cannot be read; expected what a sweep wrote there") from error
    found = found if isinstance(found, dict) else {}
    check_version(file, "sweep format", found.pop("format", 1), FORMAT_VERSION)
    if differing := difference(found, identity):
        raise InputError(f"{file.parent}: holds the results of another sweep ({differing}); take another folder")
