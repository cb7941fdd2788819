"""Tiling: words equal a walk over the tile loops, tile by tile, pixel by pixel; the search space misses nothing."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from walks import LAYERS, every, one_group, pixels, steps, walked, words_of

from addersim.mapping.tiles import (
    AXES,
    INDICES,
    ORDERS,
    Tiles,
    candidates,
    crossing,
    crossings,
    met,
    parts,
    room,
    sizes,
)
from addersim.network.loops import LoopNest

layers = pytest.mark.parametrize("nest", LAYERS.values(), ids=list(LAYERS))


def some(nest: LoopNest, count: int) -> list[tuple[int, int, int, int]]:
    found = list(every(nest))
    rng = np.random.default_rng(3)
    return [found[i] for i in rng.permutation(len(found))[:count]]


@layers
def test_words_equal_the_walk_in_every_order(nest: LoopNest) -> None:
    nest = one_group(nest)
    for tile in some(nest, 12):
        for order in map("".join, itertools.permutations("KCPQ")):
            tiles = Tiles(*tile, order)
            words = crossing(nest, tiles)
            found = words.inputs, words.weights, words.outputs + words.sums, words.sums
            assert found == walked(nest, tiles), tiles


@layers
def test_room_is_that_of_the_largest_tile(nest: LoopNest) -> None:
    nest = one_group(nest)
    for tile in some(nest, 20):
        tiles = Tiles(*tile)
        largest = {role: max(words_of(nest, role, at) for at in steps(nest, tiles)) for role in INDICES}
        assert room(nest, tiles) == largest, tiles


@layers
def test_no_tile_or_order_left_out_is_better(nest: LoopNest) -> None:
    """Every tile in every order is matched by a candidate that needs no more room and moves no more of anything."""
    nest = one_group(nest)
    space = candidates(nest)
    shape = np.broadcast_shapes(*(getattr(space, axis).shape for axis in "KCPQ"))
    kept = []
    for order in ORDERS.values():
        tiles = Tiles(space.K, space.C, space.P, space.Q, order)
        found = [*_moved(nest, tiles), *room(nest, tiles).values()]
        kept.append(np.stack([np.broadcast_to(one, shape).ravel() for one in found]))
    front = np.concatenate(kept, axis=1)
    for tile in some(nest, 150):
        for order in map("".join, itertools.permutations("KCPQ")):
            tiles = Tiles(*tile, order)
            want = np.array([*_moved(nest, tiles), *room(nest, tiles).values()])
            assert (front <= want[:, None]).all(axis=0).any(), tiles


def _moved(nest: LoopNest, tiles: Tiles) -> list[int]:
    words = crossing(nest, tiles)
    return [words.inputs, words.weights, words.sums]


@layers
def test_parts_are_the_tiles(nest: LoopNest) -> None:
    """Each part, as a layer of its own, has the taps and meets the inputs of the tiles that it stands for."""
    nest = one_group(nest)
    for tile in some(nest, 20):
        tiles = Tiles(*tile)
        want = Counter(
            (*(len(at[axis]) for axis in "KCPQ"), len(pixels(nest, at["P"], at["Q"]))) for at in steps(nest, tiles)
        )
        found = Counter()
        for part, times in parts(nest, tiles).items():
            met_inside = met(0, part, part.P)[0] * met(1, part, part.Q)[0]
            found[part.K, part.C, part.P, part.Q, int(met_inside)] += times
            assert len(pixels(part, range(part.P), range(part.Q))) == met_inside
        assert found == want


def in_batches(nest: LoopNest, count: int) -> list[Tiles]:
    """Return some tiles of three images of a layer, in some order each."""
    orders = list(map("".join, itertools.permutations("NKCPQ")))
    rng = np.random.default_rng(5)
    return [
        Tiles(*tile, orders[rng.integers(len(orders))], N=images) for tile in some(nest, count) for images in (1, 2, 3)
    ]


@layers
def test_batches_equal_the_walk(nest: LoopNest) -> None:
    nest = replace(one_group(nest), N=3)
    for tiles in in_batches(nest, 40):
        words = crossing(nest, tiles)
        found = words.inputs, words.weights, words.outputs + words.sums, words.sums
        assert found == walked(nest, tiles), tiles
        largest = {role: max(words_of(nest, role, at) for at in steps(nest, tiles)) for role in INDICES}
        assert room(nest, tiles) == largest, tiles
        want = Counter(tuple(len(at[axis]) for axis in AXES) for at in steps(nest, tiles))
        cut_up = Counter()
        for part, times in parts(nest, tiles).items():
            cut_up[tuple(getattr(part, axis) for axis in AXES)] += times
        assert cut_up == want, tiles


@layers
def test_no_tile_of_a_batch_left_out_is_better(nest: LoopNest) -> None:
    nest = replace(one_group(nest), N=3)
    space = candidates(nest)
    words = crossings(nest, nest)
    columns = [words.inputs, words.weights, words.sums, *room(nest, space).values()]
    shape = np.broadcast_shapes(*(np.shape(one) for one in columns))
    front = np.stack([np.broadcast_to(one, shape).ravel() for one in columns])
    for tiles in in_batches(nest, 100):
        want = np.array([*_moved(nest, tiles), *room(nest, tiles).values()])
        assert (front <= want[:, None]).all(axis=0).any(), tiles


@given(st.integers(1, 2000))
@settings(max_examples=50, deadline=None)
def test_sizes_are_the_smallest_of_each_trip_count(total: int) -> None:
    found = sizes(total)
    trips = [-(-total // int(tile)) for tile in found]
    assert sorted(set(trips), reverse=True) == trips
    assert {-(-total // tile) for tile in range(1, total + 1)} == set(trips)
    assert all(tile == 1 or -(-total // (tile - 1)) > n for tile, n in zip(found.tolist(), trips, strict=True))
    assert len(found) <= 2 * np.sqrt(total)


def test_the_operand_that_stays_is_the_one_the_innermost_loop_does_not_touch() -> None:
    assert all(Tiles(1, 1, 1, 1, order).stays == role for role, order in ORDERS.items())
