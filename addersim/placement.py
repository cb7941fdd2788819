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
from addersim.flows import Widths, cycles, flows_between, flows_of_array
from addersim.hardware.machine import ROLES, Role
from addersim.loops import LoopNest
from addersim.runs import Array, Pieces, merged, sums
from addersim.stores import Level, Store, levels
from addersim.tiling import AXES, ORDERS, Crossing, Tiles, candidates, crossings, group_of_batch, parts, room

FIELDS = ("inputs", "weights", "outputs", "sums")  # of a crossing
Objective = Literal["energy", "latency", "product", "traffic"]
OBJECTIVES: tuple[Objective, ...] = get_args(Objective)


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
        What one level after the other minimises: ``"energy"`` of all accesses on both sides of the boundary and, at
        the innermost level, of the array's own, tile by tile; ``"latency"``, the longest of the array and every port,
        with the transfers added for which it waits (:func:`addersim.flows.cycles`); ``"product"`` of both;
        ``"traffic"``, bits across the boundary. Levels outside take the array to run the layer as a whole.
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
class _Inside:
    """What the array does for all tiles: words at its edge, cycles, and the energy of words that stay inside."""

    words: Crossing
    cycles: Any
    energy_pj: Any

    def at(self, places: Any, shape: tuple[int, ...]) -> _Inside:
        """Return the part of arrays of that shape."""
        cut = [np.broadcast_to(of, shape)[places] for of in (*vars(self.words).values(), self.cycles, self.energy_pj)]
        return _Inside(Crossing(*cut[:4]), *cut[4:])


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
        inside = self._inside(tiles, largest)
        first = np.where(fits, self.figure(objective, words, inside), np.inf)
        ties = np.nonzero(first == first.min())
        tied = Crossing(*(np.broadcast_to(getattr(words, name), first.shape)[ties] for name in FIELDS))
        instead: Objective = "latency" if objective == "energy" else "energy"
        second = self.figure(instead, tied, inside.at(ties[1:], fits.shape))
        best = np.argmax(np.where(second == np.min(second), volume[ties[1:]], 0))
        order, *index = (int(axis[best]) for axis in ties)
        size = {axis: int(getattr(tiles, axis).flat[place]) for axis, place in zip(AXES, index, strict=True)}
        crossed = Crossing(*(int(getattr(tied, name)[best]) for name in FIELDS))
        return Tiles(order=tuple(ORDERS.values())[order], **size), crossed

    def figure(self, objective: Objective, words: Crossing, inside: _Inside) -> Any:
        """Return what is minimised."""
        if objective == "product":
            return self.figure("energy", words, inside) * self.figure("latency", words, inside)
        flows = flows_between(words, self.layer.widths, self.level, self.stores, self.dram)
        if objective == "traffic":
            return sum(flow.count * flow.bits for flow in flows)
        flows += flows_of_array(inside.words, self.layer.widths, self.stores, self.dram)
        if objective == "latency":
            return cycles(flows, inside.cycles)
        return sum(flow.energy_pj for flow in flows) + inside.energy_pj

    def _crossings(self, space: LoopNest) -> Crossing:
        """Return what crosses for all pieces together, in every order; zero for operands not held, or pinned."""
        total = Crossing(0, 0, 0, 0)
        for nest, times in self.pieces.items():
            total += crossings(nest, space).times(times)
        # every part of C writes its outputs once; only the last of these writes is the finished word
        again = total.outputs - self.layer.nest.outputs
        words = Crossing(total.inputs, total.weights, self.layer.nest.outputs, total.sums + again)
        return without_pinned(self.layer, self.level, self.stores, words)

    def _inside(self, tiles: Tiles, space: LoopNest) -> _Inside:
        """Return what the array does, tile by tile at the innermost level."""
        layer, outputs = self.layer, self.layer.nest.outputs
        if layer.runs is None or self.stores[0] not in self.level:
            return _Inside(Crossing(0, 0, 0, self._more_sums(tiles)), layer.busy_cycles, 0.0)
        names = ("cycles", "input_reads", "weight_reads", "output_writes", *dict(layer.inside_pj))
        total: dict[str, Any] = dict.fromkeys(names, 0)
        for nest, times in merged(self.pieces.items()):
            found = sums(layer.runs, nest, space, names)
            total = {name: total[name] + times * found[name] for name in names}
        words = Crossing(total["input_reads"], total["weight_reads"], outputs, total["output_writes"] - outputs)
        return _Inside(words, total["cycles"], sum((total[name] * pj for name, pj in layer.inside_pj), 0.0))

    def _more_sums(self, tiles: Tiles) -> Any:
        """Return the partial sums that leave the array and come back because C is cut."""
        outputs = self.layer.nest.outputs
        written = sum(nest.outputs * times * tiles.trips(nest)["C"] for nest, times in self.pieces.items())
        return np.maximum(written - outputs - self.layer.array.sums, 0)

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
