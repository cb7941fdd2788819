"""The search of one memory level: all tile sizes and orders of :mod:`addersim.tiling` compared at once, as arrays.

What is compared does not depend on the memories' sizes, so machines that differ in sizes share it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from addersim.errors import InputError
from addersim.hardware.machine import ROLES, Role
from addersim.loops import LoopNest
from addersim.stores import Level, Store, outside
from addersim.tiling import ORDERS, Crossing, Tiles, candidates, crossing, one_group, parts, room

FIELDS = ("inputs", "weights", "outputs", "sums")  # of a crossing
Objective = Literal["traffic", "energy", "latency", "product"]
OBJECTIVES: tuple[Objective, ...] = get_args(Objective)
Pieces: TypeAlias = tuple[tuple[LoopNest, int], ...]  # different tiles of the level outside, how often each comes


class TooSmall(InputError):
    """A buffer has no room for any tile; the message names it, its operands and the smallest size that works."""


@dataclass(frozen=True)
class Widths:
    """Bits of a layer's words: operands, finished outputs, partial sums."""

    inputs: int
    weights: int
    outputs: int
    sums: int


@dataclass(frozen=True)
class Layer:
    """One layer to be placed.

    Attributes
    ----------
    array
        Words that the dataflow moves at the array's edge: ``sums`` are written there and read back.
    busy_cycles
        Cycles that the layer takes if nothing has to be waited for.
    pinned
        Bits that an operand occupies for good in the outermost memory that holds it: whole edges that stay between
        layers, weights that stay between images; 0 where it does not stay. Nothing crosses for what stays.
    """

    nest: LoopNest
    widths: Widths
    array: Crossing
    busy_cycles: int
    pinned: tuple[tuple[Role, Any], ...] = ()


def is_pinned(layer: Layer, role: Role, store: Store, stores: Sequence[Store]) -> Any:
    """Return whether ``store`` is the outermost memory of an operand that stays there for good."""
    outermost = next(other for other in reversed(stores) if role in other.holds)
    return store is outermost and dict(layer.pinned).get(role, 0) > 0


def without_pinned(layer: Layer, level: Level, stores: Sequence[Store], words: Crossing) -> Crossing:
    """Return ``words`` with zeros for the operands that the level does not hold, or that stay there for good."""
    moving = {role: 1 - is_pinned(layer, role, store, stores) for store in level for role in store.holds}
    sums = words.sums * moving.get("outputs", 0)
    return Crossing(**{role: getattr(words, role) * moving.get(role, 0) for role in ROLES}, sums=sums)


@dataclass(frozen=True)
class _Flow:
    """``count`` words of ``bits`` bits from one memory to another, to fill or drain ``into``."""

    into: Store
    source: Store
    target: Store
    count: Any
    bits: int

    @property
    def energy_pj(self) -> Any:
        read, write = self.source.read_pj, self.target.write_pj
        return self.count * (self.source.accesses(self.bits) * read + self.target.accesses(self.bits) * write)

    def cycles(self, port: Store) -> Any:
        return port.cycles(self.count, self.bits)


def _stacked(crossings: Sequence[Crossing]) -> Crossing:
    """Return the words of several orders as arrays with an axis of the orders in front, and numbers as they are."""
    fields = [[getattr(one, name) for one in crossings] for name in FIELDS]
    return Crossing(*(np.stack(np.broadcast_arrays(*of)) if np.ndim(of[0]) else of[0] for of in fields))


