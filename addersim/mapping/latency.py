"""Latency: how long the ports of the memories take for a layer's moves, and which of them the array waits for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from addersim.hardware import Element, Hardware
from addersim.hardware.broadcast import plain
from addersim.mapping.memories import layer_cycles
from addersim.mapping.traffic import Move, Setting, Step


@dataclass(frozen=True)
class LayerRun:
    """How long one layer takes.

    Attributes
    ----------
    array
        The kind of elements that run its loop nest, ``None`` for pooling, residual additions, the input.
    array_cycles, vector_cycles
        On the array, on the vector lanes.
    hidden_cycles, waiting_cycles
        Memory to cycles of its port: those that run beside the array, and those for which it waits. Memories go by
        the name of the buffer, or ``"dram"``.
    utilisation
        Taps per element and array cycle.
    taps
        Innermost steps of the loop nest.
    tiles
        The tiles that each memory holds, of a layer on the array.
    """

    layer: str
    array: Element | None
    array_cycles: int
    vector_cycles: int
    hidden_cycles: Mapping[str, int]
    waiting_cycles: Mapping[str, int]
    utilisation: float
    taps: int = 0
    tiles: str = ""

    @property
    def cycles(self) -> int:
        """Cycles of the layer: :func:`addersim.mapping.memories.layer_cycles`."""
        busy = self.array_cycles + self.vector_cycles
        return int(layer_cycles(busy, list(self.hidden_cycles.values()), list(self.waiting_cycles.values())))

    @property
    def stall_cycles(self) -> int:
        """Cycles in which neither the array nor the vector lanes work."""
        return self.cycles - self.array_cycles - self.vector_cycles

    @property
    def memory_cycles(self) -> dict[str, int]:
        """Memory to all cycles of its port."""
        names = dict.fromkeys([*self.hidden_cycles, *self.waiting_cycles])
        return {name: self.hidden_cycles.get(name, 0) + self.waiting_cycles.get(name, 0) for name in names}

    @property
    def bound(self) -> str:
        """What takes longest: ``"compute"``, or the name of a memory; empty for a layer that takes no time."""
        times = {"compute": self.array_cycles + self.vector_cycles, **self.memory_cycles}
        return max(times, key=lambda name: times[name]) if any(times.values()) else ""


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
