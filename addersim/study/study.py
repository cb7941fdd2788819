"""Study: what to run on what, from one TOML file. No key holds code; paths are relative to the file."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Callable, Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from addersim.costs import load_table
from addersim.errors import InputError, nearest
from addersim.hardware import Hardware, hardware_keys, load_hardware
from addersim.mapping.dataflows import load_dataflow
from addersim.mapping.tile_search import Objective
from addersim.nn.catalogue import model_card, shipped_weights
from addersim.quantization.settings import Positive, Quantization
from addersim.toml import Record, build
from addersim.weights.shipped import weights_file

Value = str | int | float | bool


class NetworkSource(Record):
    """Where a network comes from: exactly one of ``model``, ``file`` and ``export``.

    Attributes
    ----------
    model
        A name of ``addersim list models``.
    weights
        Checkpoint for ``model``; by default the weights shipped with the package.
    file
        A safetensors file of ``Network.save``, float or quantised, or the name of a shipped one; a quantised one takes
        no ``[quantization]``.
    export
        A ``.pt2`` file of ``torch.export.save``.
    """

    model: str | None = None
    weights: str | None = None
    file: str | None = None
    export: str | None = None

    @model_validator(mode="after")
    def _is_one(self) -> NetworkSource:
        if [self.model, self.file, self.export].count(None) != 2:
            raise ValueError("a network takes exactly one of model, file and export")
        if self.weights is not None and self.model is None:
            raise ValueError("weights goes with model")
        return self


class Data(Record):
    """Images to evaluate on: an embedded sample by ``name`` (``fashion_sample`` if nothing is said), or a ``folder``.

    Without ``calibration`` an embedded sample calibrates on embedded training images, and a folder on its
    own first images, which the report then says.
    """

    name: str | None = None
    folder: str | None = None
    calibration: str | None = None
    calibration_limit: Positive = 500
    limit: Positive | None = None
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    @model_validator(mode="after")
    def _is_one(self) -> Data:
        if self.name is not None and self.folder is not None:
            raise ValueError("data takes one of name and folder, not both")
        if any(s <= 0 for s in self.std):
            raise ValueError("std holds a number that is not positive")
        return self


def _one_or_more(names: Any) -> Any:
    if isinstance(names, str):
        return (names,)
    return tuple(names) if isinstance(names, list) else names


class Evaluation(Record):
    """Dataflow, tiling and cost tables of a bill, the first table for headlines; comparisons add every shipped one.

    A single table may be named without a list, which makes ``evaluation.tables`` a key of ``[space]``.
    """

    dataflow: str = "output_stationary"
    tiling: Objective = "traffic"
    tables: Annotated[tuple[str, ...], Field(min_length=1), BeforeValidator(_one_or_more)] = ("horowitz2014_45nm",)


class Study(Record):
    """One study file.

    Attributes
    ----------
    title
        Headline of the report; by default made from the figures.
    network, twin
        The network, and optionally the multiplier network to compare it with.
    data, quantization, evaluation
        See their classes.
    hardware
        ``name``, a shelf name or a path, and fields of that machine to replace.
    space
        For sweeps: dotted keys of this file with the values to try.

    Examples
    --------
    >>> import addersim
    >>> study = addersim.Study.read("lenet5-fashion", ["hardware.rows=8"])
    >>> study.machine().rows
    8
    """

    title: str | None = None
    network: NetworkSource
    twin: NetworkSource | None = None
    data: Data = Data()
    quantization: Quantization = Quantization()
    hardware: dict[str, Any] = Field(default_factory=lambda: {"name": "adder_16x16"})
    evaluation: Evaluation = Evaluation()
    space: dict[str, tuple[Value, ...]] = Field(default_factory=dict)
    path: str = "study"

    @classmethod
    def read(cls, path: str | os.PathLike[str], settings: Iterable[str] = ()) -> Study:
        """Return the study in a TOML file, or the shipped one of that name.

        Parameters
        ----------
        settings
            ``"dotted.key=value"`` strings that override keys of the file; values are TOML or bare words.

        Raises
        ------
        InputError
            One line with file, key and the nearest valid name.
        """
        file, content = _content(path)
        for setting in settings:
            content = _set(content, setting)
        return make_study(content, file)

    def machine(self) -> Hardware:
        """Return the machine with this study's overrides."""
        overrides = {key: value for key, value in self.hardware.items() if key != "name"}
        try:
            return load_hardware(self.hardware["name"], **overrides)
        except InputError as error:
            raise InputError(f"{self.path}: [hardware] {error}") from None


def make_study(content: Mapping[str, Any], file: Path) -> Study:
    """Return the study that ``content`` describes, with paths taken relative to ``file``, fully checked."""
    where = str(file)
    if not isinstance(content.get("hardware", {}), dict):
        raise InputError(f"{where}: hardware is a table with a name")
    resolved = _resolve({**content, "hardware": {"name": "adder_16x16", **content.get("hardware", {})}}, file.parent)
    study = build(Study, {**resolved, "path": where}, where)
    study.machine()
    _check_names(study)
    for key in study.space:
        check_key(key, where)
    return study


