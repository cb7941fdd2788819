"""The study that made a report, as TOML: the file itself, or what became of it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from addersim.errors import InputError
from addersim.study.study import Study, shipped_studies

SOURCE = ("file", "export", "weights")
PATHS = {"network": SOURCE, "twin": SOURCE, "data": ("folder", "calibration"), "hardware": ("name",)}


def study_text(study: Study) -> str:
    """Return the text of ``study.toml``: a copy where the file says the same, else the keys that were given.

    Paths in the written form are relative to the folder of the study's own file.
    """
    try:
        if Study.read(study.path) == study:
            return Path(study.path).read_text(encoding="utf-8")
    except (InputError, OSError):
        pass
    content = study.model_dump(mode="json", exclude_unset=True, exclude_none=True, exclude={"path"})
    said = f"# {Path(study.path).name} with its keys as they were when it ran; paths are relative to its folder.\n"
    return said + toml(without_folders(content, study))


def command(study: Study) -> str:
    """Return the command that makes the report again."""
    name = Path(study.path).stem
    if name in shipped_studies() and Path(study.path) == shipped_studies()[name]:
        try:
            if Study.read(name) == study:
                return f"addersim report {name} --out reports/{name}"
        except InputError:
            pass
    return "addersim report study.toml --out report"


def without_folders(content: Mapping[str, Any], study: Study) -> dict[str, Any]:
    """Return ``content`` with its absolute paths made relative to the folder of the study's file."""
    folder = Path(study.path).absolute().parent

    def near(value: Any) -> Any:
        is_path = isinstance(value, str) and Path(value).is_absolute()
        return Path(os.path.relpath(value, folder)).as_posix() if is_path else value

    result = {**content}
    for section, keys in PATHS.items():
        if section in result:
            result[section] = {k: near(v) if k in keys else v for k, v in result[section].items()}
    if "tables" in (evaluation := result.get("evaluation", {})):
        result["evaluation"] = {**evaluation, "tables": [near(table) for table in evaluation["tables"]]}
    return result


def said_without_folders(text: str, study: Study) -> str:
    """Return ``text`` with the folders of the study's images named, not located."""
    for path in (study.data.folder, study.data.calibration):
        text = text.replace(path, Path(path).name) if path else text
    return text


def toml(content: Mapping[str, Any], within: str = "") -> str:
    """Return ``content`` as TOML: plain keys first, then one table per mapping, in the given order.

    Examples
    --------
    >>> print(toml({"title": "T", "space": {"a.b": [1, 2]}}), end="")
    title = "T"
    <BLANKLINE>
    [space]
    "a.b" = [1, 2]
    """
    plain = [f"{_key(k)} = {_value(v)}\n" for k, v in content.items() if not isinstance(v, Mapping)]
    full = {k: v for k, v in content.items() if isinstance(v, Mapping) and v}
    names = {name: f"{within}.{_key(name)}" if within else _key(name) for name in full}
    tables = [f"\n[{names[name]}]\n{toml(table, names[name])}" for name, table in full.items()]
    return "".join([*plain, *tables])


def _key(key: str) -> str:
    return key if key and all(c.isascii() and (c.isalnum() or c in "-_") for c in key) else _value(key)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_key(k)} = {_value(v)}' for k, v in value.items())}}}"
    return repr(value)
