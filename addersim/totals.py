"""Totals: the cycles and accesses of one image on many machines at once, before any price.

Layers that move and compute the same are evaluated once, and placed once for every combination of memory sizes that
occurs.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from addersim.broadcast import Box
from addersim.counts import count
from addersim.dataflows import Dataflow
from addersim.evaluate import steps_on
from addersim.hardware import Hardware
from addersim.hardware.machine import Scratchpad
from addersim.hardware.numbers import checked, with_arrays
from addersim.latency import busy_cycles, port_cycles, whole
from addersim.network import Network
from addersim.ops import words
from addersim.placement import PlacedEach, place_each
from addersim.ports import accesses, layer_cycles
from addersim.quantized import QuantizedNetwork
from addersim.residency import edge_bits, stored_bits
from addersim.scratchpads import pad_accesses, with_scratchpads
from addersim.traffic import Setting, Step, array_moves, layer_of, setting, vector_moves


@dataclass(frozen=True)
class Plan:
    """A network on machines that differ in ``arrays``; ``machine`` has the arrays in place of its numbers.

    Attributes
    ----------
    placed
        The layers on arrays, by name.
    refused
        Why the first layer that has no room is refused, ``""`` on machines that can run all.
    """

    qnet: Network
    machine: Hardware
    arrays: Mapping[str, NDArray[Any]]
    dataflow: Dataflow
    steps: list[Step]
    computing: frozenset[str]
    placed: Mapping[str, PlacedEach]
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
    steps, flow = steps_on(placed, machine, dataflow), with_scratchpads(dataflow, machine)
    computing = frozenset(row.layer for row in count(placed).rows)
    machine = with_arrays(machine, arrays)
    on = setting(placed, machine, computing)
    found, refused = _placements([_scheduled(step, machine, flow) for step in steps], on)
    return Plan(placed, machine, arrays, flow, steps, computing, found, refused)


def _placements(steps: list[Step], on: Setting) -> tuple[dict[str, PlacedEach], Any]:
    """Return the layers on arrays, equal ones placed once, and why the first is refused."""
    known: dict[tuple[Any, ...], PlacedEach] = {}
    found, refused = {}, np.array("", object)
    for step in steps:
        if step.nest is None:
            continue
        key = _key(step, on)
        if key not in known:
            known[key] = place_each(layer_of(step, on), on.stores, on.dram)
            own = known[key].refused
            why = [one and f"layer {step.node.name!r}: {one}" for one in own.flat]
            refused = np.where(refused == "", np.array(why, object).reshape(own.shape), refused)
        found[step.node.name] = known[key]
    return found, refused


def _scheduled(step: Step, machine: Hardware, dataflow: Dataflow) -> Step:
    if step.nest is None or step.kind is None:
        return step
    return replace(step, schedule=dataflow(step.nest, *machine.array(step.kind)))


@dataclass
class Totals:
    """Cycles of all layers; accesses by memory and direction, and of scratchpads."""

    cycles: Any
    busy_cycles: Any
    accesses: dict[tuple[str, bool], Any]
    pads: dict[Scratchpad, Any]


def totals(plan: Plan, machine: Hardware, box: Box) -> Totals:
    """Return the sums over all layers on the machines in ``box``."""
    on = setting(plan.qnet, machine, plan.computing)
    times = Counter(keys := [_key(step, on) for step in plan.steps])
    words_of: dict[tuple[str, bool, int], Any] = defaultdict(int)
    total = Totals(0, 0, defaultdict(int), defaultdict(int))
    for key, step in dict(zip(keys, plan.steps, strict=True)).items():
        step = _scheduled(step, machine, plan.dataflow)
        if step.nest is None:
            moved = vector_moves(step.node, on)
        else:
            moved = array_moves(step, on, *plan.placed[step.node.name].cut(box))
        for move in moved:
            place = move.where, move.writes, move.bits
            words_of[place] = words_of[place] + times[key] * move.count
        for one in pad_accesses(step, machine):
            total.pads[one.pad] = total.pads[one.pad] + times[key] * one.count
        busy = sum(busy_cycles(step, machine, on))
        hidden, crossing = port_cycles(moved, on)
        waiting = [whole(reduce(np.maximum, ports.values())) for ports in crossing.values()]
        total.busy_cycles = total.busy_cycles + times[key] * busy
        total.cycles = total.cycles + times[key] * layer_cycles(busy, list(hidden.values()), waiting)
    word_bits = {"dram": 1, **{one.name: one.word_bits for one in machine.buffers}}
    for (where, write, bits), number in words_of.items():
        total.accesses[where, write] = total.accesses[where, write] + number * accesses(bits, word_bits[where])
    return total


def _key(step: Step, on: Setting) -> tuple[Any, ...]:
    """Return what decides a layer's moves and cycles: layers of one key are equal."""
    node, path, name = step.node, step.node.datapath, step.node.name
    widths = path and (path.x.bits, path.w.bits, path.accumulator.format.bits)
    edges = [
        (_size(edge, on), edge in on.residency.in_flight, on.stored_words(edge), _mask(on.stays(edge)))
        for edge in node.inputs
    ]
    made_of = stored_bits(on.sources(node.inputs[0]), on.qnet) if node.inputs else 0
    own = _size(name, on), name in on.residency.in_flight, _mask(on.residency.stays.get(name, False))
    return step.kind, step.nest, widths, name in on.computing, tuple(edges), made_of, own


def _size(edge: str, on: Setting) -> tuple[int, int]:
    return words(on.qnet.tensors[edge].shape), edge_bits(on.qnet, edge)


def _mask(stays: Any) -> Any:
    return (stays.shape, stays.tobytes()) if isinstance(stays, np.ndarray) else stays
