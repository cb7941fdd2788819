"""Totals: the cycles and accesses of one image on many machines at once, before any price.

Layers that move and compute the same are evaluated once, and placed once for every combination of memory sizes that
occurs.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from addersim.hardware import Hardware
from addersim.hardware.broadcast import Box, cut
from addersim.hardware.fields import checked, with_arrays
from addersim.mapping.array_runs import COUNTED, Array
from addersim.mapping.dataflows import Dataflow, Schedule
from addersim.mapping.latency import busy_cycles
from addersim.mapping.placement import PlacedEach, place_each
from addersim.mapping.residency import edge_bits, stored_bits
from addersim.mapping.scratchpads import Place, inside_accesses
from addersim.mapping.steps import Step, steps_on
from addersim.mapping.traffic import FREE, Setting, layer_of, setting, transfers
from addersim.mapping.transfers import Transfer, port_cycles, whole
from addersim.network.counts import count
from addersim.network.graph import Network
from addersim.network.ops import words
from addersim.network.quantized import QuantizedNetwork


@dataclass(frozen=True)
class Plan:
    """A network on machines that differ in ``arrays``; ``machine`` has the arrays in place of its numbers.

    Attributes
    ----------
    placed, schedules
        The layers on arrays, by name: tiles, and what the array does for them.
    refused
        Why the first layer that has no room is refused, ``""`` on machines that can run all.
    """

    qnet: Network
    machine: Hardware
    arrays: Mapping[str, NDArray[Any]]
    steps: list[Step]
    computing: frozenset[str]
    placed: Mapping[str, PlacedEach]
    schedules: Mapping[str, Schedule]
    refused: Any


def make_plan(
    qnet: QuantizedNetwork, machine: Hardware, arrays: Mapping[str, NDArray[Any]], dataflow: Dataflow
) -> Plan:
    """Return the network on the machines, every value checked, every layer placed.

    Raises
    ------
    InputError
        If a field is unknown or no number, a value is out of range, or as :func:`addersim.evaluate`.
    """
    for key, values in arrays.items():
        for value in np.unique(values).tolist():
            machine = checked(machine, key, value)
    placed = qnet.on(machine)
    steps = steps_on(placed, machine, dataflow)
    computing = frozenset(row.layer for row in count(placed).rows)
    machine = with_arrays(machine, arrays)
    where = setting(placed, machine, computing, FREE)
    wide = [_widened(step, machine) for step in steps]
    tiles, refused = _placements(wide, where)
    schedules = {one.node.name: schedule_each(one.on.array, tiles[one.node.name]) for one in wide if one.on}
    return Plan(placed, machine, arrays, steps, computing, tiles, schedules, refused)


def _widened(step: Step, machine: Hardware) -> Step:
    """Return the step on arrays of all sizes."""
    if step.on is None:
        return step
    rows, cols = machine.array(step.on.element)
    array = replace(step.on.array, rows=rows, cols=cols, pipeline_stages=machine.pipeline_stages)
    return replace(step, on=replace(step.on, array=array, schedule=array.schedule(step.on.nest)))


def _placements(steps: list[Step], where: Setting) -> tuple[dict[str, PlacedEach], Any]:
    """Return the layers on arrays, equal ones placed once, and why the first is refused."""
    known: dict[tuple[Any, ...], PlacedEach] = {}
    found, refused = {}, np.array("", object)
    for step in steps:
        if step.on is None:
            continue
        key = _key(step, where)
        if key not in known:
            known[key] = place_each(layer_of(step, step.on, where), where.stores, where.dram)
            own = known[key].refused
            why = [one and f"layer {step.node.name!r}: {one}" for one in own.flat]
            refused = np.where(refused == "", np.array(why, object).reshape(own.shape), refused)
        found[step.node.name] = known[key]
    return found, refused


def schedule_each(array: Array, placed: PlacedEach) -> Schedule:
    """Return :meth:`Array.run` on many machines at once, each with its own tiles; ``utilisation`` is left at 0."""
    nests = list(dict.fromkeys(nest for pieces in placed.pieces for nest, _ in pieces))
    often = np.array([[dict(pieces).get(nest, 0) for nest in nests] for pieces in placed.pieces])
    ones, found = [array.schedule(nest) for nest in nests], {}
    for name in COUNTED:
        of_nests = np.stack(np.broadcast_arrays(*(getattr(one, name) for one in ones)))
        found[name] = _taken(np.tensordot(often, of_nests, 1), placed.which)
    runs = often.sum(axis=1)[placed.which]
    found["cycles"] = found["cycles"] + (runs - 1) * (array.pipeline_stages - 1)
    return Schedule(utilisation=0.0, **found)


def _taken(values: NDArray[np.int64], which: Any) -> Any:
    """Return of ``values``, with an axis in front of those of the machines, the entry that every machine has."""
    sides = values.shape[1:]
    places = [np.arange(n).reshape([-1 if i == j else 1 for j in range(len(sides))]) for i, n in enumerate(sides)]
    return values[(which, *(place if n > 1 else 0 for n, place in zip(sides, places, strict=True)))]


@dataclass
class Totals:
    """Cycles of all layers; accesses by memory and direction, and inside the array."""

    cycles: Any
    busy_cycles: Any
    accesses: dict[tuple[str, bool], Any]
    inside: dict[Place, Any]


def totals(plan: Plan, machine: Hardware, box: Box) -> Totals:
    """Return the sums over all layers on the machines in ``box``."""
    where = setting(plan.qnet, machine, plan.computing, FREE)
    times = Counter(keys := [_key(step, where) for step in plan.steps])
    words_of: dict[tuple[str, bool, int], Any] = defaultdict(int)
    total = Totals(0, 0, defaultdict(int), defaultdict(int))
    for key, step in dict(zip(keys, plan.steps, strict=True)).items():
        step, moved = _moved(plan, step, where, box)
        for access in (access for transfer in moved for access in transfer.accesses):
            place = access.store.name, access.writes, access.bits
            words_of[place] = words_of[place] + times[key] * access.words
        for one in inside_accesses(step.on.path, step.on.schedule, machine) if step.on else ():
            total.inside[one.place] = total.inside[one.place] + times[key] * one.count
        busy = sum(busy_cycles(step, machine, where))
        total.busy_cycles = total.busy_cycles + times[key] * busy
        total.cycles = total.cycles + times[key] * port_cycles(moved).layer_cycles(busy, whole)
    stores = {store.name: store for store in (*where.stores, where.dram)}
    for (name, write, bits), number in words_of.items():
        total.accesses[name, write] = total.accesses[name, write] + number * stores[name].accesses(bits)
    return total


def _moved(plan: Plan, step: Step, where: Setting, box: Box) -> tuple[Step, tuple[Transfer, ...]]:
    """Return a layer with its schedule on the machines in ``box``, and what it moves there."""
    name = step.node.name
    if step.on is None:
        return step, transfers(step, where, ())
    schedule = Schedule(**{field: cut(value, box) for field, value in vars(plan.schedules[name]).items()})
    step = replace(step, on=replace(step.on, schedule=schedule))
    return step, transfers(step, where, plan.placed[name].cut(box))


def _key(step: Step, where: Setting) -> tuple[Any, ...]:
    """Return what decides a layer's moves and cycles: layers of one key are equal."""
    node, name, on = step.node, step.node.name, step.on
    loops = on and (on.element, on.nest, on.path.x.bits, on.path.w.bits, on.path.accumulator.format.bits)
    edges = [
        (_size(edge, where), edge in where.residency.in_flight, where.stored_words(edge), _mask(where.stays(edge)))
        for edge in node.inputs
    ]
    made_of = stored_bits(where.sources(node.inputs[0]), where.qnet) if node.inputs else 0
    own = _size(name, where), name in where.residency.in_flight, _mask(where.residency.stays.get(name, False))
    return loops, name in where.computing, tuple(edges), made_of, own


def _size(edge: str, where: Setting) -> tuple[int, int]:
    return words(where.qnet.tensors[edge].shape), edge_bits(where.qnet, edge)


def _mask(stays: Any) -> Any:
    return (stays.shape, stays.tobytes()) if isinstance(stays, np.ndarray) else stays
