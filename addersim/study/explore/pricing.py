"""Pricing: the rows of points that share a network; those that differ in numbers of the machine only, at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from addersim.costs import load_table
from addersim.costs.charges import UNITS
from addersim.costs.evaluate import evaluate
from addersim.costs.evaluate_machines import evaluate_machines
from addersim.errors import InputError
from addersim.hardware import Hardware, multiplier_twin
from addersim.hardware.fields import can_vary
from addersim.network.ops import OPS
from addersim.network.quantized import QuantizedNetwork
from addersim.study.explore.space import Indices, Space
from addersim.study.study import Study, changed

Columns: TypeAlias = dict[str, NDArray[Any]]
Accuracy: TypeAlias = Callable[[QuantizedNetwork], float]
SPARSE = 4  # a grid with more points than this for each that is wanted is not filled: its points are listed


def figures(accuracy: bool) -> list[str]:
    """Return the columns of numbers behind the space's keys and the table."""
    names = ["energy_pj", *(f"{unit}_pj" for unit in UNITS), "cycles", "stall_cycles", "latency_us", "area_um2"]
    return [*names, *(["accuracy_percent"] if accuracy else [])]


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
        ``point`` (its number in the space), the space's keys, ``table``, :func:`figures`, and ``refused``: why a point
        has no figures but NaN, ``""`` if it has.
    """
    parts: list[tuple[NDArray[np.intp], Columns]] = []
    for places, one in _alike(study, qnet, space, indices):
        part = _priced(study, one, qnet, space, indices[places])
        if accuracy is not None:
            part["accuracy_percent"] = _accuracies(study, qnet, space, indices[places], accuracy)
        names = np.array([[load_table(table).name for table in one.evaluation.tables]])
        parts.append((places, {**part, "table": names}))
    found = _merged(parts, (len(indices), names.size))
    repeated = np.repeat(indices, names.size)
    order = ["table", *figures(accuracy is not None), "refused"]
    return {"point": repeated, **space.columns(repeated), **{name: found[name].ravel() for name in order}}


def _priced(study: Study, one: Study, qnet: QuantizedNetwork, space: Space, indices: Indices) -> Columns:
    """Return the figures of points that differ in numbers only, at once if possible; ``one`` is the first's study."""
    if one.evaluation.tiling == "traffic":
        try:
            return _at_once(one, qnet, _machine(one, qnet), space, indices)
        except InputError:  # which point or table does not go with the network is found one by one
            pass
    return _one_by_one(study, qnet, space, indices)


def _merged(parts: list[tuple[NDArray[np.intp], Columns]], shape: tuple[int, int]) -> Columns:
    """Return the columns of all places; counts are floating point where one of them is NaN."""
    found: Columns = {}
    for name in parts[0][1]:
        found[name] = np.empty(shape, np.result_type(*(part[name] for _, part in parts)))
        for places, part in parts:
            found[name][places] = part[name]
    return found


def _alike(
    study: Study, qnet: QuantizedNetwork, space: Space, indices: Indices
) -> Iterator[tuple[NDArray[np.intp], Study]]:
    """Yield places in ``indices`` whose points differ in numbers of the machine only, and the first one's study."""
    codes = space.codes(indices)
    others = [codes[key] for key in space.axes if key not in _numbers(space, qnet)]
    _, groups = np.unique(np.stack([np.zeros_like(indices), *others]), axis=1, return_inverse=True)
    for group in range(groups.max() + 1):
        places = np.flatnonzero(groups.ravel() == group)
        yield places, changed(study, space.points(indices[places[:1]])[0])


def _numbers(space: Space, qnet: QuantizedNetwork) -> list[str]:
    """Return the keys of a space whose values evaluate_machines takes as one array."""
    keys = [
        key for key in space.axes if key.startswith("hardware.") and (_has_adders(qnet) or "multiplier_" not in key)
    ]
    return [key for key in keys if can_vary(key.removeprefix("hardware."), space.axes[key])]


def _has_adders(qnet: QuantizedNetwork) -> bool:
    """Return whether a layer takes adders: without one, a machine of adders gives way to its twin of multipliers."""
    return any(OPS[node.kind].array == "adder" for node in qnet.nodes)


def _at_once(study: Study, qnet: QuantizedNetwork, machine: Hardware, space: Space, indices: Indices) -> Columns:
    """Return the figures of points that differ in numbers only, with an axis of the tables behind theirs."""
    keys = _numbers(space, qnet)
    codes = [space.codes(indices)[key] for key in keys]
    sides = [np.unique(code) for code in codes]
    shape, place = tuple(map(len, sides)), tuple(map(np.searchsorted, sides, codes))
    if math.prod(shape) > SPARSE * len(indices):
        sides, place = codes, (np.arange(len(indices)),)
    else:
        sides = list(np.ix_(*sides))
    fields = {
        key.removeprefix("hardware."): np.asarray(space.axes[key])[side] for key, side in zip(keys, sides, strict=True)
    }
    found = evaluate_machines(qnet, machine, fields, study.evaluation.dataflow, study.evaluation.tables)
    return {name: values[place] for name, values in found.items()}


def _machine(study: Study, qnet: QuantizedNetwork) -> Hardware:
    machine = study.machine()
    return multiplier_twin(machine) if machine.pe == "adder" and not _has_adders(qnet) else machine


def _one_by_one(study: Study, qnet: QuantizedNetwork, space: Space, indices: Indices) -> Columns:
    of_points = [_bills(changed(study, point), qnet) for point in space.points(indices)]
    found = {name: np.array([[bill[name] for bill in bills] for bills in of_points]) for name in of_points[0][0]}
    return {**found, "refused": found["refused"].astype(object)}


def _bills(study: Study, qnet: QuantizedNetwork) -> list[dict[str, Any]]:
    """Return the figures of one point by each table."""
    machine, on, bills = _machine(study, qnet), study.evaluation, []
    for table in on.tables:
        try:
            cost = evaluate(qnet.on(machine), machine, on.dataflow, table, on.tiling)
        except InputError as error:
            bills.append({**dict.fromkeys(figures(accuracy=False), math.nan), "refused": str(error)})
            continue
        energies = {f"{unit}_pj": energy for unit, energy in cost.energy_by_unit.items()}
        cycles = {"cycles": cost.cycles, "stall_cycles": cost.stall_cycles, "latency_us": cost.latency_us}
        area_um2 = math.nan if cost.area_um2 is None else cost.area_um2
        bills.append({"energy_pj": cost.energy_pj, **energies, **cycles, "area_um2": area_um2, "refused": ""})
    return bills


def _accuracies(
    study: Study, qnet: QuantizedNetwork, space: Space, indices: Indices, accuracy: Accuracy
) -> NDArray[np.float64]:
    """Return the accuracy of every point, in per cent, on an axis in front of that of the tables."""
    known: dict[tuple[Any, ...], float] = {}  # by datapaths, so that a network is hashed once for all alike

    def percent(machine: Hardware) -> float:
        try:
            placed = qnet.on(machine)
        except InputError:
            return math.nan
        paths = tuple(node.datapath for node in placed.nodes)
        if paths not in known:
            known[paths] = accuracy(placed)
        return known[paths]

    machines = (_machine(changed(study, point), qnet) for point in space.points(indices))
    return np.array([[percent(machine)] for machine in machines])