@dataclass(frozen=True)
class LevelSearch:
    """All candidates of one level, whatever the sizes of its memories."""

    layer: Layer
    level: Level
    stores: Sequence[Store]
    dram: Store
    pieces: Pieces
    objective: Objective

    def best(self, rooms_bits: tuple[int, ...]) -> tuple[Tiles, Crossing]:
        """Return the best tiles that fit memories with that room, and what crosses.

        Raises
        ------
        TooSmall
            If none fit.
        """
        if rooms_bits not in self._known:
            tiles = self._best(self._fits(rooms_bits))
            self._known[rooms_bits] = tiles, self.crossing(tiles)
        return self._known[rooms_bits]

    @cached_property
    def _known(self) -> dict[tuple[int, ...], tuple[Tiles, Crossing]]:
        return {}

    def _best(self, fits: Any) -> Tiles:
        if fits.flat[-1]:  # a piece whole: nothing crosses twice, which no other tile betters in anything
            K, C, P, Q = (int(getattr(self._tiles, axis).flat[-1]) for axis in "KCPQ")
            return Tiles(K, C, P, Q)
        least = np.where(fits, self._least, np.inf)
        at = np.nonzero(least == least.min())
        order, number = np.nonzero(self._first[:, *at] == least.min())
        ties = (order, *(axis[number] for axis in at))
        best = 0
        if len(order) > 1:
            tied = Crossing(*(np.broadcast_to(getattr(self._words, name), self._first.shape)[ties] for name in FIELDS))
            second = self._figure("latency" if self.objective == "energy" else "energy", tied, self._extra_pj[ties])
            best = int(np.argmax(np.where(second == np.min(second), self._volume[ties[1:]], 0)))
        index = tuple(axis[best] for axis in ties[1:])
        K, C, P, Q = (int(np.broadcast_to(getattr(self._tiles, axis), least.shape)[index]) for axis in "KCPQ")
        return Tiles(K, C, P, Q, tuple(ORDERS.values())[order[best]])

    @cached_property
    def _tiles(self) -> Tiles:
        return candidates(max((nest for nest, _ in self.pieces), key=lambda nest: (nest.taps, nest.inputs)))

    @cached_property
    def _volume(self) -> Any:
        return self._tiles.K * self._tiles.C * self._tiles.P * self._tiles.Q

    @cached_property
    def _words(self) -> Crossing:
        return _stacked([self.crossing(replace(self._tiles, order=order)) for order in ORDERS.values()])

    @cached_property
    def _first(self) -> Any:
        figure = self._figure(self.objective, self._words, self._extra_pj)
        return np.broadcast_to(figure, (len(ORDERS), *self._volume.shape)).astype(float)

    @cached_property
    def _least(self) -> Any:
        """The figure of the best order; what room tiles need does not hang on the order."""
        return self._first.min(axis=0)

    def _figure(self, objective: Objective, words: Crossing, extra_pj: Any) -> Any:
        """Return what is minimised; ``extra_pj`` is the energy of what the array moves more because of the tiles."""
        if objective == "product":
            return self._figure("energy", words, extra_pj) * self._figure("latency", words, extra_pj)
        flows = self.flows(words)
        if objective == "latency":
            return self._cycles(flows)
        if objective == "traffic":
            return sum(flow.count * flow.bits for flow in flows)
        return sum(flow.energy_pj for flow in flows) + extra_pj

    def crossing(self, tiles: Tiles) -> Crossing:
        """Return what crosses for all pieces together; zero for operands not held, or pinned."""
        total = Crossing(0, 0, 0, 0)
        for nest, times in self.pieces:
            total += crossing(nest, tiles).times(times)
        # every part of C writes its outputs once; only the last of these writes is the finished word
        again = total.outputs - self.layer.nest.outputs
        words = Crossing(total.inputs, total.weights, self.layer.nest.outputs, total.sums + again)
        return without_pinned(self.layer, self.level, self.stores, words)

    def inside(self, tiles: Tiles) -> Pieces:
        """Return the pieces of the level inside."""
        found: Counter[LoopNest] = Counter()
        for nest, times in self.pieces:
            for part, count in parts(nest, tiles).items():
                found[part] += times * count
        return tuple(found.items())

    def visits(self, tiles: Tiles) -> Any:
        """Return how often an output is written by the parts of the input channels, over all outputs."""
        return sum(nest.outputs * times * tiles.trips(nest)["C"] for nest, times in self.pieces)

    def flows(self, words: Crossing) -> list[_Flow]:
        """Return the words that cross the level's boundary, from memory to memory."""
        widths, flows = self.layer.widths, []
        for store in self.level:
            for role in store.holds:
                out = outside(role, self.level, self.stores, self.dram)
                ends = (store, out) if role == "outputs" else (out, store)
                flows.append(_Flow(store, *ends, getattr(words, role), getattr(widths, role)))
                if role == "outputs":
                    flows += [_Flow(store, *way, words.sums, widths.sums) for way in ((store, out), (out, store))]
        return flows

    @cached_property
    def _extra_pj(self) -> Any:
        """Energy of what the array moves more because of the tiles.

        Partial sums that leave it and come back because C is cut; operands that come into the memory next to it more
        often than it would read them.
        """
        near = {role: next((s for s in self.stores if role in s.holds), self.dram) for role in ROLES}
        outputs, widths, array = self.layer.nest.outputs, self.layer.widths, self.layer.array
        more, store = np.maximum(self.visits(self._tiles) - outputs - array.sums, 0), near["outputs"]
        extra_pj = more * (store.accesses(widths.sums) * (store.read_pj + store.write_pj))
        for role in ("inputs", "weights"):
            more = getattr(self._words, role) - getattr(array, role)
            if np.max(more) > 0:
                access_pj = near[role].accesses(getattr(widths, role)) * near[role].read_pj
                extra_pj = extra_pj + np.maximum(more, 0) * access_pj
        return np.broadcast_to(extra_pj, (len(ORDERS), *self._volume.shape))

    def _cycles(self, flows: list[_Flow]) -> Any:
        longest, waiting = self.layer.busy_cycles, 0
        for store in self.level:
            mine = [flow for flow in flows if flow.into is store]
            ports = {end.name: end for flow in mine for end in (flow.source, flow.target)}
            times = [sum(f.cycles(port) for f in mine if port in (f.source, f.target)) for port in ports.values()]
            slowest = np.maximum.reduce(np.broadcast_arrays(*times))
            longest = np.maximum(longest, slowest) if store.overlaps else longest
            waiting = waiting if store.overlaps else waiting + slowest
        return longest + waiting

    @cached_property
    def _needs(self) -> list[Any]:
        """Bits that each memory of the level must have for each candidate."""
        rooms = [room(nest, self._tiles) for nest, _ in self.pieces]
        nest, widths = one_group(self.layer.nest), self.layer.widths
        outputs = np.where((self._tiles.C < nest.C) | (self.layer.array.sums > 0), widths.sums, widths.outputs)
        bits = {"inputs": widths.inputs, "weights": widths.weights, "outputs": outputs}
        found = []
        for store in self.level:
            need: Any = np.int64(0)
            for role in store.holds:
                if is_pinned(self.layer, role, store, self.stores):
                    need = need + dict(self.layer.pinned)[role]
                else:
                    need = need + np.maximum.reduce([one[role] for one in rooms]) * bits[role]
            found.append(need)
        return found

    def _fits(self, rooms_bits: tuple[int, ...]) -> Any:
        fits = np.ones((1, 1, 1, 1), bool)
        for has, need in zip(rooms_bits, self._needs, strict=True):
            fits = fits & (need <= has)
        if fits.any():
            return fits
        for store, has, need in zip(self.level, rooms_bits, self._needs, strict=True):
            if need.min() > has:
                raise TooSmall(
                    f"buffer {store.name!r} is too small for one tile of {', '.join(store.holds)}; the smallest size "
                    f"that works has {_size_bytes(store, need.min())} bytes"
                )
        missing = sum(np.maximum(need - has, 0) for has, need in zip(rooms_bits, self._needs, strict=True))
        nearest = [np.broadcast_to(need, missing.shape).flat[missing.argmin()] for need in self._needs]
        sizes = ", ".join(f"{s.name} {_size_bytes(s, need)}" for s, need in zip(self.level, nearest, strict=True))
        raise TooSmall(f"no tile fits all buffers; the smallest sizes that work together have {sizes} bytes")


def _size_bytes(store: Store, bits: int) -> int:
    return -(-int(bits) // 8) * (2 if store.overlaps else 1)
