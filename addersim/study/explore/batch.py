"""Batch: points that share a quantised network, and their rows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from addersim.errors import InputError
from addersim.network.quantized import QuantizedNetwork
from addersim.shelf import PLUGINS, load_plugin
from addersim.study.explore.accuracy import measure
from addersim.study.explore.pricing import Columns, priced
from addersim.study.explore.space import COST_KEYS, Indices, Space
from addersim.study.outcome import load_calibration, on_integers
from addersim.study.study import Study, changed, make_study
from addersim.version import VERSION


@dataclass(frozen=True)
class Batch:
    """What a worker gets: plain values only, so that it can be another process or another machine.

    Attributes
    ----------
    study
        As JSON, with its path.
    content
        Hash of the study and of the files it names.
    accuracy
        Whether to simulate.
    memory
        Folder that remembers accuracies, ``None`` for nowhere; left out where it is not there.
    plugins
        SHA-256 and path of the files that the worker loads first: :func:`addersim.load_plugin`.
    """

    study: str
    content: str
    axes: Mapping[str, tuple[Any, ...]]
    indices: Indices
    accuracy: bool
    memory: str | None
    plugins: Mapping[str, str] = field(default_factory=dict)
    version: str = VERSION


def make_batch(study: Study, space: Space, indices: Indices, identity: Mapping[str, Any], memory: Path | None) -> Batch:
    """Return the batch of these points of the sweep with that :func:`~addersim.study.explore.identity.identity`."""
    said = study.model_dump_json(exclude_unset=True, exclude_none=True, exclude={"space", "twin", "title"})
    content = f"{identity['study_sha256']} {identity['space_sha256']}"
    place = str(memory) if memory else None
    return Batch(said, content, space.axes, indices, identity["accuracy"], place, dict(PLUGINS))


def rows(batch: Batch) -> Columns:
    """Return the rows of a batch as columns: ``point``, the space's keys, ``table``, the figures.

    Raises
    ------
    InputError
        If a point cannot be evaluated, the batch is from another version of addersim, or a plug-in holds other content.
    """
    if batch.version != VERSION:
        raise InputError(f"a worker has addersim {VERSION}, the sweep {batch.version}")
    _load(batch.plugins)
    study, space = _read(batch.study), Space(batch.axes)
    settings = {k: v for k, v in space.points(batch.indices[:1])[0].items() if k.split(".")[0] not in COST_KEYS}
    qnet = _network(batch.content, batch.study, json.dumps(settings))
    data, memory = changed(study, settings).data, Path(batch.memory) if batch.memory else None
    return priced(study, qnet, space, batch.indices, measure(data, memory) if batch.accuracy else None)


def _load(plugins: Mapping[str, str]) -> None:
    for content, path in plugins.items():
        if content not in PLUGINS:
            load_plugin(path)
        if content not in PLUGINS:
            raise InputError(f"{path}: a worker finds other content there than the sweep began with")


def _read(said: str) -> Study:
    content = json.loads(said)
    return make_study({k: v for k, v in content.items() if k != "path"}, Path(content["path"]))


@lru_cache(maxsize=2)
def _network(content: str, study: str, settings: str) -> QuantizedNetwork:
    """Return the network that a batch shares with other batches; ``content`` changes when a file does."""
    return quantised(changed(_read(study), json.loads(settings)))


def quantised(study: Study) -> QuantizedNetwork:
    """Return the study's network on integers."""
    return on_integers(study, study.network, load_calibration(study.data)[0][0])[1]
