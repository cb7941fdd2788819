"""Scratchpads: the dataflow counts on the machine's, and every word to and from them is charged."""

from __future__ import annotations

import pytest
from builders import small_network

from addersim.costs import COSTS
from addersim.costs.bill import Cost
from addersim.costs.charges import Charge
from addersim.costs.evaluate import evaluate
from addersim.costs.tables.rows import Word
from addersim.hardware import HARDWARE, load_hardware
from addersim.mapping.dataflows import DATAFLOWS
from addersim.mapping.dataflows.row_stationary import EYERISS_WORDS, row_stationary
from addersim.mapping.scratchpads import WORDS, scratchpad_words
from addersim.network.loops import LoopNest

EYERISS, ADDERS = HARDWARE["eyeriss"], HARDWARE["adder_16x16"]
TABLE = COSTS["horowitz2014_45nm"]


def pads(cost: Cost, layer: str) -> dict[str, Charge]:
    """Return a layer's charges for scratchpads by action."""
    return {c.action: c for c in cost.charges if c.layer == layer and "_pad: " in c.action}


def test_the_eyeriss_machine_has_the_scratchpads_that_the_dataflow_counts_on() -> None:
    words = {WORDS[role]: pad.size_bytes * 8 // pad.word_bits for pad in EYERISS.scratchpads for role in pad.holds}
    assert words == EYERISS_WORDS


def test_a_dataflow_counts_on_the_machines_scratchpads() -> None:
    loops = LoopNest(K=48, C=16, P=8, Q=8, R=3, S=3)
    small = load_hardware(EYERISS, scratchpads={"sum_pad": {"size_bytes": 8}})
    got = row_stationary(loops, 12, 14, **scratchpad_words(row_stationary, small))
    assert got == row_stationary(loops, 12, 14, sum_words=4)
    assert got.input_reads > row_stationary(loops, 12, 14).input_reads
    flow = DATAFLOWS["output_stationary"]
    assert scratchpad_words(flow, small) == {}


def test_every_word_is_charged_a_whole_access_of_the_scratchpad() -> None:
    qnet = small_network("conv2d").on(EYERISS)
    cost = evaluate(qnet, EYERISS, "row_stationary")
    found = pads(cost, "conv2")
    loops = LoopNest(K=8, C=4, P=4, Q=4, R=3, S=3, stride=(2, 2))
    want = row_stationary(loops, 12, 14)
    assert found["filter_pad: read 8 b"].times == want.weight_pad_reads
    assert found["sum_pad: write 16 b"].times == want.sum_pad_writes
    assert found["input_pad: write 6 b"].times == want.input_pad_writes
    assert found["input_pad: read 6 b"].energy_pj == pytest.approx(
        want.input_pad_reads * TABLE.memory(24, 16).energy_pj
    )
    assert len(found) == 6
    assert not pads(evaluate(qnet, EYERISS, "weight_stationary"), "conv2")


@pytest.mark.parametrize("dataflow", list(DATAFLOWS))
def test_hops_are_charged_at_the_width_of_their_operand_where_a_table_prices_them(dataflow: str) -> None:
    qnet = small_network().on(ADDERS)
    priced = TABLE.model_copy(update={"hop_row": Word(word_bits=16, energy_pj=2.0)})
    plain, cost = (evaluate(qnet, ADDERS, dataflow, table) for table in (TABLE, priced))
    path = qnet.node("conv2").datapath
    assert path is not None
    run = DATAFLOWS[dataflow](LoopNest(K=8, C=4, P=4, Q=4, R=3, S=3, stride=(2, 2)), 16, 16)
    widths = {"inputs": path.x.bits, "weights": path.w.bits, "partial sums": path.accumulator.format.bits}
    hops = dict(zip(widths, (run.input_hops, run.weight_hops, run.sum_hops), strict=True))
    want = {f"to the next element: {name} {widths[name]} b": count for name, count in hops.items() if count}
    found = {c.action: c for c in cost.charges if c.layer == "conv2" and "next element" in c.action}
    assert {action: charge.times for action, charge in found.items()} == want
    for action, charge in found.items():
        assert charge.energy_pj == charge.times * 2.0 * int(action.split()[-2]) / 16
        assert charge.unit == "buffers" and "from element to element 2 pJ per 16 b" in charge.source
        assert action in cost.explain("conv2")
    hopping = [c for c in cost.charges if "next element" in c.action]
    assert cost.energy_pj - plain.energy_pj == pytest.approx(sum(c.energy_pj for c in hopping))
    assert [c for c in cost.charges if c not in hopping] == list(plain.charges)
    assert "hops are not priced by horowitz2014_45nm" in plain.explain()
    assert "hops are charged per word" in cost.explain()


def test_elements_without_scratchpads_are_charged_those_of_the_chip() -> None:
    found = pads(evaluate(small_network().on(ADDERS), ADDERS, "row_stationary"), "conv2")
    read = found["weight_pad: read 6 b"]
    assert read.energy_pj == pytest.approx(read.times * TABLE.memory(168, 6).energy_pj)
    assert "adder_16x16 has no scratchpad for weights" in read.source


def test_a_wide_word_takes_several_accesses() -> None:
    narrow = load_hardware(EYERISS, scratchpads={"sum_pad": {"word_bits": 5, "size_bytes": 15}})
    found = pads(evaluate(small_network("conv2d").on(narrow), narrow, "row_stationary"), "conv2")["sum_pad: read 16 b"]
    assert found.energy_pj == pytest.approx(4 * found.times * TABLE.memory(15, 5).energy_pj)
