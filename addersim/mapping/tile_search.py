"""The search of one memory level: all tile sizes and orders of :mod:`addersim.mapping.tiles` compared at once.

What is compared does not depend on the memories' sizes, so machines that differ in sizes share it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np

from addersim.errors import InputError
from addersim.hardware.machine import ROLES, Role
from addersim.mapping.array_runs import Array, Pieces, merged, sums
from addersim.mapping.memories import Level, Store
from addersim.mapping.tiles import (
    AXES,
    ORDERS,
    Crossing,
    Tiles,
    candidates,
    crossing,
    crossings,
    group_of_batch,
    parts,
    room,
)
from addersim.mapping.transfers import Widths, array_transfers, level_transfers, port_cycles
from addersim.network.loops import LoopNest

FIELDS = ("inputs", "weights", "outputs", "sums")  # of a crossing
Objective = Literal["traffic", "energy", "latency", "product"]
OBJECTIVES: tuple[Objective, ...] = get_args(Objective)


class TooSmall(InputError):
    """A buffer has no room for any tile; the message names it, its operands and the smallest size that works."""


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
class LevelSearch:
    """All candidates of one level, whatever its memories' sizes; ``pieces`` are the tiles of the level outside."""

    layer: Layer
    level: Level
    stores: Sequence[Store]
    dram: Store
    pieces: Pieces
    objective: Objective

    def best(self, rooms_bits: tuple[int, ...]) -> tuple[Tiles, Crossing, Pieces]:
        """Return the best tiles that fit memories with that room, what crosses, and the pieces that they make.

        Raises
        ------
        TooSmall
            If none fit.
        """
        if rooms_bits not in self._known:
            tiles = self._best(self._fits(rooms_bits))
            self._known[rooms_bits] = tiles, self.crossing(tiles), self._cut(tiles)
        return self._known[rooms_bits]

    @cached_property
    def _known(self) -> dict[tuple[int, ...], tuple[Tiles, Crossing, Pieces]]:
        return {}

    def _best(self, fits: Any) -> Tiles:
        if self.objective == "traffic" and fits.flat[-1]:  # whole pieces: no other tile lets fewer words cross
            return self._sized([-1] * len(AXES), ORDERS["outputs"])
        least = np.where(fits, self._least, np.inf)
        at = np.nonzero(least == least.min())
        order, number = np.nonzero(self._first[:, *at] == least.min())
        ties = (order, *(axis[number] for axis in at))
        best = 0
        if len(order) > 1:
            tied = Crossing(*(np.broadcast_to(getattr(self._words, name), self._first.shape)[ties] for name in FIELDS))
            inside = self._inside.at(ties[1:], least.shape)
            second = self._figure("latency" if self.objective == "energy" else "energy", tied, inside)
            best = int(np.argmax(np.where(second == np.min(second), self._volume[ties[1:]], 0)))
        return self._sized([axis[best] for axis in ties[1:]], tuple(ORDERS.values())[order[best]])

    def _sized(self, places: Sequence[int], order: str) -> Tiles:
        N, K, C, P, Q = (int(getattr(self._tiles, axis).flat[at]) for axis, at in zip(AXES, places, strict=True))
        return Tiles(K, C, P, Q, order, N)

    @cached_property
    def _space(self) -> LoopNest:
        return max((nest for nest, _ in self.pieces), key=lambda nest: (nest.taps, nest.inputs))

    @cached_property
    def _tiles(self) -> Tiles:
        return candidates(self._space)

    @cached_property
    def _volume(self) -> Any:
        tiles = self._tiles
        return tiles.N * tiles.K * tiles.C * tiles.P * tiles.Q

    @cached_property
    def _words(self) -> Crossing:
        return self._held(*(crossings(nest, self._space).times(times) for nest, times in self.pieces))

    @cached_property
    def _first(self) -> Any:
        figure = self._figure(self.objective, self._words, self._inside)
        return np.broadcast_to(figure, (len(ORDERS), *self._volume.shape)).astype(float)

    @cached_property
    def _least(self) -> Any:
        """The figure of the best order; what room tiles need does not hang on the order."""
        return self._first.min(axis=0)

    def _figure(self, objective: Objective, words: Crossing, inside: _Inside) -> Any:
        """Return what is minimised."""
        if objective == "product":
            return self._figure("energy", words, inside) * self._figure("latency", words, inside)
        moved = level_transfers(words, self.layer.widths, self.level, self.stores, self.dram)
        if objective == "traffic":
            return sum(one.words * one.bits for one in moved)
        moved += array_transfers(inside.words, self.layer.widths, self.stores, self.dram)
        if objective == "latency":
            return port_cycles(moved).layer_cycles(inside.cycles)
        return sum(one.energy_pj for one in moved) + inside.energy_pj

    def crossing(self, tiles: Tiles) -> Crossing:
        """Return what crosses for all pieces together; zero for operands not held, or pinned."""
        return self._held(*(crossing(nest, tiles).times(times) for nest, times in self.pieces))

    def _held(self, *of_pieces: Crossing) -> Crossing:
        total = sum(of_pieces, Crossing(0, 0, 0, 0))
        # every part of C writes its outputs once; only the last of these writes is the finished word
        again = total.outputs - self.layer.nest.outputs
        words = Crossing(total.inputs, total.weights, self.layer.nest.outputs, total.sums + again)
        return without_pinned(self.layer, self.level, self.stores, words)

    def _cut(self, tiles: Tiles) -> Pieces:
        """Return the pieces of the level inside, or as the array sees them."""
        found: Counter[LoopNest] = Counter()
        for nest, times in self.pieces:
            for part, count in parts(nest, tiles).items():
                found[part] += times * count
        return merged(found.items()) if self.stores[0] in self.level else tuple(found.items())

    @cached_property
    def _inside(self) -> _Inside:
        """What the array does, tile by tile at the innermost level."""
        layer, outputs = self.layer, self.layer.nest.outputs
        if layer.runs is None or self.stores[0] not in self.level:
            return _Inside(Crossing(0, 0, 0, self._more_sums()), layer.busy_cycles, 0.0)
        names = ("cycles", "input_reads", "weight_reads", "output_writes", *dict(layer.inside_pj))
        total: dict[str, Any] = dict.fromkeys(names, 0)
        for nest, times in merged(self.pieces):
            found = sums(layer.runs, nest, self._space, names)
            total = {name: total[name] + times * found[name] for name in names}
        words = Crossing(total["input_reads"], total["weight_reads"], outputs, total["output_writes"] - outputs)
        return _Inside(words, total["cycles"], sum((total[name] * pj for name, pj in layer.inside_pj), 0.0))

    def _more_sums(self) -> Any:
        """Return the partial sums that leave the array and come back because C is cut."""
        outputs = self.layer.nest.outputs
        written = sum(nest.outputs * times * self._tiles.trips(nest)["C"] for nest, times in self.pieces)
        return np.maximum(written - outputs - self.layer.array.sums, 0)

    @cached_property
    def _needs(self) -> list[Any]:
        """Bits that each memory of the level must have for each candidate."""
        rooms = [room(nest, self._tiles) for nest, _ in self.pieces]
        nest, widths = group_of_batch(self.layer.nest), self.layer.widths
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
        fits = np.ones((1,) * len(AXES), bool)
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
