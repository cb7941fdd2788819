"""Runs: sums over tiles equal a walk, tile by tile, and what an evaluation says equals one cycle by cycle."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from builders import small_network
from walks import LAYERS, WALKS, steps

import addersim
from addersim.errors import InputError
from addersim.hardware import ROLES, Hardware, load_hardware
from addersim.mapping.array_runs import COUNTED, Array, merged, sums
from addersim.mapping.dataflows import DATAFLOWS, Schedule
from addersim.mapping.tiles import AXES, Tiles, candidates, group_of_batch, parts
from addersim.network.loops import LoopNest
from addersim.network.ops import OPS

PADS = {"row_stationary": (("input_words", 5), ("weight_words", 7), ("sum_words", 2))}
flows = pytest.mark.parametrize("name", list(DATAFLOWS))


def array(name: str, rows: int = 4, cols: int = 3) -> Array:
    return Array(DATAFLOWS[name], rows, cols, PADS.get(name, ()), pipeline_stages=3)


def some(space: LoopNest, count: int) -> list[tuple[tuple[int, ...], Tiles]]:
    """Return places of some candidates and their tiles."""
    axes = [getattr(candidates(space), axis).ravel() for axis in AXES]
    shape = tuple(map(len, axes))
    numbers = np.random.default_rng(2).permutation(int(np.prod(shape)))[:count]
    places = [tuple(map(int, np.unravel_index(number, shape))) for number in numbers]
    sizes = [[int(axis[i]) for axis, i in zip(axes, place, strict=True)] for place in places]
    return [
        (place, Tiles(order="NKCPQ", **dict(zip(AXES, size, strict=True))))
        for place, size in zip(places, sizes, strict=True)
    ]


def walked(on: Array, nest: LoopNest, tiles: Tiles) -> Counter[str]:
    """Return what the array does and how often it runs, one tile after the other."""
    found: Counter[str] = Counter(runs=0)
    for at in steps(nest, tiles):
        one = on.schedule(replace(nest, **{axis: len(at[axis]) for axis in AXES}))
        found.update({field: getattr(one, field) for field in COUNTED}, runs=1)
    return found


@flows
@pytest.mark.parametrize("layer", ["padded", "strided", "dilated", "depthwise", "linear"])
def test_sums_of_all_candidates_equal_the_walk(name: str, layer: str) -> None:
    nest, on = replace(group_of_batch(LAYERS[layer]), N=3), array(name)
    found = sums(on, nest, nest, COUNTED)
    for place, tiles in some(nest, 25):
        want = walked(on, nest, tiles)
        want["cycles"] += 2 * want["runs"]  # the ends of the pipelines
        assert {field: found[field][place] for field in COUNTED} == {field: want[field] for field in COUNTED}, tiles


@flows
def test_tiles_of_tiles_are_clipped_to_them(name: str) -> None:
    """A level inside searches the sizes of its largest piece; they are cut to what a smaller piece has."""
    space, on = group_of_batch(LAYERS["plain"]), array(name)
    piece = replace(space, K=3, C=2, P=2, Q=1)
    found = sums(on, piece, space, ("cycles", "input_reads"))
    for place, tiles in some(space, 25):
        size = {axis: min(getattr(tiles, axis), getattr(piece, axis)) for axis in AXES}
        want = walked(on, piece, replace(tiles, **size))
        assert found["input_reads"][place] == want["input_reads"]
        assert found["cycles"][place] == want["cycles"] + 2 * want["runs"]


@flows
def test_a_run_of_all_pieces_equals_the_walk(name: str) -> None:
    nest, on = replace(group_of_batch(LAYERS["wide padding"]), N=2), array(name)
    for _, tiles in some(nest, 10):
        run, want = on.run(merged(parts(nest, tiles).items())), walked(on, nest, tiles)
        want["cycles"] += 2 * (want["runs"] - 1)  # the end of the last one's pipeline is the layer's
        assert {field: getattr(run, field) for field in COUNTED} == {field: want[field] for field in COUNTED}, tiles
        assert run.utilisation == nest.taps / (run.cycles * 4 * 3)


@flows
def test_a_layer_in_one_tile_is_the_layer(name: str) -> None:
    for nest in LAYERS.values():
        run = array(name).run(((group_of_batch(nest), nest.groups),))
        want = array(name).schedule(nest)
        between = (nest.groups - 1) * 2
        for field in COUNTED:
            assert getattr(run, field) == getattr(want, field) + between * (field == "cycles"), (nest, field)


def machine(size_bytes: int, stages: int) -> Hardware:
    buffer = {"name": "all", "holds": list(ROLES), "size_bytes": size_bytes, "word_bits": 64}
    return load_hardware(
        "adder_16x16", rows=4, cols=3, multiplier_rows=3, multiplier_cols=2, pipeline_stages=stages, buffers=[buffer]
    )


@flows
@pytest.mark.parametrize(("size_bytes", "objective"), [(350, "energy"), (350, "latency"), (450, "product")])
def test_an_evaluation_equals_a_walk_cycle_by_cycle(name: str, size_bytes: int, objective: str) -> None:
    on = machine(size_bytes, 2)
    qnet = small_network().on(on)
    cost = addersim.evaluate(qnet, on, name, tiling=objective)  # type: ignore[arg-type]
    cut = 0
    for run in cost.layers:
        if run.array is None:
            continue
        node = qnet.node(run.layer)
        nest = OPS[node.kind].loops(node, qnet.in_shapes(node), qnet.tensors[node.name].shape)
        K, C, P, Q = map(int, re.findall(r"(\d+) [KCPQ]", run.tiles))
        want, tiles = Counter[str](), list(steps(nest, Tiles(K, C, P, Q, "NKCPQ")))
        for at in tiles:
            want.update(WALKS[name](replace(nest, **{axis: len(at[axis]) for axis in AXES}), *on.array(run.array)))
        assert run.array_cycles == want["cycles"] + len(tiles)
        reads = [c.times for c in cost.charges if c.layer == run.layer and c.action.startswith("all: read weights")]
        assert reads == [want["weight_reads"]]
        cut += len(tiles) > 1
    assert cut


def test_a_dataflow_that_does_not_broadcast_is_refused() -> None:
    def one_by_one(loops: LoopNest, rows: int, cols: int) -> Schedule:
        return Schedule(max(loops.taps, rows * cols), 1.0, loops.taps, loops.taps, loops.outputs, 0)

    on = machine(450, 1)
    assert addersim.evaluate(small_network().on(on), on, one_by_one).cycles
    with pytest.raises(InputError, match="layer 'conv1': this tiling needs a dataflow that broadcasts"):
        addersim.evaluate(small_network().on(on), on, one_by_one, tiling="energy")


def test_the_schedule_has_no_field_that_is_not_summed() -> None:
    assert {*COUNTED, "utilisation"} == set(Schedule.__dataclass_fields__)
