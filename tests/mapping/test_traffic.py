"""Moves: every word that crosses is moved on both sides; laws of a whole network on any machine; renamed edges."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from builders import U6, array_node, machine, network, pointwise, shared, small_network, stack
from hypothesis import given, settings
from hypothesis import strategies as st

from addersim.costs.bill import Cost
from addersim.costs.comparison.compare import compare
from addersim.costs.evaluate import evaluate
from addersim.errors import InputError
from addersim.hardware import Hardware, load_hardware
from addersim.hardware.machine import ROLES
from addersim.mapping.tile_search import TooSmall
from addersim.network.counts import count
from addersim.network.example import example_network
from addersim.network.node import Node
from addersim.study.study import Study

QNET = small_network().on("adder_16x16")
TILINGS = ("traffic", "energy", "latency", "product")
FLOWS = ("output_stationary", "weight_stationary")


def dram_bits(cost: Cost, action: str = "") -> int:
    return sum(c.times for c in cost.charges if c.unit == "dram" and action in c.action)


@pytest.mark.parametrize("flow", FLOWS)
@pytest.mark.parametrize("tiling", TILINGS)
def test_what_crosses_is_moved_on_both_sides(tiling: str, flow: str) -> None:
    cost = evaluate(QNET, stack(400, 1500), flow, tiling=tiling)
    for layer in ("conv1", "conv2", "fc"):
        moved: Counter[str] = Counter()
        for charge in cost.charges:
            if charge.layer == layer and charge.unit == "buffers":
                moved[charge.action.rsplit(" ", 2)[0]] += charge.times
        assert moved["inputs: fill inputs"] == moved["far: read inputs"] > 0
        assert moved["weights: fill weights"] == moved["far: read weights"] > 0
        assert moved["outputs: drain outputs"] == moved["far: write outputs"] > 0
        assert moved["outputs: drain partial sums"] == moved["far: write partial sums"]
        assert moved["outputs: fill partial sums"] == moved["far: read partial sums"]


machines = st.tuples(st.integers(60, 800), st.integers(300, 4000))


@given(machines, st.sampled_from(TILINGS), st.sampled_from(FLOWS), st.booleans())
@settings(max_examples=40, deadline=None)
def test_laws_of_a_network(sizes: tuple[int, int], tiling: str, flow: str, double: bool) -> None:
    """The image, each weight and the output cross DRAM at least once; taps fit into cycles x elements."""
    cost = evaluate(QNET, stack(*sizes, double=double), flow, tiling=tiling)
    weights = sum(node.params["w_krsc"].size * node.datapath.w.bits for node in QNET.nodes if node.datapath)
    assert dram_bits(cost, "read inputs") >= 3 * 8 * 8 * 8
    assert dram_bits(cost, "read weights") == 0 or dram_bits(cost, "read weights") >= weights
    assert dram_bits(cost, "write outputs") >= 10 * 16
    for run in cost.layers:
        rows, cols = cost.hardware.array(run.array) if run.array else (1, 1)
        assert run.cycles * rows * cols >= run.taps
        assert run.cycles == max(run.array_cycles + run.vector_cycles, *run.hidden_cycles.values(), 0) + sum(
            run.waiting_cycles.values()
        )
        assert run.stall_cycles >= 0


@given(machines, st.tuples(st.integers(0, 600), st.integers(0, 3000)), st.sampled_from(FLOWS))
@settings(max_examples=25, deadline=None)
def test_larger_buffers_never_let_more_cross_dram(sizes: tuple[int, int], more: tuple[int, int], flow: str) -> None:
    small = evaluate(QNET, machine(*sizes, sizes[0]), flow)
    large = evaluate(QNET, machine(sizes[0] + more[0], sizes[1] + more[1], sum(more) + sizes[0]), flow)
    assert dram_bits(large) <= dram_bits(small)


@given(machines, st.tuples(st.integers(0, 600), st.integers(0, 3000)), st.sampled_from(FLOWS))
@settings(max_examples=25, deadline=None)
def test_larger_levels_never_let_more_cross_dram(sizes: tuple[int, int], more: tuple[int, int], flow: str) -> None:
    small = evaluate(QNET, stack(*sizes), flow)
    large = evaluate(QNET, stack(sizes[0] + more[0], sizes[1] + more[1]), flow)
    assert dram_bits(large) <= dram_bits(small)


@pytest.mark.parametrize("tiling", ["traffic", "energy"])
def test_a_larger_shared_buffer_never_lets_more_cross_dram(tiling: str) -> None:
    """Edges and weights that begin to stay take room from the tiles of others; over all these sizes that pays."""
    bits = [dram_bits(evaluate(QNET, shared(size), tiling=tiling)) for size in range(150, 4000, 25)]
    assert bits == sorted(bits, reverse=True) and bits[0] > bits[-1]


def test_pixels_that_a_stride_skips_are_not_fetched_whether_the_image_stays_or_not() -> None:
    image = network(array_node("L", "adder_conv2d", "x", np.ones((8, 1, 1, 2), np.int64), U6, stride=(2, 2)))
    costs = [evaluate(image.on("adder_16x16"), machine(size)) for size in (24, 31, 32, 100)]  # 32 bytes: it stays
    assert [dram_bits(cost, "read inputs") for cost in costs] == 4 * [2 * 2 * 2 * 8]
    assert len({cost.cycles for cost in costs}) == 1


@given(machines, st.sampled_from(FLOWS), st.booleans())
@settings(max_examples=25, deadline=None)
def test_half_the_bandwidth_never_speeds_up(sizes: tuple[int, int], flow: str, double: bool) -> None:
    for tiling in ("traffic", "energy"):
        runs = [
            evaluate(QNET, stack(*sizes, ports=ports, dram=dram, double=double), flow, tiling=tiling).layers
            for ports, dram in ((2, 16), (1, 16), (2, 8))
        ]
        for fast, *slow in zip(*runs, strict=True):
            assert all(one.cycles >= fast.cycles for one in slow)


def test_a_searched_tiling_is_the_least_of_its_kind() -> None:
    for on in (stack(400, 1500), shared(500)):
        costs = {tiling: evaluate(QNET, on, "weight_stationary", tiling=tiling) for tiling in TILINGS}
        assert min(dram_bits(cost) for cost in costs.values()) == dram_bits(costs["traffic"])
        if len(on.buffers) == 1:
            assert min(cost.energy_pj for cost in costs.values()) == pytest.approx(costs["energy"].energy_pj)
            assert min(cost.cycles for cost in costs.values()) == costs["latency"].cycles


def test_tiles_and_bounds_are_explained() -> None:
    cost = evaluate(QNET, shared(400), tiling="energy")
    run = next(run for run in cost.layers if run.layer == "conv1")
    assert run.tiles.startswith("all: ") and run.tiles.endswith(" stay") and run.tiles in cost.explain()
    assert f"conv1: {run.cycles:,} cycles = max(compute {run.array_cycles:,}" in cost.explain()
    assert list(cost.by_layer().bound) == [run.bound for run in cost.layers]
    assert all(run.tiles for run in evaluate(QNET, shared(400)).layers if run.array)


@pytest.mark.parametrize("tiling", TILINGS)
def test_a_buffer_too_small_names_the_layer_and_the_smallest_that_works(tiling: str) -> None:
    said = r"^layer 'conv1': buffer 'weights' is too small for one tile of weights; the smallest.* has 9 bytes$"
    with pytest.raises(TooSmall, match=said):
        evaluate(QNET, machine(4096, 4096, 8), tiling=tiling)
    evaluate(QNET, machine(4096, 4096, 9), tiling=tiling)


@given(st.tuples(*[st.integers(1, 60)] * 3), st.booleans())
@settings(max_examples=25, deadline=None)
def test_the_sizes_named_work(sizes: tuple[int, int, int], double: bool) -> None:
    """With the sizes named, the same layer has no complaint of these buffers any more."""
    on, said = load_hardware(machine(*sizes), buffers={role: {"double_buffered": double} for role in ROLES}), set()
    while error := refusal(on):
        layer, one, least, together = re.fullmatch(
            r"layer '(.*)': (?:buffer '(.*)' is too small for one tile of .*; .* has (\d+)|no tile .* have (.*)) bytes",
            error,
        ).groups()
        assert (layer, one) not in said
        said.add((layer, one))
        named = dict(pair.split() for pair in together.split(", ")) if together else {one: least}
        assert any(int(least) > on.buffer(name).size_bytes for name, least in named.items())
        larger = {name: {"size_bytes": max(int(least), on.buffer(name).size_bytes)} for name, least in named.items()}
        on = load_hardware(on, buffers=larger)


def refusal(on: Hardware) -> str:
    try:
        evaluate(QNET, on)
    except TooSmall as error:
        return str(error)
    return ""


def test_the_array_reads_what_crosses_at_least_once() -> None:
    """One weight tile, one output channel at a time: inputs come again for each, more often than 16 columns read."""
    cost = evaluate(QNET, machine(9, 3, 9), "output_stationary")
    for layer in ("conv1", "conv2"):
        times = {c.action: c.times for c in cost.charges if c.layer == layer and c.unit == "buffers"}
        for role in ("inputs", "weights"):
            filled = [n for action, n in times.items() if action.startswith(f"{role}: fill")]
            read = [n for action, n in times.items() if action.startswith(f"{role}: read {role}")]
            assert not filled or read[0] >= filled[0] > 0


def test_without_buffers_the_array_reads_dram() -> None:
    cost = evaluate(QNET, load_hardware("adder_16x16", buffers=[]), tiling="energy")
    assert cost.energy_by_unit["buffers"] == 0
    assert dram_bits(cost, "read partial sums") == 0
    conv1 = [c for c in cost.charges if c.layer == "conv1" and c.action == "read inputs"]
    assert [c.times for c in conv1] == [8 * 8 * 27 * 8]
    bounds = {run.layer: run.bound for run in cost.layers}
    assert (bounds["conv2"], bounds["flat"]) == ("dram", "")


def test_a_batch_of_images_together() -> None:
    """Taps and outputs are those of all images; with room for all of them, weights cross once."""
    on = shared(1 << 20)
    one, four = (evaluate(QNET, on, tiling="energy", batch=batch) for batch in (1, 4))
    assert (one.images, four.images) == (1, 4) and "4 images together" in four.explain("conv1")
    assert four.energy_by_unit["arithmetic"] == 4 * one.energy_by_unit["arithmetic"]
    assert dram_bits(four, "weights") == dram_bits(one, "weights")
    for action in ("read inputs", "write outputs"):
        assert dram_bits(four, action) == 4 * dram_bits(one, action)
    pool = [[run.vector_cycles for run in cost.layers if run.layer == "pool"] for cost in (one, four)]
    assert pool[1] == [-(-4 * 8 * 4 * 4 // on.vector.lanes)] and pool[0] == [-(-8 * 4 * 4 // on.vector.lanes)]


def test_an_empty_batch_is_refused() -> None:
    with pytest.raises(InputError, match="batch = 0, expected 1 or more"):
        evaluate(QNET, shared(1 << 20), batch=0)


def renamed(kind: str, **attrs: object) -> tuple[int, int]:
    """Return the words of an edge and those fetched for it where it does not stay, read through ``kind``."""
    C = 4 if kind == "concat" else 2
    sources = ("a", "a2") if kind == "concat" else ("a",)
    qnet = network(
        pointwise("a", "x", 2, 2),
        *([pointwise("a2", "x", 2, 2)] if kind == "concat" else []),
        Node("renamed", kind, sources, attrs),
        pointwise("b", "renamed", 1, C),
    ).on("adder_16x16")
    cost = evaluate(qnet, machine(1, 4096))
    fetched = sum(c.times for c in cost.charges if c.layer == "b" and c.unit == "dram" and c.action == "read inputs")
    assert "renamed" not in {c.layer for c in cost.charges}
    assert "renamed" not in {row.layer for row in count(qnet).rows}
    return int(np.prod(qnet.tensors["renamed"].shape)), fetched // 8


def test_renamed_edges_fetch_the_words_they_are_made_of() -> None:
    assert renamed("upsample", factors=(2, 2)) == (128, 32)
    assert renamed("concat") == (64, 64)


def test_a_comparison_and_a_study_take_the_tiling(tmp_path: Path) -> None:
    on = shared(3000)
    pair = small_network(), small_network("conv2d", "twin")
    adder, multiplier = compare(*pair, hardware=on, tables=["horowitz2014_45nm"], tiling="traffic").costs.popitem()[1]
    assert all(run.tiles for cost in (adder, multiplier) for run in cost.layers if run.array)
    example_network().save(tmp_path / "net.safetensors")
    (tmp_path / "study.toml").write_text('network.file = "net.safetensors"\nevaluation.tiling = "energy"\n')
    assert Study.read(tmp_path / "study.toml").evaluation.tiling == "energy"
    (tmp_path / "bad.toml").write_text('network.file = "net.safetensors"\nevaluation.tiling = "area"\n')
    with pytest.raises(InputError, match=r"evaluation\.tiling = 'area'"):
        Study.read(tmp_path / "bad.toml")
