"""Read a TOML file into a frozen model; every complaint is one line with file, key and nearest name."""

from __future__ import annotations

import difflib
import json
import os
import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from addersim.errors import InputError, nearest, unit

M = TypeVar("M", bound="Record")


class Record(BaseModel):
    """A frozen value read from TOML: strict types, no unknown keys, no NaN or infinity."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


def read(model: type[M], path: str | os.PathLike[str]) -> M:
    """Return the ``model`` that the TOML file ``path`` describes.

    Raises
    ------
    InputError
        If the file is missing, is not TOML, or does not fit the model; the message names file and key.
    """
    try:
        data = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a TOML file: {error}") from error
    return build(model, data, str(path))


def build(model: type[M], data: Mapping[str, Any], where: str) -> M:
    """Return ``model`` made of ``data``; errors name ``where``, the key and the nearest known key."""
    # JSON is the one strict input in which a list may become a tuple and a table a model.
    return _validated(model, model.model_validate_json, json.dumps(dict(data), default=str), where)


def from_values(model: type[M], values: Mapping[str, Any], where: str) -> M:
    """Return ``model`` made of Python's values, whole numbers of any type; errors as in :func:`build`."""
    return _validated(model, model.model_validate, _whole(values), where)


def _validated(model: type[M], validate: Callable[[Any], M], data: Any, where: str) -> M:
    try:
        return validate(data)
    except ValidationError as error:
        raise InputError(f"{where}: {_complaint(model, error)}") from None


def _whole(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _whole(one) for key, one in value.items()}
    return int(value) if isinstance(value, Integral) and not isinstance(value, bool) else value


def _complaint(model: type[Record], error: ValidationError) -> str:
    errors = error.errors()
    # A misspelt key is both unknown and missing; the former names what the user wrote.
    first = next((e for e in errors if e["type"] == "extra_forbidden"), errors[0])
    path, kind = first["loc"], first["type"]
    owner = _owner(model, path[:-1])
    if kind == "extra_forbidden":
        return f"{owner.__name__} has no {path[-1]!r}{nearest(str(path[-1]), _keys(owner))}"
    if kind == "missing":
        return f"{owner.__name__} needs {path[-1]!r}"
    if kind == "value_error":
        return str(first["ctx"]["error"])
    if kind in ("float_type", "int_type") and isinstance(first["input"], str) and (said := unit(str(path[-1]))):
        return f"{_dotted(path)} = {first['input']!r}: expected a plain number, in {said}; the key names the unit"
    close = difflib.get_close_matches(str(first["input"]), re.findall(r"'([^']*)'", first["msg"]), 1, 0.5)
    meant = f"; did you mean {close[0]!r}?" if kind == "literal_error" and close else ""
    return f"{_dotted(path)} = {first['input']!r}: {first['msg'][:1].lower()}{first['msg'][1:]}{meant}"


def _keys(model: type[Record]) -> dict[str, Any]:
    """Return the keys that a file may have, with the types of their values."""
    return {field.alias or name: field.annotation for name, field in model.model_fields.items() if not field.exclude}


def _owner(model: type[Record], path: Sequence[int | str]) -> type[Record]:
    """Return the model that the last key of ``path`` leads to."""
    for key in path:
        if isinstance(key, str) and key in _keys(model):
            model = next(iter(_models(_keys(model)[key])), model)
    return model


def _models(annotation: Any) -> list[type[Record]]:
    if isinstance(annotation, type) and issubclass(annotation, Record):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]


def _dotted(path: Sequence[int | str]) -> str:
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path).lstrip(".")
