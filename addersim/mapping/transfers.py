"""Flows: words from one memory to another or to the array, what they cost and how long they take."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from addersim.hardware.machine import ROLES, Role
from addersim.mapping.memories import Level, Store, layer_cycles, outside
from addersim.mapping.tiles import Crossing

ARRAY = Store("array", ROLES, 0, 1, 0.0, 0.0, math.inf, overlaps=True)  # what it costs and takes is counted apart


@dataclass(frozen=True)
class Widths:
    """Bits of a layer's words: operands, finished outputs, partial sums."""

    inputs: int
    weights: int
    outputs: int
    sums: int


@dataclass(frozen=True)
class Flow:
    """``count`` words of ``bits`` bits from ``source`` to ``target``, to fill or drain ``into``."""

    into: Store
    source: Store
    target: Store
    count: Any
    bits: int

    @property
    def energy_pj(self) -> Any:
        """Energy of the accesses on both sides."""
        read, write = self.source.read_pj, self.target.write_pj
        return self.count * (self.source.accesses(self.bits) * read + self.target.accesses(self.bits) * write)


def flows_between(words: Crossing, widths: Widths, level: Level, stores: Sequence[Store], dram: Store) -> list[Flow]:
    """Return what crosses the outer boundary of a level."""
    found = []
    for store in level:
        for role in store.holds:
            found += _flows(role, words, widths, store, store, outside(role, level, stores, dram))
    return found


def flows_of_array(words: Crossing, widths: Widths, stores: Sequence[Store], dram: Store) -> list[Flow]:
    """Return what the array reads and writes in the memories next to it."""
    found = []
    for role in ROLES:
        near = next((store for store in stores if role in store.holds), dram)
        found += _flows(role, words, widths, ARRAY, ARRAY, near)
    return found


def _flows(role: Role, words: Crossing, widths: Widths, into: Store, inside: Store, out: Store) -> list[Flow]:
    count, bits = getattr(words, role), getattr(widths, role)
    if role != "outputs":
        return [Flow(into, out, inside, count, bits)]
    sums = [Flow(into, *way, words.sums, widths.sums) for way in ((inside, out), (out, inside))]
    return [Flow(into, inside, out, count, bits), *sums]


def cycles(flows: Sequence[Flow], busy: Any) -> Any:
    """Return the cycles of a layer whose array is ``busy`` as long: :func:`addersim.mapping.memories.layer_cycles`.

    What fills or drains a memory that does not overlap is waited for, as long as the slowest of its ports takes.
    """
    hidden: dict[str, Any] = defaultdict(float)
    waiting: dict[str, dict[str, Any]] = defaultdict(lambda: defaultdict(float))
    for flow in flows:
        ports = hidden if flow.into.overlaps else waiting[flow.into.name]
        for port in (flow.source, flow.target):
            if port is not ARRAY:
                ports[port.name] = ports[port.name] + port.cycles(flow.count, flow.bits)
    slowest = [np.maximum.reduce(np.broadcast_arrays(*ports.values())) for ports in waiting.values()]
    return layer_cycles(busy, list(hidden.values()), slowest)
