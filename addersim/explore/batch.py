"""Batch: points that share a quantised network, and their rows."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

import addersim
from addersim.charges import UNITS
from addersim.errors import InputError
from addersim.evaluate import evaluate
from addersim.explore.accuracy import measure
from addersim.explore.space import COST_KEYS, Indices, Space
from addersim.hardware import multiplier_twin
from addersim.ops import OPS
from addersim.outcome import load_calibration, on_integers
from addersim.quantized import QuantizedNetwork
from addersim.study import Study, changed, make_study

Columns: TypeAlias = dict[str, NDArray[Any]]
Accuracy: TypeAlias = Callable[[QuantizedNetwork], float]


def figures(accuracy: bool) -> list[str]:
    """Return the columns of numbers behind the space's keys and the table."""
    names = ["energy_pj", *(f"{unit}_pj" for unit in UNITS), "cycles", "latency_us", "area_um2"]
    return [*names, *(["accuracy_percent"] if accuracy else [])]


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
    """

    study: str
    content: str
    axes: Mapping[str, tuple[Any, ...]]
    indices: Indices
    accuracy: bool
    memory: str | None
    version: str = addersim.__version__


def make_batch(study: Study, space: Space, indices: Indices, identity: Mapping[str, Any], memory: Path | None) -> Batch:
    """Return the batch of these points of the sweep with that :func:`~addersim.explore.identity.identity`."""
    said = study.model_dump_json(exclude_unset=True, exclude_none=True, exclude={"space", "twin", "title"})
    content = f"{identity['study_sha256']} {identity['space_sha256']}"
    return Batch(said, content, space.axes, indices, identity["accuracy"], str(memory) if memory else None)


def rows(batch: Batch) -> Columns:
    """Return the rows of a batch as columns: ``point``, the space's keys, ``table``, the figures.

    Raises
    ------
    InputError
        If a point cannot be evaluated, or the batch is from another version of addersim.
    """
    if batch.version != addersim.__version__:
        raise InputError(f"a worker has addersim {addersim.__version__}, the sweep {batch.version}")
    study, space = _read(batch.study), Space(batch.axes)
    settings = {k: v for k, v in space.points(batch.indices[:1])[0].items() if k.split(".")[0] not in COST_KEYS}
    qnet = _network(batch.content, batch.study, json.dumps(settings))
    data, memory = changed(study, settings).data, Path(batch.memory) if batch.memory else None
    return priced(study, qnet, space, batch.indices, measure(data, memory) if batch.accuracy else None)


def _read(said: str) -> Study:
    content = json.loads(said)
    return make_study({k: v for k, v in content.items() if k != "path"}, Path(content["path"]))


@lru_cache(maxsize=2)
def _network(content: str, study: str, settings: str) -> QuantizedNetwork:
    """Return the network that a batch shares with other batches; ``content`` changes when a file does."""
    return quantised(changed(_read(study), json.loads(settings)))


def quantised(study: Study) -> QuantizedNetwork:
    """Return the study's network on integers."""
    return on_integers(study, study.network, load_calibration(study.data)[0])[1]


def priced(
    study: Study, qnet: QuantizedNetwork, space: Space, indices: Indices, accuracy: Accuracy | None = None
) -> Columns:
    """Return the rows of points that share ``qnet``: per point one of each table, in the order of ``indices``.

    Parameters
    ----------
    study
        What the points change.
    accuracy
        Returns the accuracy in per cent of a network on its machine; without it there is no such column.

    Returns
    -------
    Columns
        ``point`` (its number in the space), the space's keys, ``table``, ``energy_pj``, ``arithmetic_pj``,
        ``buffers_pj``, ``dram_pj``, ``cycles``, ``latency_us``, ``area_um2``, ``accuracy_percent``.
    """
    of_points = [_bills(changed(study, point), qnet, accuracy) for point in space.points(indices)]
    bills = [bill for of_point in of_points for bill in of_point]
    repeated = np.repeat(indices, [len(of_point) for of_point in of_points])
    found = {key: np.array([bill[key] for bill in bills]) for key in bills[0]}
    return {"point": repeated, **space.columns(repeated), **found}


def _bills(study: Study, qnet: QuantizedNetwork, accuracy: Accuracy | None) -> list[dict[str, Any]]:
    """Return one bill per table of one point."""
    machine = study.machine()
    if machine.pe == "adder" and not any(OPS[node.kind].array == "adder" for node in qnet.nodes):
        machine = multiplier_twin(machine)
    placed = qnet.on(machine)
    measured = {} if accuracy is None else {"accuracy_percent": accuracy(placed)}
    bills = []
    for table in study.evaluation.tables:
        cost = evaluate(placed, machine, study.evaluation.dataflow, table, study.evaluation.tiling)
        energies = {f"{unit}_pj": energy for unit, energy in cost.energy_by_unit.items()}
        priced = {"energy_pj": cost.energy_pj, **energies, "cycles": cost.cycles, "latency_us": cost.latency_us}
        area_um2 = math.nan if cost.area_um2 is None else cost.area_um2
        bills.append({"table": cost.table, **priced, "area_um2": area_um2, **measured})
    return bills
