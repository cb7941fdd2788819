"""What decides a sweep's rows: version, study and space, with files by their content, so that they can move."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from addersim.shelf import PLUGINS
from addersim.study.explore.space import Space
from addersim.study.study import Study
from addersim.version import VERSION

IRRELEVANT = {"path", "title", "twin", "space"}  # of a study, to the rows of a sweep


def identity(study: Study, space: Space, accuracy: bool) -> dict[str, Any]:
    """Return version, study and space as JSON-ready values, with the SHA-256 of the latter two.

    Every text that names a file or a folder is replaced by the hash of what that holds; plug-ins that were loaded are
    named by theirs.
    """
    content = study.model_dump(mode="json", exclude_unset=True, exclude_none=True, exclude=IRRELEVANT)
    folder = Path(study.path).absolute().parent
    said: dict[str, Any] = {"study": _by_content(content, folder), "space": _by_content(dict(space.axes), folder)}
    hashes = {f"{key}_sha256": hashlib.sha256(json.dumps(value).encode()).hexdigest() for key, value in said.items()}
    plugins = {"plugins": sorted(PLUGINS)} if PLUGINS else {}
    return {"addersim": VERSION, "accuracy": accuracy, **plugins, **said, **hashes}


def difference(there: Mapping[str, Any], here: Mapping[str, Any]) -> str | None:
    """Return the first key in which two identities differ, with both values, or nothing if they are the same."""
    left, right = dict(_leaves(there)), dict(_leaves(here))
    for key in [*right, *left]:
        if left.get(key) != right.get(key):
            return f"{key} is {left.get(key, 'not set')} there, {right.get(key, 'not set')} here"
    return None


def _by_content(value: Any, folder: Path) -> Any:
    if isinstance(value, Mapping):
        return {key: _by_content(inner, folder) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_by_content(inner, folder) for inner in value]
    place = folder / value if isinstance(value, str) and value else None
    return f"sha256:{_content_hash(place)}" if place is not None and place.exists() else value


def _content_hash(place: Path) -> str:
    digest = hashlib.sha256()
    for file in [place] if place.is_file() else sorted(f for f in place.rglob("*") if f.is_file()):
        digest.update(f"{file.relative_to(place)}".encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted keys and values; a space is one value, since its order counts."""
    if isinstance(value, dict) and key != "space":
        for name, inner in value.items():
            yield from _leaves(inner, f"{key}.{name}".removeprefix(".").removeprefix("study."))
    else:
        yield key, value if not isinstance(value, dict) else json.dumps(value)
