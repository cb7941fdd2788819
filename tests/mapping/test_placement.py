"""Placement: the search equals enumeration, levels equal a nested walk, buffers too small are refused."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from walks import LAYERS, every, one_group, walked

from addersim.errors import InputError
from addersim.mapping.array_runs import Array
from addersim.mapping.dataflows import DATAFLOWS
from addersim.mapping.memories import Store, levels, outside
from addersim.mapping.placement import Placed, place, place_each
from addersim.mapping.tile_search import FIELDS, Layer, Objective, TooSmall
from addersim.mapping.tiles import ORDERS, Crossing, Tiles, candidates, crossing, parts, room
from addersim.mapping.transfers import Widths
from addersim.network.loops import LoopNest

WIDTHS = Widths(inputs=8, weights=6, outputs=8, sums=20)
DRAM = Store("dram", ("inputs", "weights", "outputs"), 1 << 60, 1, 20.0, 20.0, 16.0, True)
ALL = ("inputs", "weights", "outputs")


def store(name: str, bits: int, holds: tuple[str, ...] = ALL, **changes: object) -> Store:
    return replace(Store(name, holds, bits, 64, 25.0, 30.0, 64.0, True), **changes)  # type: ignore[arg-type]


def separate(inputs: int, weights: int, outputs: int) -> tuple[Store, ...]:
    sizes = {"inputs": inputs, "weights": weights, "outputs": outputs}
    return tuple(store(name, bits, (name,)) for name, bits in sizes.items())


def whole(nest: LoopNest, **changes: object) -> Layer:
    return replace(Layer(nest, WIDTHS, Crossing(0, 0, 0, 0), 1), **changes)  # type: ignore[arg-type]


def bits_moved(words: Crossing) -> int:
    return 8 * words.inputs + 6 * words.weights + 8 * words.outputs + 2 * 20 * words.sums


def bits_needed(nest: LoopNest, tiles: Tiles) -> dict[str, int]:
    words = room(nest, tiles)
    out = 20 if tiles.C < nest.C else 8
    return {"inputs": 8 * words["inputs"], "weights": 6 * words["weights"], "outputs": out * words["outputs"]}


def costs(nest: LoopNest, tiles: Tiles, busy: int, array: float = 0.0) -> dict[Objective, float]:
    """Return what one group of a layer costs on one shared 64-bit buffer: energy, latency, product, traffic.

    ``array`` are the accesses of the array, but for sums that leave it because C is cut.
    """
    words = crossing(nest, tiles)
    traffic = bits_moved(words)
    again = (tiles.trips(nest)["C"] - 1) * nest.outputs / 3
    writes = words.inputs / 8 + words.weights / 10 + words.sums / 3
    reads = words.outputs / 8 + words.sums / 3
    energy = 20.0 * traffic + 25.0 * (reads + again) + 30.0 * (writes + again)
    latency = max(busy, traffic / 16, reads + writes + 2 * again + array)
    return {"energy": energy, "latency": latency, "product": energy * latency, "traffic": traffic}


@pytest.mark.parametrize("objective", ["energy", "latency", "product", "traffic"])
@pytest.mark.parametrize("name", ["plain", "wide padding", "strided", "dilated", "linear"])
def test_the_search_equals_enumeration_of_every_tile_and_order(name: str, objective: Objective) -> None:
    nest = LAYERS[name]
    busy = nest.taps // 3
    for bits in (900, 1500, 4000):
        best = np.inf
        for tile, order in itertools.product(every(nest), map("".join, itertools.permutations("KCPQ"))):
            tiles = Tiles(*tile, order)
            if sum(bits_needed(nest, tiles).values()) <= bits:
                best = min(best, costs(nest, tiles, busy)[objective])
        ((placed,), _) = place(whole(nest, busy_cycles=busy), (store("all", bits),), DRAM, objective)
        assert sum(bits_needed(nest, placed.tiles).values()) <= bits
        assert costs(nest, placed.tiles, busy)[objective] == pytest.approx(best)


@pytest.mark.parametrize("objective", ["energy", "latency", "product"])
@pytest.mark.parametrize("name", ["plain", "strided", "depthwise", "linear"])
@pytest.mark.parametrize("flow", ["weight_stationary", "row_stationary"])
def test_the_search_weighs_what_the_array_does_in_every_tile(flow: str, name: str, objective: Objective) -> None:
    nest, on = one_group(LAYERS[name]), Array(DATAFLOWS[flow], 3, 4, pipeline_stages=2)
    layer = whole(nest, runs=on, inside_pj=(("sum_hops", 7.0),))

    def cost(tiles: Tiles) -> float:
        pieces = parts(nest, tiles)
        run = on.run(tuple(pieces.items()))
        sums = run.output_writes - nest.outputs
        reads = 25.0 * (run.input_reads / 8 + run.weight_reads / 10 + sums / 3)
        array = reads + 30.0 * (sums / 3 + nest.outputs / 8) + 7.0 * run.sum_hops
        again = 55.0 * (tiles.trips(nest)["C"] - 1) * nest.outputs / 3
        port = run.input_reads / 8 + run.weight_reads / 10 + 2 * sums / 3 + nest.outputs / 8 - 2 * again / 55
        found = costs(nest, tiles, run.cycles + 1, port)
        energy = found["energy"] - again + array
        return {"energy": energy, "latency": found["latency"], "product": energy * found["latency"]}[objective]

    space = candidates(nest)
    for bits in (1500, 4000):
        best = np.inf
        for *tile, order in itertools.product(*(getattr(space, a).ravel().tolist() for a in "KCPQ"), ORDERS.values()):
            tiles = Tiles(*tile, order)
            if sum(bits_needed(nest, tiles).values()) <= bits:
                best = min(best, cost(tiles))
        ((placed,), pieces) = place(layer, (store("all", bits),), DRAM, objective)
        assert cost(placed.tiles) == pytest.approx(best)
        assert sum(times for _, times in pieces) == sum(parts(nest, placed.tiles).values())


def test_images_share_a_tile_of_weights() -> None:
    nest = replace(LAYERS["padded"], N=4)
    stores = (store("all", 4 * 8 * (nest.C * nest.H * nest.W + nest.K * nest.P * nest.Q) + 6 * 9 * nest.K * nest.C),)
    (placed,), _ = place(whole(nest), stores, DRAM, "traffic")
    assert (placed.tiles.N, placed.crossing.weights, placed.crossing.inputs) == (4, nest.weights, nest.inputs)


def nested(nest: LoopNest, levels: list[Tiles]) -> Counter[str]:
    """Return the words crossing into the innermost level, walked tile by tile, level by level, and outputs' visits."""
    if len(levels) == 1:
        inputs, weights, written, _ = walked(nest, levels[0])
        return Counter(inputs=inputs, weights=weights, written=written)
    found: Counter[str] = Counter()
    for part, times in parts(nest, levels[0]).items():
        for role, words in nested(part, levels[1:]).items():
            found[role] += times * words
    return found


