"""Placement: the tiles that every memory level holds of one layer, searched level by level from DRAM inward.

Within a level all tile sizes and orders of :mod:`addersim.tiling` are compared at once, as arrays; every tile is then
a layer of its own for the level inside, which is filled anew for each. Groups follow one another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal, get_args

import numpy as np

from addersim.errors import InputError
from addersim.hardware.machine import ROLES, Role
from addersim.loops import LoopNest
from addersim.stores import Level, Store, levels, outside
from addersim.tiling import AXES, ORDERS, Crossing, Tiles, candidates, crossing, group_of_batch, parts, room

FIELDS = ("inputs", "weights", "outputs", "sums")  # of a crossing
Objective = Literal["energy", "latency", "product", "traffic"]
OBJECTIVES: tuple[Objective, ...] = get_args(Objective)


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


@dataclass(frozen=True)
class Placed:
    """One level and what crosses its outer boundary for the whole layer, zero for what is pinned.

    ``tiles`` is ``None`` where the fixed tiling of :mod:`addersim.passes` was used.
    """

    stores: tuple[Store, ...]
    tiles: Tiles | None
    crossing: Crossing

    def __str__(self) -> str:
        names, tiles = "+".join(store.name for store in self.stores), self.tiles
        if tiles is None:
            return names
        images = f"{tiles.N} N x " if tiles.N > 1 else ""
        return f"{names}: {images}{tiles.K} K x {tiles.C} C x {tiles.P} P x {tiles.Q} Q, {tiles.stays} stay"


@lru_cache(maxsize=4096)
def place(layer: Layer, stores: tuple[Store, ...], dram: Store, objective: Objective) -> tuple[tuple[Placed, ...], int]:
    """Return the tiles of every level from DRAM inward, and into how many parts they cut the input channels.

    Parameters
    ----------
    stores
        From the array outwards.
    objective
        What one level after the other minimises: ``"energy"`` of all accesses on both sides of the boundary,
        partial sums at the array included; ``"latency"``, the longest of the array and the transfers, or their
        sum where a memory does not overlap; ``"product"`` of both; ``"traffic"``, bits across the boundary.
        Ties are broken by the energy, for ``"energy"`` by the latency, then by the larger tile, which the levels
        inside profit from.

    Raises
    ------
    InputError
        If a memory is too small for any tile.
    """
    if objective not in OBJECTIVES:
        raise InputError(f"unknown tiling {objective!r}, expected one of {', '.join(OBJECTIVES)}")
    found: list[Placed] = []
    pieces = Counter({group_of_batch(layer.nest): layer.nest.groups})
    for level in levels(stores):
        search = _Search(layer, level, stores, dram, pieces)
        tiles = search.best(objective)
        found.append(Placed(level, tiles, search.crossing(tiles)))
        pieces = _inside(pieces, tiles)
    return tuple(found), sum(piece.outputs * times for piece, times in pieces.items()) // layer.nest.outputs


def _inside(pieces: Counter[LoopNest], tiles: Tiles) -> Counter[LoopNest]:
    found: Counter[LoopNest] = Counter()
    for nest, times in pieces.items():
        for part, count in parts(nest, tiles).items():
            found[part] += times * count
    return found


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
class _Search:
    """All candidates of one level; ``pieces`` are the tiles of the level outside."""

    layer: Layer
    level: Level
    stores: Sequence[Store]
    dram: Store
    pieces: Counter[LoopNest]

    def best(self, objective: Objective) -> Tiles:
        largest = max(self.pieces, key=lambda nest: (nest.taps, nest.inputs))
        tiles = candidates(largest)
        fits, volume = self._fits(tiles), tiles.N * tiles.K * tiles.C * tiles.P * tiles.Q
        words = _stacked([self.crossing(replace(tiles, order=order)) for order in ORDERS.values()])
        sums_pj = np.broadcast_to(self._array_sums(tiles), fits.shape)
        first = np.where(fits, self.figure(objective, words, sums_pj), np.inf)
        ties = np.nonzero(first == first.min())
        tied = Crossing(*(np.broadcast_to(getattr(words, name), first.shape)[ties] for name in FIELDS))
        second = self.figure("latency" if objective == "energy" else "energy", tied, sums_pj[ties[1:]])
        best = np.argmax(np.where(second == np.min(second), volume[ties[1:]], 0))
        order, *index = (int(axis[best]) for axis in ties)
        size = {axis: int(np.broadcast_to(getattr(tiles, axis), fits.shape)[tuple(index)]) for axis in AXES}
        return Tiles(order=tuple(ORDERS.values())[order], **size)

    def figure(self, objective: Objective, words: Crossing, sums_pj: Any) -> Any:
        """Return what is minimised; ``sums_pj`` is the energy of the array's partial sums."""
        if objective == "product":
            return self.figure("energy", words, sums_pj) * self.figure("latency", words, sums_pj)
        flows = self.flows(words)
        if objective == "latency":
            return self._cycles(flows)
        if objective == "traffic":
            return sum(flow.count * flow.bits for flow in flows)
        return sum(flow.energy_pj for flow in flows) + sums_pj

    def crossing(self, tiles: Tiles) -> Crossing:
        """Return what crosses for all pieces together; zero for operands not held, or pinned."""
        total = Crossing(0, 0, 0, 0)
        for nest, times in self.pieces.items():
            total += crossing(nest, tiles).times(times)
        # every part of C writes its outputs once; only the last of these writes is the finished word
        again = total.outputs - self.layer.nest.outputs
        words = Crossing(total.inputs, total.weights, self.layer.nest.outputs, total.sums + again)
        return without_pinned(self.layer, self.level, self.stores, words)

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

    def _array_sums(self, tiles: Tiles) -> Any:
        """Return the energy of partial sums that leave the array and come back because C is cut."""
        store = next((store for store in self.stores if "outputs" in store.holds), self.dram)
        outputs = self.layer.nest.outputs
        written = sum(nest.outputs * times * tiles.trips(nest)["C"] for nest, times in self.pieces.items())
        more = np.maximum(written - outputs - self.layer.array.sums, 0)
        return more * (store.accesses(self.layer.widths.sums) * (store.read_pj + store.write_pj))

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

    def _needs(self, tiles: Tiles) -> list[Any]:
        """Return the bits that each memory of the level must have for each candidate."""
        rooms = [room(nest, tiles) for nest in self.pieces]
        nest, widths = group_of_batch(self.layer.nest), self.layer.widths
        outputs = np.where((tiles.C < nest.C) | (self.layer.array.sums > 0), widths.sums, widths.outputs)
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

    def _fits(self, tiles: Tiles) -> Any:
        needs = self._needs(tiles)
        shape = np.broadcast_shapes(*(np.shape(getattr(tiles, axis)) for axis in AXES))
        fits = np.ones(shape, bool)
        for store, need in zip(self.level, needs, strict=True):
            fits = fits & (need <= store.tile_bits)
        if fits.any():
            return fits
        for store, need in zip(self.level, needs, strict=True):
            if need.min() > store.tile_bits:
                least, factor = -(-int(need.min()) // 8), 2 if store.overlaps else 1
                raise InputError(
                    f"buffer {store.name!r} is too small for one tile; the smallest size that works has "
                    f"{least * factor} bytes"
                )
        raise InputError(f"buffers {', '.join(s.name for s in self.level)} are too small for one tile together")
