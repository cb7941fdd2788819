"""load_export: a ``.pt2`` file of ``torch.export.save``, vetted so that nothing in it can run.

``torch.export.load`` unpickles what the archive asks it to and evaluates symbolic shapes, so the archive is
read first and refused if it holds a pickled object, a symbolic expression, or a call outside ``torch.ops``.
"""

from __future__ import annotations

import io
import json
import logging
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from addersim.errors import InputError

NAMESPACES = ("torch.ops.aten.", "torch.ops.addersim.")
LARGEST_BYTES = 4 << 30


def load_export(path: str | os.PathLike[str]) -> Any:
    """Return the ``torch.export.ExportedProgram`` in ``path``.

    Raises
    ------
    InputError
        If the file is missing or truncated, or holds anything but tensors and a graph of torch operators.
    """
    file = Path(path)
    try:
        data = file.read_bytes()
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            _vet(archive, file)
    except (OSError, zipfile.BadZipFile, ValueError, KeyError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{file}: not a file of torch.export.save ({error})") from error
    import torch

    import addersim.nn.functional  # noqa: F401  registers the adder operators that the graph names

    logger = logging.getLogger("torch.export")
    level = logger.level
    logger.setLevel(logging.ERROR)  # the error below says it in one line
    try:
        return torch.export.load(io.BytesIO(data))
    except Exception as error:
        raise InputError(f"{file}: torch.export cannot read it: {str(error).splitlines()[0]}") from error
    finally:
        logger.setLevel(level)


def _vet(archive: zipfile.ZipFile, file: Path) -> None:
    """Raise InputError for the first member that is too large or holds what it must not."""
    rules = (
        (".pt", _wrong_tensors),
        ("_config.json", _wrong_payloads),
        (".json", _wrong_graph),
    )
    for entry in archive.infolist():
        if entry.file_size > LARGEST_BYTES:
            raise InputError(f"{file}: {entry.filename} unpacks to {entry.file_size} bytes")
        rule = next((rule for ending, rule in rules if entry.filename.endswith(ending)), None)
        if rule is not None and (wrong := rule(archive.read(entry))):
            raise InputError(f"{file}: {entry.filename}: {wrong}")


def _wrong_tensors(data: bytes) -> str:
    import torch

    try:
        torch.load(io.BytesIO(data), weights_only=True)
    except Exception:
        return "holds more than tensors; refused"
    return ""


def _wrong_payloads(data: bytes) -> str:
    payloads = json.loads(data)["config"].values()
    plain = all(not p["use_pickle"] and p["path_name"].startswith(("weight_", "tensor_")) for p in payloads)
    return "" if plain else "names a pickled object; refused"


def _wrong_graph(data: bytes) -> str:
    """Say what is wrong with a graph: whether it has symbolic shapes, or calls anything but operators."""
    for key, value in _pairs(json.loads(data)):
        if key == "expr_str":
            return "symbolic shapes are not supported; export with a fixed batch"
        if key == "target" and isinstance(value, str) and "." in value and not value.startswith(NAMESPACES):
            return f"the graph calls {value!r}, which is no operator of torch.ops"
    return ""


def _pairs(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield (key, value) of every object in the JSON; ``target`` only where it is a node's operator."""
    if isinstance(value, list):
        for item in value:
            yield from _pairs(item)
    elif isinstance(value, dict):
        is_call = "inputs" in value and "outputs" in value
        for key, item in value.items():
            if key != "target" or is_call:
                yield key, item
            yield from _pairs(item)