@pytest.mark.parametrize("objective", ["energy", "traffic"])
@pytest.mark.parametrize("name", ["padded", "strided", "grouped", "depthwise", "dilated"])
def test_levels_equal_a_nested_walk(name: str, objective: Objective) -> None:
    nest = LAYERS[name]
    stores = (store("near", 260), store("far", 900))
    found, pieces = place(whole(nest), stores, DRAM, objective)
    assert [placed.stores[0].name for placed in found] == ["far", "near"]
    tiles = [placed.tiles for placed in found]
    for depth in (1, 2):
        want, words = nested(one_group(nest), tiles[:depth]), found[depth - 1].crossing
        got = words.inputs, words.weights, words.outputs + words.sums
        assert got == tuple(nest.groups * want[key] for key in ("inputs", "weights", "written"))
        assert words.outputs == nest.outputs
    visits = len(
        [c for start in range(0, nest.C // nest.groups, tiles[0].C) for c in
         range(start, min(start + tiles[0].C, nest.C // nest.groups), tiles[1].C)]
    )  # fmt: skip
    assert sum(piece.outputs * times for piece, times in pieces) == visits * nest.outputs
    assert sum(piece.taps * times for piece, times in pieces) == nest.taps


def test_levels_are_neighbours_that_hold_different_operands() -> None:
    near = separate(10, 10, 10)
    far = (store("far", 100), store("further", 100, ("inputs", "weights")))
    assert [tuple(s.name for s in level) for level in levels((*near, *far))] == [
        ("further",),
        ("far",),
        ("inputs", "weights", "outputs"),
    ]
    assert outside("outputs", (far[0],), (*near, *far), DRAM) is DRAM
    assert outside("inputs", (far[0],), (*near, *far), DRAM) is far[1]
    assert outside("outputs", near, (*near, *far), DRAM) is far[0]


def test_operands_that_are_not_held_do_not_cross() -> None:
    nest = LAYERS["padded"]
    (placed,), _ = place(whole(nest), (store("weights", 6 * 9, ("weights",)),), DRAM, "energy")
    assert (placed.crossing.inputs, placed.crossing.outputs, placed.crossing.sums) == (0, 0, 0)
    assert placed.crossing.weights == nest.weights


def test_what_is_pinned_does_not_cross_but_takes_room() -> None:
    nest = LAYERS["padded"]
    bits = 8 * nest.inputs + 8 * nest.outputs
    pinned = (("inputs", 8 * nest.inputs), ("outputs", 8 * nest.outputs))
    (placed,), _ = place(whole(nest, pinned=pinned), (store("all", bits + 6 * 18),), DRAM, "traffic")
    assert placed.crossing == Crossing(0, nest.weights, 0, 0)
    with pytest.raises(InputError, match=r"'all' is too small for one tile of inputs, weights, outputs; the smallest"):
        place(whole(nest, pinned=pinned), (store("all", bits + 6 * 8),), DRAM, "traffic")


@pytest.mark.parametrize("overlaps", [False, True])
def test_a_buffer_too_small_names_the_smallest_that_works(overlaps: bool) -> None:
    nest = LAYERS["plain"]  # one weight tile of one channel: 9 words of 6 bits
    near = tuple(replace(one, overlaps=overlaps) for one in separate(10_000, 53, 10_000))
    with pytest.raises(InputError, match=rf"'weights' is too small.* has {14 if overlaps else 7} bytes"):
        place(whole(nest), near, DRAM, "energy")
    near = near[0], replace(near[1], tile_bits=54), near[2]
    (placed,), _ = place(whole(nest), near, DRAM, "energy")
    assert (placed.tiles.K, placed.tiles.C) == (1, 1)


def test_an_unknown_objective_is_refused() -> None:
    with pytest.raises(InputError, match="unknown tiling 'area', expected one of traffic, energy, latency"):
        place(whole(LAYERS["plain"]), (store("all", 10_000),), DRAM, "area")  # type: ignore[arg-type]


def total(placed: tuple[Placed, ...]) -> int:
    return bits_moved(placed[0].crossing)


@given(
    nest=st.sampled_from(list(LAYERS.values())),
    small=st.tuples(*[st.integers(300, 3000)] * 3),
    more=st.tuples(*[st.integers(0, 3000)] * 3),
    shared=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_laws_of_traffic(nest: LoopNest, small: tuple[int, ...], more: tuple[int, ...], shared: bool) -> None:
    """At least the unique words cross; a larger buffer never lets more cross."""
    large = [a + b for a, b in zip(small, more, strict=True)]
    both = [(store("all", 3 * sum(s)),) if shared else separate(*(3 * one for one in s)) for s in (small, large)]
    before, after = (place(whole(nest), stores, DRAM, "traffic")[0] for stores in both)
    assert total(after) <= total(before)
    one = one_group(nest)
    unique = crossing(one, Tiles(one.K, one.C, one.P, one.Q)).times(nest.groups)
    assert total(after) >= bits_moved(unique)
    for words in (before[0].crossing, after[0].crossing):
        assert words.inputs >= unique.inputs and words.weights >= unique.weights and words.outputs == nest.outputs


@given(
    nest=st.sampled_from([nest for nest in LAYERS.values() if nest.groups == 1]),
    bits=st.integers(2500, 20_000),
    more=st.integers(0, 9000),
)
@settings(max_examples=40, deadline=None)
def test_a_larger_buffer_of_the_same_price_never_costs_more(nest: LoopNest, bits: int, more: int) -> None:
    for objective in ("energy", "latency", "product"):
        found = []
        for size in (bits, bits + more):
            (placed,), _ = place(whole(nest), (store("all", size),), DRAM, objective)
            found.append(costs(nest, placed.tiles, 1)[objective])
        assert found[1] <= found[0] * (1 + 1e-12)


@pytest.mark.parametrize("nest", LAYERS.values(), ids=list(LAYERS))
@pytest.mark.parametrize("bits", [1200, 3000, 9000])
def test_a_batch_never_lets_more_cross_than_its_images_one_by_one(nest: LoopNest, bits: int) -> None:
    one, three = (place(whole(replace(nest, N=n)), (store("all", bits),), DRAM, "traffic")[0] for n in (1, 3))
    assert total(one) <= total(three) <= 3 * total(one)


def test_of_equal_tiles_the_largest_is_taken() -> None:
    """Room for everything: any tile of a good order crosses once, but the levels inside profit from the whole layer."""
    nest = LAYERS["padded"]
    for objective in ("energy", "latency", "product", "traffic"):
        (placed,), _ = place(whole(nest), (store("all", 1 << 20),), DRAM, objective)
        assert (placed.tiles.K, placed.tiles.C, placed.tiles.P, placed.tiles.Q) == (nest.K, nest.C, nest.P, nest.Q)


sizes = st.lists(st.integers(1, 3000), min_size=4, max_size=4)


@given(nest=st.sampled_from(list(LAYERS.values())), points=st.lists(sizes, min_size=1, max_size=6), pin=st.booleans())
@settings(max_examples=40, deadline=None)
def test_many_machines_at_once_equal_one_by_one(nest: LoopNest, points: list[list[int]], pin: bool) -> None:
    """Three near buffers and a far one; sums at the array, and inputs that stay, on every other machine."""
    rng = np.random.default_rng(len(points))
    here, sums = 8 * nest.inputs * rng.integers(0, 2, len(points)) * pin, rng.integers(0, 2, len(points))

    def machine(rows: np.ndarray) -> tuple[Store, ...]:
        return (*separate(*rows[:3]), store("far", 3 * rows[3]))

    layer = whole(nest, pinned=(("inputs", here),), array=Crossing(1, 2, 3, sums))
    each = place_each(layer, machine(np.array(points).T), DRAM)
    for i, point in enumerate(points):
        layer = whole(nest, pinned=(("inputs", int(here[i])),), array=Crossing(1, 2, 3, int(sums[i])))
        try:
            placed, pieces = place(layer, machine(np.array(point)), DRAM, "traffic")
        except TooSmall as error:
            assert each.refused[i] == str(error)
            continue
        assert each.refused[i] == "" and each.pieces[each.which[i]] == pieces
        for words, one in zip(each.crossings, placed, strict=True):
            assert one.crossing == Crossing(*(int(getattr(words, name)[i]) for name in FIELDS))


def test_no_buffer_and_no_array_is_a_machine_too() -> None:
    alone, none = (
        place_each(whole(LAYERS["plain"]), separate(900, 900, 900), DRAM),
        place_each(whole(LAYERS["plain"]), (), DRAM),
    )
    ((placed,), _) = place(whole(LAYERS["plain"]), separate(900, 900, 900), DRAM, "traffic")
    assert int(alone.crossings[0].inputs) == placed.crossing.inputs and alone.refused.item() == ""
    assert none.crossings == () and none.pieces[none.which.item()][0][1] == 1


@pytest.mark.parametrize("objective", ["energy", "traffic"])
def test_images_follow_one_another(objective: Objective) -> None:
    nest = LAYERS["padded"]
    one, four = (whole(replace(nest, N=N)) for N in (1, 4))
    (small,), (large,) = (place(layer, separate(300, 60, 300), DRAM, objective)[0] for layer in (one, four))
    assert large.crossing == small.crossing.times(4)


@pytest.mark.parametrize("name", list(LAYERS))
def test_prices_and_ports_do_not_move_the_fewest_bits(name: str) -> None:
    """One search serves all tables and bandwidths."""
    nest = LAYERS[name]
    found = [
        place(whole(nest, busy_cycles=busy), (store("all", 1500, word_bits=word, read_pj=pj),), DRAM, "traffic")[0]
        for busy, word, pj in ((1, 64, 25.0), (10**6, 8, 1.0))
    ]
    assert found[0][0].tiles == found[1][0].tiles and found[0][0].crossing == found[1][0].crossing
