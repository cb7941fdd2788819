"""Latency: how long the ports of the memories take for a layer's moves, and which of them the array waits for."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable

from addersim.charges import LayerRun
from addersim.hardware import Hardware
from addersim.ops import words
from addersim.traffic import Move, Setting, Step

RULES = (
    "a layer takes the longest of the array with the vector lanes, every buffer's port and the DRAM port; what crosses "
    "into or out of a buffer that is not double buffered is not hidden behind the array and is added",
    "a transfer takes the longer of the two ports it passes",
    "output stages overlap the array; pooling and residual additions follow on the vector lanes, one word per lane and "
    "cycle",
    "layers follow one another; nothing is fetched ahead for the next one",
)


def run(step: Step, moves: Iterable[Move], machine: Hardware, on: Setting, tiles: str = "") -> LayerRun:
    """Return how long a layer takes with its moves."""
    hidden, waiting = _port_cycles(moves, on)
    node, vector = step.node, 0
    if node.name in on.computing and step.schedule is None:
        longest = max(words(on.qnet.tensors[edge].shape) for edge in (*node.inputs, node.name))
        vector = -(-longest // machine.vector.lanes)
    if step.schedule is None or step.nest is None:
        return LayerRun(node.name, None, 0, vector, hidden, waiting, 0.0)
    array = step.schedule.cycles + machine.pipeline_stages - 1
    return LayerRun(node.name, step.kind, array, 0, hidden, waiting, step.schedule.utilisation, step.nest.taps, tiles)


def _port_cycles(moves: Iterable[Move], on: Setting) -> tuple[dict[str, int], dict[str, int]]:
    """Return the cycles of each memory's port that run beside the array, and those that it waits for.

    Waiting cycles are booked on the slower of the two memories of a transfer.
    """
    stores = {store.name: store for store in (*on.stores, on.dram)}
    hidden: dict[str, float] = defaultdict(float)
    crossing: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for move in moves:
        cycles = stores[move.where].cycles(move.count, move.bits)
        if move.crosses_into is None or stores[move.crosses_into].overlaps:
            hidden[move.where] += cycles
        else:
            crossing[move.crosses_into][move.where] += cycles
    waiting: dict[str, int] = defaultdict(int)
    for ports in crossing.values():
        slowest = max(ports, key=lambda name: ports[name])
        waiting[slowest] += math.ceil(ports[slowest])
    return {name: math.ceil(cycles) for name, cycles in hidden.items()}, dict(waiting)
