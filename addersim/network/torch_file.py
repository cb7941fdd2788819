"""load_export: a ``.pt2`` file of ``torch.export.save``, vetted so that nothing in it can run.

``torch.export.load`` unpickles what the archive asks it to, opens the shared objects of AOTInductor, evaluates
symbolic shapes, and imports what a container of arguments or outputs names. So the archive is read first; it is
refused if it has a member that ``torch.export.save`` does not write, a pickled object, a symbolic expression, a
container other than Python's own, or a call outside ``torch.ops``. What torch then loads is a new archive of the
bytes that were checked: two readers of a zip file cannot see two files.
"""

from __future__ import annotations

import io
import json
import logging
import os
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from addersim.errors import InputError

CONTAINERS = (None, "builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict")  # None: a leaf
NAMESPACES = ("torch.ops.aten.", "torch.ops.addersim.")
FOREIGN = (AttributeError, EOFError, LookupError, RuntimeError, TypeError, ValueError, zipfile.BadZipFile)


def load_export(path: str | os.PathLike[str]) -> Any:
    """Return the ``torch.export.ExportedProgram`` in ``path``.

    Raises
    ------
    InputError
        If the file is missing or truncated, or holds anything but tensors and a graph of torch operators.
    """
    file = Path(path)
    try:
        checked = _checked(file)
    except InputError:
        raise
    except (OSError, *FOREIGN) as error:
        raise InputError(f"{file}: not a file of torch.export.save ({error})") from error
    import torch

    import addersim.nn.functional  # noqa: F401  registers the adder operators that the graph names

    logger = logging.getLogger("torch.export")
    level = logger.level
    logger.setLevel(logging.ERROR)  # the error below says it in one line
    try:
        return torch.export.load(checked)
    except Exception as error:
        raise InputError(f"{file}: torch.export cannot read it: {str(error).partition(chr(10))[0]}") from error
    finally:
        logger.setLevel(level)


def _checked(file: Path) -> io.BytesIO:
    """Return a new archive of the members of an old one, all of which are as they may be."""
    found = io.BytesIO()
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(found, "w") as new:
        if sum(entry.file_size for entry in old.infolist()) > file.stat().st_size:
            raise InputError(f"{file}: expected members that are not compressed and do not overlap")
        flat = "serialized_exported_program.json" in old.namelist()
        for entry, name in _entries(old, file, flat):
            data = old.read(entry)
            rules = [rule for pattern, rule in (FLAT if flat else NESTED).items() if re.fullmatch(pattern, name)]
            if wrong := rules[0](data) if rules else "torch.export.save writes no such member; refused":
                raise InputError(f"{file}: {entry.filename!r}: {wrong}")
            new.writestr(name if flat else f"network/{name}", data)
    found.seek(0)
    return found


def _entries(archive: zipfile.ZipFile, file: Path, flat: bool) -> Iterator[tuple[zipfile.ZipInfo, str]]:
    """Yield the members and their names without the one folder that they lie in."""
    root = "" if flat else archive.namelist()[0].partition("/")[0] + "/"
    seen = set()
    for entry in archive.infolist():
        name = entry.filename.removeprefix(root)
        if name in seen or not entry.filename.startswith(root):
            raise InputError(f"{file}: {entry.filename!r}: expected each member once, all in one folder")
        seen.add(name)
        yield entry, name


def _nothing_wrong(data: bytes) -> str:
    return ""


def _wrong_tensors(data: bytes) -> str:
    import torch

    try:
        torch.load(io.BytesIO(data), weights_only=True)
    except Exception:
        return "holds more than tensors; refused"
    return ""


def _wrong_payloads(data: bytes) -> str:
    payloads = json.loads(data)["config"].values()
    plain = all(p["use_pickle"] is False and re.fullmatch(PAYLOAD, p["path_name"]) for p in payloads)
    return "" if plain else "names a pickled object; refused"


def _wrong_graph(data: bytes) -> str:
    """Say what is wrong with a graph: symbolic shapes, containers not of Python, calls of no operator."""
    for key, value in _pairs(json.loads(data)):
        if key == "expr_str":
            return "symbolic shapes are not supported; export with a fixed batch"
        if key in ("in_spec", "out_spec") and not _is_plain(json.loads(value)[1]):
            return "expected arguments and outputs in tuples, lists and dictionaries only"
        if key == "target" and isinstance(value, str) and "." in value and not value.startswith(NAMESPACES):
            return f"the graph calls {value!r}, which is no operator of torch.ops"
    return ""


def _is_plain(tree: Any) -> bool:
    """Whether a tree of containers has Python's own only, with texts as keys: torch imports what others name."""
    if tree["type"] not in CONTAINERS:
        return False
    keys = json.loads(tree["context"] or "null") or []
    return (
        isinstance(keys, list)
        and all(isinstance(key, str) for key in keys)
        and all(map(_is_plain, tree["children_spec"]))
    )


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


PAYLOAD = "(weight|tensor)_[0-9]+"
# The members that torch.export.save writes, and what may be wrong with them: from torch 2.8 on, in one folder,
NESTED = {
    r"models/model\.json": _wrong_graph,
    r"data/(sample_inputs|weights|constants)/model\.pt": _wrong_tensors,
    r"data/(weights/model_weights|constants/model_constants)_config\.json": _wrong_payloads,
    f"data/(weights|constants)/{PAYLOAD}": _nothing_wrong,
    r"archive_(format|version)|byteorder|(\.data/)?version|\.data/serialization_id": _nothing_wrong,
    r"\.format_version|\.storage_alignment": _nothing_wrong,
}
# and up to torch 2.7, in none.
FLAT = {
    r"serialized_exported_program\.json": _wrong_graph,
    r"serialized_(state_dict|constants|example_inputs)\.pt": _wrong_tensors,
    "version": _nothing_wrong,
}