def _check_names(study: Study) -> None:
    """Raise InputError, with file and key, for a name that is on no shelf."""
    sources = [("network.model", study.network.model), ("twin.model", study.twin.model if study.twin else None)]
    checks: list[tuple[str, Callable[[Any], object], Iterable[str | None]]] = [
        (key, model_card, [name]) for key, name in sources
    ]
    for section, source in (("network", study.network), ("twin", study.twin)):
        if source is not None and source.weights is None:
            checks.append((f"{section}.weights", shipped_weights, [source.model]))
    checks.append(("evaluation.dataflow", load_dataflow, [study.evaluation.dataflow]))
    checks.append(("evaluation.tables", load_table, study.evaluation.tables))
    for key, load, names in checks:
        for name in names:
            try:
                if name is not None:
                    load(name)
            except InputError as error:
                raise InputError(f"{study.path}: {key}: {error}") from None


def shipped_studies() -> dict[str, Path]:
    """Return name and path of the studies in the package."""
    folder = Path(str(files("addersim"))) / "study" / "studies"
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def check_key(key: str, where: str) -> None:
    """Raise InputError unless ``key`` is a dotted key of a study."""
    known = {
        f"{s}.{n}"
        for s, model in (
            ("network", NetworkSource),
            ("twin", NetworkSource),
            ("data", Data),
            ("quantization", Quantization),
            ("evaluation", Evaluation),
        )
        for n, field in model.model_fields.items()
        if not field.exclude
    }
    known |= {f"hardware.{name}" for name in hardware_keys(key.removeprefix("hardware."))}
    if key not in known:
        raise InputError(f"{where}: no key {key!r}{nearest(key, known)}")


def changed(study: Study, settings: Mapping[str, Any]) -> Study:
    """Return the study with dotted keys replaced, checked as a file is."""
    content = json.loads(study.model_dump_json(exclude_unset=True, exclude_none=True, exclude={"path"}))
    for key, value in settings.items():
        content = _replaced(content, key.split("."), value)
    return make_study(content, Path(study.path))


def _content(path: str | os.PathLike[str]) -> tuple[Path, dict[str, Any]]:
    shipped = shipped_studies()
    file = shipped.get(str(path), Path(path))
    try:
        return file, tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file, and no shipped study{nearest(str(path), shipped)}") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a TOML file: {error}") from error


def _set(content: dict[str, Any], setting: str) -> dict[str, Any]:
    key, separator, text = setting.partition("=")
    if not separator or not key.strip():
        raise InputError(f"--set {setting}: expected key=value, such as hardware.rows=32")
    try:
        value = tomllib.loads(f"value = {text.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    return _replaced(content, _parts(key.strip()), value)


def _parts(key: str) -> list[str]:
    """Return the parts of a dotted key, which may be quoted as in TOML."""
    try:
        table: Any = tomllib.loads(f"{key} = 0")
    except tomllib.TOMLDecodeError:
        return key.split(".")
    parts: list[str] = []
    while isinstance(table, dict):
        (name,) = table
        parts, table = [*parts, name], table[name]
    return parts


def _replaced(content: Mapping[str, Any], keys: list[str], value: Any) -> dict[str, Any]:
    head, *tail = keys
    inner = content.get(head, {})
    if tail and not isinstance(inner, Mapping):
        raise InputError(f"{head} is a value, not a table: it has no key {tail[0]!r}")
    return {**content, head: _replaced(inner, tail, value) if tail else value}


def _resolve(content: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return ``content`` with its paths, and names of what is shipped, made absolute paths."""

    def at(value: Any) -> Any:
        return str((folder / weights_file(value)).absolute()) if isinstance(value, str) else value

    paths: dict[str, tuple[str, ...]] = {
        "network": ("file", "export", "weights"),
        "twin": ("file", "export", "weights"),
        "data": ("folder", "calibration"),
    }
    for section, keys in paths.items():
        table = content.get(section)
        if isinstance(table, dict):
            content = {**content, section: {k: at(v) if k in keys else v for k, v in table.items()}}
    name = content["hardware"].get("name")
    if isinstance(name, str) and name.endswith(".toml"):
        content = {**content, "hardware": {**content["hardware"], "name": at(name)}}
    tables = content.get("evaluation", {}).get("tables") if isinstance(content.get("evaluation"), dict) else None
    tables = _one_or_more(tables)
    if isinstance(tables, tuple):
        named = [at(t) if isinstance(t, str) and t.endswith(".toml") else t for t in tables]
        content = {**content, "evaluation": {**content["evaluation"], "tables": named}}
    return content
