"""Passes: the fixed tiling equals a walk over the parts, obeys the laws of traffic, broadcasts over machines."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_placement import DRAM, WIDTHS, separate, store
from test_tiling import LAYERS

from addersim.hardware.machine import ROLES
from addersim.loops import LoopNest
from addersim.passes import crossing_words, pass_by
from addersim.placement import Layer, place
from addersim.tiling import Crossing, Tiles, crossing, one_group

counts = st.integers(1, 200)


def walked(words: tuple[int, int], bits: tuple[int, int], room: tuple[int, int]) -> tuple[int, int]:
    """Return the words fetched: the better of keeping parts of the weights, or of the inputs, while the other runs by.

    What fits its memory is fetched once, whatever is kept part by part.
    """
    found = []
    for kept in (1, 0):
        other, moved = 1 - kept, [0, 0]
        held = False
        for start in range(0, words[kept] * bits[kept], room[kept]):
            moved[kept] += min(room[kept], words[kept] * bits[kept] - start) / bits[kept]
            if not held:
                moved[other] += words[other]
            held = words[other] * bits[other] <= room[other]
        found.append(tuple(moved))
    return min(found, key=lambda pair: pair[0] * bits[0] + pair[1] * bits[1])


@given(counts, counts, st.integers(1, 9), st.integers(1, 9), st.integers(1, 900), st.integers(1, 900))
def test_words_equal_a_walk_over_the_parts(i: int, w: int, i_bits: int, w_bits: int, i_room: int, w_room: int) -> None:
    bits, room, never = (i_bits, w_bits), (i_room, w_room), (1 << 40, 1 << 40)
    found = crossing_words((i, w), bits, room, never)
    want = walked((i, w), bits, room)
    total = sum(n * b for n, b in zip(found, bits, strict=True))
    assert total == pytest.approx(sum(n * b for n, b in zip(want, bits, strict=True)))


@given(
    nest=st.sampled_from(list(LAYERS.values())),
    small=st.tuples(*[st.integers(1, 2000)] * 4),
    more=st.tuples(*[st.integers(0, 2000)] * 4),
)
def test_laws_of_traffic(nest: LoopNest, small: tuple[int, ...], more: tuple[int, ...]) -> None:
    """At least the unique words cross, at most what the array reads; larger buffers never let more cross."""
    array = Crossing(nest.groups * nest.pixels * nest.depth, nest.weights * nest.pixels, nest.outputs, 0)
    layer = Layer(nest, WIDTHS, array, 1)
    one = one_group(nest)
    unique = crossing(one, Tiles(one.K, one.C, one.P, one.Q)).times(nest.groups)
    bits = []
    for sizes in (small, [a + b for a, b in zip(small, more, strict=True)]):
        stores = (*separate(*sizes[:3]), store("far", 3 * sum(sizes)))
        far, near = (placed.crossing for placed in pass_by(layer, stores))
        assert unique.inputs <= far.inputs <= near.inputs <= array.inputs
        assert unique.weights <= far.weights <= near.weights <= array.weights
        assert far.outputs == near.outputs == nest.outputs
        bits.append(WIDTHS.inputs * far.inputs + WIDTHS.weights * far.weights)
    assert bits[1] <= bits[0]


def test_many_machines_at_once_equal_one_by_one() -> None:
    rooms = np.arange(1, 2000, 7)[:, None], np.arange(1, 2000, 11)
    inputs, weights = crossing_words((150, 90), (8, 6), rooms, (700, 500))
    assert inputs.shape == weights.shape == (286, 182)
    for index in [(0, 0), (50, 3), (200, 100), (285, 181)]:
        room = int(rooms[0][index[0], 0]), int(rooms[1][index[1]])
        assert crossing_words((150, 90), (8, 6), room, (700, 500)) == (inputs[index], weights[index])


def test_levels_of_many_machines_at_once_equal_one_by_one() -> None:
    nest = LAYERS["grouped"]
    rng = np.random.default_rng(5)
    sizes, reads = rng.integers(1, 3000, (4, 50)), rng.integers(1, 5, (2, 50))

    def levels_of(near: Any, far: Any, inputs: Any, weights: Any) -> list[tuple[Any, Any]]:
        array = Crossing(nest.groups * nest.pixels * nest.depth * inputs, nest.weights * weights, 0, 0)
        stores = (*(store(role, size, (role,)) for role, size in zip(ROLES, near, strict=True)), store("far", far))
        return [(one.crossing.inputs, one.crossing.weights) for one in pass_by(Layer(nest, WIDTHS, array, 1), stores)]

    together = levels_of(sizes[:3], sizes[3], *reads)
    for i in range(50):
        alone = levels_of(sizes[:3, i], sizes[3, i], *reads[:, i])
        assert alone == [(inputs[i], weights[i]) for inputs, weights in together]


def test_images_follow_one_another() -> None:
    nest = LAYERS["padded"]
    one = Layer(nest, WIDTHS, Crossing(9999, 9999, nest.outputs, 0), 1)
    four = Layer(replace(nest, N=4), WIDTHS, Crossing(4 * 9999, 4 * 9999, 4 * nest.outputs, 0), 1)
    stores = separate(300, 60, 300)
    for (small,), (large,) in (
        (pass_by(one, stores), pass_by(four, stores)),
        (place(one, stores, DRAM, "energy")[0], place(four, stores, DRAM, "energy")[0]),
    ):
        assert large.crossing == small.crossing.times(4)


def test_what_is_pinned_does_not_cross() -> None:
    nest = LAYERS["padded"]
    pinned = (("inputs", 1), ("outputs", 1))
    (placed,) = pass_by(Layer(nest, WIDTHS, Crossing(9999, 9999, 0, 0), 1, pinned), separate(1, 10_000, 1))
    assert placed.crossing == Crossing(0, nest.weights, 0, 0)
