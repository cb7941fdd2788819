"""Latency: how long the ports of the memories take for a layer's moves, and which of them the array waits for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any, TypeAlias

import numpy as np

from addersim.broadcast import plain
from addersim.charges import LayerRun
from addersim.hardware import Hardware
from addersim.traffic import Move, Setting, Step

RULES = (
    "a layer takes the longest of the array with the vector lanes, every buffer's port and the DRAM port; what crosses "
    "into or out of a buffer that is not double buffered is not hidden behind the array and is added",
    "a transfer takes the longer of the two ports it passes",
    "output stages overlap the array; pooling, residual additions and batch norms without a layer in front follow on "
    "the vector lanes, one word of their longest edge per lane and cycle, whatever the window",
    "layers follow one another; nothing is fetched ahead for the next one",
)


Cycles: TypeAlias = dict[str, Any]


def run(step: Step, moves: Iterable[Move], machine: Hardware, on: Setting, tiles: str = "") -> LayerRun:
    """Return how long a layer takes with its moves."""
    hidden, crossing = port_cycles(moves, on)
    waiting = _booked(crossing)
    array, vector = busy_cycles(step, machine, on)
    if step.schedule is None or step.nest is None:
        return LayerRun(step.node.name, None, array, vector, hidden, waiting, 0.0)
    used = step.schedule.utilisation
    return LayerRun(step.node.name, step.kind, array, vector, hidden, waiting, used, step.nest.taps, tiles)


def busy_cycles(step: Step, machine: Hardware, on: Setting) -> tuple[Any, Any]:
    """Return the cycles of a layer on the array and on the vector lanes."""
    node = step.node
    if step.schedule is not None:
        return step.schedule.cycles + machine.pipeline_stages - 1, 0
    if node.name not in on.computing:
        return 0, 0
    longest = max(on.words(edge) for edge in (*node.inputs, node.name))
    return 0, -(-longest // machine.vector.lanes)


def port_cycles(moves: Iterable[Move], on: Setting) -> tuple[Cycles, dict[str, Cycles]]:
    """Return the cycles of each memory's port that run beside the array, and those that it waits for.

    The latter by the buffer that a transfer fills or drains, which takes the longest of the ports there; not yet
    rounded up.
    """
    stores = {store.name: store for store in (*on.stores, on.dram)}
    hidden: Cycles = defaultdict(float)
    crossing: dict[str, Cycles] = defaultdict(lambda: defaultdict(float))
    for move in moves:
        cycles = stores[move.where].cycles(move.count, move.bits)
        if move.crosses_into is None or stores[move.crosses_into].overlaps:
            hidden[move.where] = hidden[move.where] + cycles
        else:
            ports = crossing[move.crosses_into]
            ports[move.where] = ports[move.where] + cycles
    return {name: whole(cycles) for name, cycles in hidden.items()}, crossing


def whole(cycles: Any) -> Any:
    """Return cycles rounded up, as integers."""
    return plain(np.ceil(cycles).astype(np.int64))


def _booked(crossing: dict[str, Cycles]) -> dict[str, int]:
    """Return the waiting cycles by memory, those of a transfer with the slower of its two."""
    waiting: dict[str, int] = defaultdict(int)
    for ports in crossing.values():
        slowest = max(ports, key=lambda name: ports[name])
        waiting[slowest] += whole(ports[slowest])
    return dict(waiting)
