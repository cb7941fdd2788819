"""Placement: the tiles that every memory level holds of one layer, searched level by level from DRAM inward.

Within a level all tile sizes and orders of :mod:`addersim.tiling` are compared at once, as arrays; every tile is then
a layer of its own for the level inside, which is filled anew for each. Groups follow one another.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, get_args

import numpy as np

from addersim.errors import InputError
from addersim.hardware.machine import ROLES, Role
from addersim.loops import LoopNest
from addersim.runs import Array, Pieces, merged, sums
from addersim.stores import Level, Store, levels, outside
from addersim.tiling import AXES, ORDERS, Crossing, Tiles, candidates, crossings, group_of_batch, parts, room

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
        Words that the dataflow moves at the array's edge if the layer runs as a whole: ``sums`` are written there and
        read back.
    busy_cycles
        Cycles that the layer then takes if nothing has to be waited for.
    pinned
        Bits that an operand occupies for good in the outermost memory that holds it: whole edges that stay between
        layers, weights that stay between images; 0 where it does not stay. Nothing crosses for what stays.
    runs
        The array, which runs each tile of the innermost level as a layer of its own; ``None``: tiles have no bearing
        on it, but for the sums that leave it where they cut the input channels.
    inside_pj
        Energy of a word that the array moves inside, by the schedule's fields.
    """

    nest: LoopNest
    widths: Widths
    array: Crossing
    busy_cycles: int
    pinned: tuple[tuple[Role, Any], ...] = ()
    runs: Array | None = None
    inside_pj: tuple[tuple[str, float], ...] = ()


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
def place(
    layer: Layer, stores: tuple[Store, ...], dram: Store, objective: Objective
) -> tuple[tuple[Placed, ...], Pieces]:
    """Return the tiles of every level from DRAM inward, and those of the innermost one as layers of their own.

    Parameters
    ----------
    stores
        From the array outwards.
    objective
        What one level after the other minimises: ``"energy"`` of all accesses on both sides of the boundary, and
        of the array's own, tile by tile, at the innermost level; ``"latency"``, the longest of the array and the
        transfers, or their sum where a memory does not overlap; ``"product"`` of both; ``"traffic"``, bits across
        the boundary.
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
        tiles, words = search.best(objective)
        found.append(Placed(level, tiles, words))
        pieces = _inside(pieces, tiles)
    return tuple(found), merged(pieces.items())


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


@dataclass(frozen=True)
class _Search:
    """All candidates of one level; ``pieces`` are the tiles of the level outside."""

    layer: Layer
    level: Level
    stores: Sequence[Store]
    dram: Store
    pieces: Counter[LoopNest]

    def best(self, objective: Objective) -> tuple[Tiles, Crossing]:
        """Return the best tiles and what crosses with them."""
        largest = max(self.pieces, key=lambda nest: (nest.taps, nest.inputs))
        tiles = candidates(largest)
        fits, volume = self._fits(tiles), tiles.N * tiles.K * tiles.C * tiles.P * tiles.Q
        words = self._crossings(largest)
        array_pj, busy = (np.broadcast_to(of, fits.shape) for of in self._array(tiles, largest))
        first = np.where(fits, self.figure(objective, words, array_pj, busy), np.inf)
        ties = np.nonzero(first == first.min())
        tied = Crossing(*(np.broadcast_to(getattr(words, name), first.shape)[ties] for name in FIELDS))
        instead: Objective = "latency" if objective == "energy" else "energy"
        second = self.figure(instead, tied, array_pj[ties[1:]], busy[ties[1:]])
        best = np.argmax(np.where(second == np.min(second), volume[ties[1:]], 0))
        order, *index = (int(axis[best]) for axis in ties)
        size = {axis: int(getattr(tiles, axis).flat[place]) for axis, place in zip(AXES, index, strict=True)}
        crossed = Crossing(*(int(getattr(tied, name)[best]) for name in FIELDS))
        return Tiles(order=tuple(ORDERS.values())[order], **size), crossed

    def figure(self, objective: Objective, words: Crossing, array_pj: Any, busy: Any) -> Any:
        """Return what is minimised; ``array_pj`` and ``busy`` are energy and cycles of the array."""
        if objective == "product":
            return self.figure("energy", words, array_pj, busy) * self.figure("latency", words, array_pj, busy)
        flows = self.flows(words)
        if objective == "latency":
            return self._cycles(flows, busy)
        if objective == "traffic":
            return sum(flow.count * flow.bits for flow in flows)
        return sum(flow.energy_pj for flow in flows) + array_pj

    def _crossings(self, space: LoopNest) -> Crossing:
        """Return what crosses for all pieces together, in every order; zero for operands not held, or pinned."""
        total = Crossing(0, 0, 0, 0)
        for nest, times in self.pieces.items():
            total += crossings(nest, space).times(times)
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

    def _array(self, tiles: Tiles, space: LoopNest) -> tuple[Any, Any]:
        """Return energy and cycles of the array, tile by tile at the innermost level."""
        layer = self.layer
        if layer.runs is None or self.stores[0] not in self.level:
            return self._array_sums(tiles), layer.busy_cycles
        prices = (*self._edge_pj(), *layer.inside_pj)
        names = "cycles", *(name for name, _ in prices)
        energy_pj: Any = self._outputs_pj()
        cycles: Any = 0
        for nest, times in merged(self.pieces.items()):
            found = sums(layer.runs, nest, space, names)
            energy_pj = energy_pj + times * sum(found[name] * pj for name, pj in prices)
            cycles = cycles + times * found["cycles"]
        return energy_pj, cycles

    def _near(self, role: Role) -> Store:
        return next((store for store in self.stores if role in store.holds), self.dram)

    def _edge_pj(self) -> tuple[tuple[str, float], ...]:
        """Return the energy of a word at the array's edge; what is written there is a sum, and read back."""
        inputs, weights, outputs = map(self._near, ROLES)
        return (
            ("input_reads", inputs.accesses(self.layer.widths.inputs) * inputs.read_pj),
            ("weight_reads", weights.accesses(self.layer.widths.weights) * weights.read_pj),
            ("output_writes", outputs.accesses(self.layer.widths.sums) * (outputs.read_pj + outputs.write_pj)),
        )

    def _outputs_pj(self) -> float:
        """Return what finished outputs cost more than sums, of which there are as many fewer."""
        store, widths = self._near("outputs"), self.layer.widths
        finished = store.accesses(widths.outputs) * store.write_pj
        return float(self.layer.nest.outputs * (finished - dict(self._edge_pj())["output_writes"]))

    def _array_sums(self, tiles: Tiles) -> Any:
        """Return the energy of partial sums that leave the array and come back because C is cut."""
        store, outputs = self._near("outputs"), self.layer.nest.outputs
        written = sum(nest.outputs * times * tiles.trips(nest)["C"] for nest, times in self.pieces.items())
        more = np.maximum(written - outputs - self.layer.array.sums, 0)
        return more * (store.accesses(self.layer.widths.sums) * (store.read_pj + store.write_pj))

    def _cycles(self, flows: list[_Flow], busy: Any) -> Any:
        longest, waiting = busy, 0
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
