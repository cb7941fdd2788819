"""Transfers: words from one memory to another or to the array, the accesses they take, what these cost, how long.

The search of tiles and the bill of a layer lay out the same transfers and go by the same rule of the ports.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, NamedTuple

import numpy as np

from addersim.hardware.broadcast import plain
from addersim.hardware.machine import ROLES, Role
from addersim.mapping.memories import Level, Store, near, outside
from addersim.mapping.tiles import Crossing

COMPUTE = Store("compute", ROLES, 0, 1, 0.0, 0.0, math.inf, overlaps=True)  # array or vector lanes, counted apart


@dataclass(frozen=True)
class Widths:
    """Bits of a layer's words: operands, finished outputs, partial sums."""

    inputs: int
    weights: int
    outputs: int
    sums: int


class Access(NamedTuple):
    """Words of ``bits`` bits that are read from a memory or written to it; ``action`` says it for a bill."""

    store: Store
    writes: bool
    action: str
    words: Any
    bits: int


class Transfer(NamedTuple):
    """Words of ``bits`` bits from ``source`` to ``target``.

    ``inside`` is the one of them that is filled or drained: :data:`COMPUTE` where the words serve the array or the
    vector lanes.
    """

    what: str
    inside: Store
    source: Store
    target: Store
    words: Any
    bits: int

    @property
    def accesses(self) -> tuple[Access, ...]:
        """The accesses on both sides; what the array or the vector lanes do is counted elsewhere."""
        reads, writes = ("drain", "write") if self.inside is self.source else ("read", "fill")
        read = Access(self.source, False, f"{reads} {self.what}", self.words, self.bits)
        write = Access(self.target, True, f"{writes} {self.what}", self.words, self.bits)
        return tuple(access for access in (read, write) if access.store is not COMPUTE)

    @property
    def energy_pj(self) -> Any:
        """Energy of the accesses on both sides."""
        read, write = self.source.read_pj, self.target.write_pj
        return self.words * (self.source.accesses(self.bits) * read + self.target.accesses(self.bits) * write)


def into(inside: Store, beyond: Store, what: str, words: Any, bits: int) -> Transfer:
    """Return the transfer that fills ``inside`` from ``beyond``."""
    return Transfer(what, inside, beyond, inside, words, bits)


def out_of(inside: Store, beyond: Store, what: str, words: Any, bits: int) -> Transfer:
    """Return the transfer that drains ``inside`` to ``beyond``."""
    return Transfer(what, inside, inside, beyond, words, bits)


def level_transfers(
    words: Crossing, widths: Widths, level: Level, stores: Sequence[Store], dram: Store
) -> list[Transfer]:
    """Return what crosses the outer boundary of a level."""
    pairs = [(role, store, outside(role, level, stores, dram)) for store in level for role in store.holds]
    return [transfer for pair in pairs for transfer in _transfers(*pair, words, widths)]


def array_transfers(words: Crossing, widths: Widths, stores: Sequence[Store], dram: Store) -> list[Transfer]:
    """Return what the array reads and writes in the memories next to it."""
    pairs = [(role, COMPUTE, near(role, stores, dram)) for role in ROLES]
    return [transfer for pair in pairs for transfer in _transfers(*pair, words, widths)]


def _transfers(role: Role, inside: Store, beyond: Store, words: Crossing, widths: Widths) -> list[Transfer]:
    """Return the transfers of an operand; partial sums go out and come back."""
    count, bits = getattr(words, role), getattr(widths, role)
    if role != "outputs":
        return [into(inside, beyond, role, count, bits)]
    sums = "partial sums", words.sums, widths.sums
    return [out_of(inside, beyond, role, count, bits), out_of(inside, beyond, *sums), into(inside, beyond, *sums)]


@dataclass(frozen=True)
class PortCycles:
    """Cycles of the memories' ports for one layer.

    Attributes
    ----------
    hidden
        By memory: its cycles beside the array, for what the array reads and writes and for transfers into memories
        that are double buffered.
    waiting
        By the memory that is filled or drained and not double buffered: the cycles of every port on the way, the
        longest of which the array waits for.
    """

    hidden: Mapping[str, Any]
    waiting: Mapping[str, Mapping[str, Any]]

    def layer_cycles(self, busy: Any, rounding: Callable[[Any], Any] = lambda cycles: cycles) -> Any:
        """Return :func:`layer_cycles`, the longest of the ports of each transfer waited for, all of them rounded."""
        slowest = (reduce(np.maximum, ports.values()) for ports in self.waiting.values())
        return layer_cycles(busy, map(rounding, self.hidden.values()), map(rounding, slowest))

    def by_slowest(self) -> dict[str, int]:
        """Return the cycles waited for, rounded up, by the slower memory of every transfer; of one machine."""
        found: dict[str, int] = defaultdict(int)
        for ports in self.waiting.values():
            slowest = max(ports, key=lambda name: ports[name])
            found[slowest] += whole(ports[slowest])
        return dict(found)


def port_cycles(transfers: Iterable[Transfer]) -> PortCycles:
    """Return the cycles of every port that transfers pass, not yet rounded up."""
    hidden: dict[str, Any] = defaultdict(float)
    waiting: dict[str, dict[str, Any]] = defaultdict(lambda: defaultdict(float))
    for transfer in transfers:
        ports = hidden if transfer.inside.overlaps else waiting[transfer.inside.name]
        for store in (transfer.source, transfer.target):
            if store is not COMPUTE:
                ports[store.name] = ports[store.name] + store.cycles(transfer.words, transfer.bits)
    return PortCycles(hidden, waiting)


def layer_cycles(busy: Any, hidden: Iterable[Any], waiting: Iterable[Any]) -> Any:
    """Return the cycles of a layer: the longest of ``busy`` and of all ``hidden`` ones, and all ``waiting`` ones.

    Parameters
    ----------
    busy
        Cycles of the array and the vector lanes.
    hidden, waiting
        Cycles of ports beside the array, and of transfers for which the array waits: see :class:`PortCycles`.

    Examples
    --------
    >>> int(layer_cycles(100, [80, 120], [7])), layer_cycles(100, [np.array([80, 120])], [7]).tolist()
    (127, [107, 127])
    """
    return reduce(np.maximum, sorted(hidden, key=np.size), busy) + sum(waiting)


def whole(cycles: Any) -> Any:
    """Return cycles rounded up, as integers."""
    return plain(np.ceil(cycles).astype(np.int64))
