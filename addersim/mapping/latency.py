"""Latency: how long the ports of the memories take for a layer's moves, and which of them the array waits for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from addersim.hardware import Element, Hardware
from addersim.mapping.steps import Step
from addersim.mapping.traffic import Setting
from addersim.mapping.transfers import Transfer, layer_cycles, port_cycles, whole


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
        """Cycles of the layer: :func:`addersim.mapping.transfers.layer_cycles`."""
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


def layer_run(step: Step, moved: Iterable[Transfer], machine: Hardware, where: Setting, tiles: str = "") -> LayerRun:
    """Return how long a layer takes with what it moves."""
    ports = port_cycles(moved)
    hidden = {name: whole(cycles) for name, cycles in ports.hidden.items()}
    cycles = *busy_cycles(step, machine, where), hidden, ports.by_slowest()
    if step.on is None:
        return LayerRun(step.node.name, None, *cycles, 0.0)
    return LayerRun(step.node.name, step.on.element, *cycles, step.on.schedule.utilisation, step.on.nest.taps, tiles)


def busy_cycles(step: Step, machine: Hardware, where: Setting) -> tuple[Any, Any]:
    """Return the cycles of a layer on the array and on the vector lanes."""
    if step.on is not None:
        return step.on.schedule.cycles + machine.pipeline_stages - 1, 0
    if step.node.name not in where.computing:
        return 0, 0
    longest = max(where.words(edge) for edge in (*step.node.inputs, step.node.name))
    return 0, -(-longest // machine.vector.lanes)
