"""Latency of the vector unit: a batch norm without a layer in front, counted by hand word by word."""

from __future__ import annotations

import math

import pytest
from builders import chain, images, layer, norm

import addersim
from addersim.costs.bill import Cost
from addersim.hardware import Hardware, load_hardware
from addersim.mapping.latency import LayerRun
from addersim.network.node import Node
from addersim.network.quantized import QuantizedNetwork

QNET: QuantizedNetwork = addersim.quantize(
    chain(layer("a", "x", "conv2d"), Node("r", "relu", ("a",)), norm("n", "r", mean=0.5), layer("b", "n")), images()
)
WORDS = math.prod(QNET.tensors["n"].shape)


def machine(lanes: int, word_bits: int = 4096, size_bytes: int = 65536) -> Hardware:
    buffers = {name: {"word_bits": word_bits, "size_bytes": size_bytes} for name in ("inputs", "weights", "outputs")}
    return load_hardware("adder_16x16", vector={"lanes": lanes}, buffers=buffers)


def evaluated(on: Hardware) -> tuple[Cost, LayerRun]:
    cost = addersim.evaluate(QNET.on(on), on)
    return cost, next(run for run in cost.layers if run.layer == "n")


def walked(lanes: int) -> int:
    """Return the cycles in which every lane takes a word of the norm, until none is left."""
    left, cycles = WORDS, 0
    while left > 0:
        left, cycles = left - lanes, cycles + 1
    return cycles


@pytest.mark.parametrize("lanes", [1, 3, 16, WORDS - 1, WORDS, WORDS + 1])
def test_a_lone_batch_norm_takes_a_word_per_lane_and_cycle(lanes: int) -> None:
    assert QNET.node("n").kind == "scale" and QNET.tensors["n"].shape == QNET.tensors["a"].shape
    _, run = evaluated(machine(lanes))
    assert (run.array, run.array_cycles, run.vector_cycles) == (None, 0, walked(lanes))
    assert run.utilisation == 0 and run.taps == 0


def test_its_words_are_read_and_written_once_and_each_scaled_once() -> None:
    cost, run = evaluated(machine(16))
    mine = [charge for charge in cost.charges if charge.layer == "n"]
    moved = {charge.action.rsplit(" ", 2)[0]: charge.times for charge in mine if charge.unit == "buffers"}
    assert moved == {"inputs: read inputs": WORDS, "outputs: write outputs": WORDS}
    operations = [charge.times for charge in mine if charge.unit == "arithmetic"]
    assert len(operations) >= 4 and all(times % WORDS == 0 and times > 0 for times in operations)
    assert not any(charge.unit == "dram" for charge in mine)
    assert run.cycles == run.vector_cycles and run.stall_cycles == 0


def test_a_narrow_port_bounds_it() -> None:
    """One word of 8 bits per access: a lane of 16 waits for 15 others' words."""
    _, run = evaluated(machine(16, word_bits=8))
    assert run.hidden_cycles == {"inputs": WORDS, "outputs": WORDS}
    assert (run.cycles, run.stall_cycles) == (WORDS, WORDS - walked(16)) and run.bound in ("inputs", "outputs")


def test_an_edge_that_does_not_stay_comes_from_dram_and_goes_there() -> None:
    """The buffers are not double buffered: both transfers are waited for, 64 bits per cycle."""
    _, run = evaluated(machine(16, size_bytes=WORDS - 1))
    assert run.waiting_cycles == {"dram": 2 * math.ceil(8 * WORDS / 64)}
    assert run.cycles == walked(16) + run.waiting_cycles["dram"]
