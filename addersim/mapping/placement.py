"""Placement: the tiles that every memory level holds of one layer, searched level by level from DRAM inward.

Every tile of a level is a layer of its own for the level inside, which is filled anew for each. Groups follow one
another, and so do images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from addersim.errors import InputError
from addersim.hardware.broadcast import Box, cut, distinct
from addersim.mapping.array_runs import Pieces, merged
from addersim.mapping.memories import Level, Store, levels
from addersim.mapping.tile_search import FIELDS, OBJECTIVES, Layer, LevelSearch, Objective, TooSmall
from addersim.mapping.tiles import Crossing, Tiles, group_of_batch

_search = lru_cache(maxsize=8)(LevelSearch)  # machines that differ in sizes only come one after the other


@dataclass(frozen=True)
class Placed:
    """One level, its tiles, and what crosses its outer boundary for the whole layer, zero for what is pinned."""

    stores: Level
    tiles: Tiles
    crossing: Crossing

    def __str__(self) -> str:
        names, tiles = "+".join(store.name for store in self.stores), self.tiles
        images = f"{tiles.N} N x " if tiles.N > 1 else ""
        return f"{names}: {images}{tiles.K} K x {tiles.C} C x {tiles.P} P x {tiles.Q} Q, {tiles.stays} stay"


def place(
    layer: Layer, stores: Sequence[Store], dram: Store, objective: Objective
) -> tuple[tuple[Placed, ...], Pieces]:
    """Return the tiles of every level from DRAM inward, and those of the innermost one as layers of their own.

    Parameters
    ----------
    stores
        From the array outwards.
    objective
        What one level after the other minimises: ``"traffic"``, bits across the boundary, whatever an access costs
        and takes; ``"energy"`` of all accesses on both sides of the boundary and, at the innermost level, of the
        array's own, tile by tile; ``"latency"``, the longest of the array and every port, with the transfers added for
        which it waits (:func:`~addersim.mapping.transfers.layer_cycles`); ``"product"`` of both. Levels outside take
        the array to run the layer as a whole. Ties are broken by the energy (for ``"traffic"`` as if every bit cost the
        same, and without the array), for ``"energy"`` by the latency, then by the larger tile, which the levels inside
        profit from.

    Raises
    ------
    TooSmall
        If a memory is too small for any tile.
    InputError
        If the objective is none of these.
    """
    if objective not in OBJECTIVES:
        raise InputError(f"unknown tiling {objective!r}, expected one of {', '.join(OBJECTIVES)}")
    rooms_bits = tuple(store.tile_bits for store in stores)
    if objective == "traffic":
        found, pieces = _place(
            _with(layer, tuple(map(int, _hangs_on(layer)))), *_seen(stores, dram), objective, rooms_bits
        )
    else:
        sizeless = tuple(replace(store, tile_bits=0) for store in stores)
        found, pieces = _place(layer, sizeless, dram, objective, rooms_bits)
    return tuple(Placed(level, *one) for level, one in zip(levels(stores), found, strict=True)), pieces


def _seen(stores: Sequence[Store], dram: Store) -> tuple[tuple[Store, ...], Store]:
    """Return memories of no size at whose ports every bit costs the same."""
    same = [replace(s, tile_bits=0, word_bits=1, read_pj=1.0, write_pj=1.0, bits_per_cycle=1) for s in (*stores, dram)]
    return tuple(same[:-1]), same[-1]


@lru_cache(maxsize=1 << 14)
def _place(
    layer: Layer, stores: tuple[Store, ...], dram: Store, objective: Objective, rooms_bits: tuple[int, ...]
) -> tuple[tuple[tuple[Tiles, Crossing], ...], Pieces]:
    """Return tiles and crossing of every level, and the pieces; ``rooms_bits`` are those of the stores, sizeless."""
    found: list[tuple[Tiles, Crossing]] = []
    pieces: Pieces = ((group_of_batch(layer.nest), layer.nest.groups),)
    pieces = pieces if stores else merged(pieces)
    for level in levels(stores):
        search = _search(layer, level, stores, dram, pieces, objective)
        tiles, words, pieces = search.best(tuple(rooms_bits[stores.index(store)] for store in level))
        found.append((tiles, words))
    return tuple(found), pieces


@dataclass(frozen=True)
class PlacedEach:
    """:func:`place` on many machines at once: the words are arrays, with zeros where a machine is refused.

    Attributes
    ----------
    pieces, which
        The different pieces into which tiles cut the layer, and which of them each machine has.
    refused
        Why a machine has no room for any tile; ``""`` if it has.
    """

    crossings: tuple[Crossing, ...]
    pieces: tuple[Pieces, ...]
    which: Any
    refused: Any

    def cut(self, box: Box) -> list[Crossing]:
        """Return the crossings of the machines in ``box``."""
        return [Crossing(*(cut(getattr(one, name), box) for name in FIELDS)) for one in self.crossings]


def place_each(layer: Layer, stores: Sequence[Store], dram: Store) -> PlacedEach:
    """Return what :func:`place` finds for ``"traffic"`` where memory sizes, or what else it hangs on, are arrays.

    ``tile_bits`` of the stores, the pinned bits and the array's partial sums may be arrays that broadcast against each
    other; every combination that occurs is placed once.
    """
    # sizes from the outermost memory inwards, so that machines with the same tiles there follow one another
    rows, which = distinct(*map(np.int64, (*_hangs_on(layer), *(store.tile_bits for store in reversed(stores)))))
    seen, split = _seen(stores, dram), len(layer.pinned) + 1
    alone = {row[:split]: _with(layer, row[:split]) for row in rows}
    found = [_one(alone[row[:split]], *seen, row[: split - 1 : -1]) for row in rows]
    crossings = [
        Crossing(*(np.array([getattr(one[0][i], name) for one in found])[which] for name in FIELDS))
        for i in range(len(levels(stores)))
    ]
    known = {pieces: number for number, pieces in enumerate(dict.fromkeys(one[1] for one in found))}
    numbers, refused = np.array([known[one[1]] for one in found]), np.array([one[2] for one in found], object)
    return PlacedEach(tuple(crossings), tuple(known), numbers[which, ...], refused[which, ...])


def _hangs_on(layer: Layer) -> tuple[Any, ...]:
    """Return the numbers of a layer that the fewest bits hang on."""
    return *(bits for _, bits in layer.pinned), layer.array.sums > 0


def _with(layer: Layer, numbers: Sequence[int]) -> Layer:
    """Return a layer with these numbers, and nothing else that the fewest bits do not hang on."""
    pinned = tuple((role, bits) for (role, _), bits in zip(layer.pinned, numbers, strict=False))
    array = Crossing(0, 0, 0, numbers[-1])
    return replace(layer, array=array, busy_cycles=0, pinned=pinned, runs=None, inside_pj=())


def _one(
    layer: Layer, stores: tuple[Store, ...], dram: Store, rooms_bits: tuple[int, ...]
) -> tuple[tuple[Crossing, ...], Pieces, str]:
    """Return the crossings of every level, the pieces, and why there are none."""
    try:
        placed, pieces = _place(layer, stores, dram, "traffic", rooms_bits)
    except TooSmall as error:
        return (Crossing(0, 0, 0, 0),) * len(levels(stores)), merged([(layer.nest, 1)]), str(error)
    return tuple(words for _, words in placed), pieces, ""
