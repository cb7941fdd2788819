"""evaluate: sums of charges, prices times counts, traffic rules, what is refused."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest
from builders import residual_network, small_network, without_formats

from addersim.arithmetic.primitives import Primitive
from addersim.costs import COSTS, arithmetic_tables
from addersim.costs.bill import Cost
from addersim.costs.charges import UNITS
from addersim.costs.evaluate import evaluate
from addersim.errors import InputError
from addersim.hardware import load_hardware
from addersim.mapping.dataflows import DATAFLOWS
from addersim.network.counts import count
from addersim.network.ops import OPS
from addersim.simulation.simulate import simulate

MACHINE = load_hardware("adder_16x16")
QNET = small_network().on(MACHINE)


def words(cost: Cost, layer: str, action: str) -> int:
    """Return how many words, or bits of DRAM, the named action of a layer moves."""
    return sum(c.times for c in cost.charges if c.layer == layer and action in c.action)


def dram(cost: Cost, layer: str, action: str) -> int:
    """Return how many bits the named action of a layer moves to or from DRAM."""
    return sum(c.times for c in cost.charges if c.layer == layer and c.unit == "dram" and c.action == action)


@pytest.mark.parametrize("table", arithmetic_tables())
@pytest.mark.parametrize("dataflow", list(DATAFLOWS))
def test_totals_are_sums_of_charges(table: str, dataflow: str) -> None:
    cost = evaluate(QNET, MACHINE, dataflow, table)
    assert cost.energy_pj == pytest.approx(sum(c.energy_pj for c in cost.charges))
    assert cost.energy_pj == pytest.approx(sum(cost.energy_by_unit.values()))
    assert cost.cycles == sum(run.cycles for run in cost.layers)
    assert cost.latency_us == pytest.approx(cost.cycles / 500)
    assert all(c.energy_pj > 0 and c.times > 0 and c.source for c in cost.charges)
    leaks = any(row.leakage_uw for row in COSTS[table].primitive)
    assert {c.unit for c in cost.charges} == {unit for unit in UNITS if unit != "leakage" or leaks}
    frame, layers = cost.to_pandas(), cost.by_layer()
    assert frame.energy_pj.sum() == pytest.approx(cost.energy_pj)
    assert layers[[f"{u}_pj" for u in UNITS]].to_numpy().sum() == pytest.approx(cost.energy_pj)
    assert list(layers.layer) == [node.name for node in QNET.nodes]


def test_arithmetic_is_count_times_price() -> None:
    table = COSTS["qkeras_fit_45nm"]
    cost = evaluate(QNET, MACHINE, table=table)
    want = 0.0
    for row in count(QNET).rows:
        circuit = Primitive("xor", 6) if row.primitive.name == "absolute" else row.primitive
        want += row.times * table.price(circuit).energy_pj
    assert cost.energy_by_unit["arithmetic"] == pytest.approx(want)
    tap = sum(table.price(p).energy_pj for p in (Primitive("subtract", 7), Primitive("xor", 6), Primitive("add", 24)))
    assert cost.tap_energy_pj(["conv2"]) == pytest.approx(8 * 4 * 4 * 36 * tap)
    assert cost.tap_energy_pj() > cost.tap_energy_pj(["conv2"])


@pytest.mark.parametrize("dataflow", list(DATAFLOWS))
def test_array_words_are_the_schedule_s(dataflow: str) -> None:
    cost = evaluate(QNET, MACHINE, dataflow)
    arrays = {"conv1": (8, 8), "conv2": (16, 16), "fc": (8, 8)}
    for layer, (rows, cols) in arrays.items():
        node = QNET.node(layer)
        nest = OPS[node.kind].loops(node, QNET.in_shapes(node), QNET.tensors[layer].shape)
        assert nest is not None
        schedule = DATAFLOWS[dataflow](nest, rows, cols)
        assert words(cost, layer, "inputs: read inputs") == schedule.input_reads
        assert words(cost, layer, "weights: read weights") == schedule.weight_reads
        assert words(cost, layer, "outputs: write") == schedule.output_writes
        assert words(cost, layer, "read partial sum") == schedule.output_reads
        run = next(run for run in cost.layers if run.layer == layer)
        assert (run.array_cycles, run.taps, run.utilisation) == (
            schedule.cycles,
            nest.taps,
            schedule.utilisation,
        )


def test_dram_carries_image_weights_and_output_once() -> None:
    cost = evaluate(QNET, load_hardware(MACHINE, buffers=buffers(weights=400)))  # room for one layer, not for all
    assert dram(cost, "x", "read inputs") == 3 * 8 * 8 * 8
    assert dram(cost, "conv1", "read weights") == 4 * 27 * 8
    assert dram(cost, "conv2", "read weights") == 8 * 36 * 6
    assert dram(cost, "fc", "write outputs") == 10 * 16
    bits = [c for c in cost.charges if c.unit == "dram"]
    assert len(bits) == 5
    assert sum(c.energy_pj for c in bits) == pytest.approx(sum(c.times for c in bits) * 1300 / 64)


def buffers(**sizes: int) -> list[dict[str, object]]:
    default = {"inputs": 65536, "weights": 65536, "outputs": 32768}
    return [{"name": n, "holds": [n], "size_bytes": sizes.get(n, s), "word_bits": 64} for n, s in default.items()]


@pytest.mark.parametrize(("size_bytes", "stays"), [(644, True), (643, False)])
def test_weights_that_fit_together_stay_from_image_to_image(size_bytes: int, stays: bool) -> None:
    """108 + 320 words of 8 bits and 288 of 6 are 644 bytes."""
    cost = evaluate(QNET, load_hardware(MACHINE, buffers=buffers(weights=size_bytes)))
    read = [c for c in cost.charges if c.action == "read weights"]
    assert bool(read) != stays


def test_small_buffers_cost_dram_traffic() -> None:
    base = evaluate(QNET, MACHINE)
    spilled = evaluate(QNET, load_hardware(MACHINE, buffers=buffers(outputs=191)))
    assert dram(spilled, "conv1", "write outputs") == dram(spilled, "conv2", "read inputs") == 256 * 6
    assert dram(spilled, "conv2", "write outputs") == 0
    fits = evaluate(QNET, load_hardware(MACHINE, buffers=buffers(outputs=192)))
    assert fits.energy_by_unit["dram"] == base.energy_by_unit["dram"]
    for flow in DATAFLOWS:
        parts = evaluate(QNET, load_hardware(MACHINE, buffers=buffers(weights=100)), flow)
        assert dram(parts, "conv1", "read weights") == 4 * 27 * 8


def test_what_does_not_fit_crosses_part_by_part() -> None:
    """64 pixels of 3 channels, 3 x 3 x 3 weights of 4 outputs, in bytes."""

    def crossing(inputs: int, weights: int, outputs: int = 32768) -> tuple[int, int, int]:
        on = load_hardware(MACHINE, buffers=buffers(inputs=inputs, weights=weights, outputs=outputs))
        cost = evaluate(QNET, on)
        assert dram(cost, "x", "read inputs") == 0
        words = [dram(cost, "conv1", f"read {what}") for what in ("inputs", "weights", "partial sums")]
        return words[0] // 8, words[1] // 8, words[2]

    assert crossing(100, 40) == (192, 108, 0)  # a channel of inputs and its 36 weights; partial sums stay
    assert crossing(100, 35) == (384, 108, 0)  # three outputs, then the fourth: inputs pass by for each


def test_words_are_packed_into_accesses() -> None:
    cost, table = evaluate(QNET, MACHINE), COSTS["horowitz2014_45nm"]
    read = next(c for c in cost.charges if c.layer == "conv2" and c.action == "inputs: read inputs 6 b")
    assert read.energy_pj == pytest.approx(read.times * table.memory(65536, 128).energy_pj / 21)
    narrow = [{**b, "word_bits": 4} for b in buffers()]
    cost = evaluate(QNET, load_hardware(MACHINE, buffers=narrow))
    read = next(c for c in cost.charges if c.layer == "conv2" and c.action == "inputs: read inputs 6 b")
    assert read.energy_pj == pytest.approx(read.times * table.memory(65536, 4).energy_pj * 2)


def test_a_slow_dram_port_bounds_the_layer() -> None:
    slow = evaluate(QNET, load_hardware(MACHINE, dram={"bits_per_cycle": 1}, buffers=buffers(weights=400)))
    run = next(run for run in slow.layers if run.layer == "conv2")
    assert run.waiting_cycles["dram"] == 8 * 36 * 6 > run.array_cycles
    assert (run.bound, run.stall_cycles) == ("dram", run.cycles - run.array_cycles)
    assert run.cycles == max(run.array_cycles, *run.hidden_cycles.values()) + 8 * 36 * 6
    assert slow.energy_pj == pytest.approx(
        evaluate(QNET, load_hardware(MACHINE, buffers=buffers(weights=400))).energy_pj
    )


def test_a_machine_with_an_adder_tree_computes_the_same_and_wants_its_tree_in_the_network() -> None:
    tree = load_hardware(MACHINE, tree_inputs=4)
    treed = QNET.on(tree)
    codes = np.random.default_rng(3).integers(0, 64, (2, 3, 8, 8))
    np.testing.assert_array_equal(simulate(treed, codes).logits_int, simulate(QNET, codes).logits_int)
    assert evaluate(treed, tree).cycles == evaluate(QNET, MACHINE).cycles
    with pytest.raises(InputError, match=r"sums 4 channels by one; call \.on"):
        evaluate(QNET, tree)


def test_the_bill_says_where_dataflow_and_adder_tree_do_not_go_together() -> None:
    tree = load_hardware(MACHINE, tree_inputs=4)
    said = {
        (flow, machine.tree_inputs): [
            a for a in evaluate(QNET.on(machine), machine, flow).assumptions if "adder tree" in a
        ]
        for flow in ("channel_parallel", "output_stationary")
        for machine in (MACHINE, tree)
    }
    assert {key for key, found in said.items() if found} == {("channel_parallel", 1), ("output_stationary", 4)}


def test_pipeline_stages_delay_the_end_of_each_layer_on_the_array() -> None:
    deep = evaluate(QNET, load_hardware(MACHINE, pipeline_stages=4))
    shallow = evaluate(QNET, MACHINE)
    for a, b in zip(deep.layers, shallow.layers, strict=True):
        assert a.array_cycles - b.array_cycles == (3 if a.array else 0)


def test_a_machine_may_price_its_dram() -> None:
    cost = evaluate(QNET, load_hardware(MACHINE, dram={"pj_per_bit": 4}))
    dram = [c for c in cost.charges if c.unit == "dram"]
    assert dram and all(c.energy_pj == 4 * c.times and "DRAM 4 pJ per bit" in c.source for c in dram)


def test_pooling_takes_the_vector_lanes_and_flatten_nothing() -> None:
    runs = {run.layer: run for run in evaluate(QNET, MACHINE).layers}
    assert (runs["pool"].vector_cycles, runs["pool"].array) == (8 * 4 * 4 // 16, None)
    assert runs["flat"].cycles == 0
    assert (runs["conv2"].array, runs["fc"].array) == ("adder", "multiplier")


def test_areas_are_priced_or_said_to_be_unpriced() -> None:
    assert evaluate(QNET, MACHINE).area_um2 is None
    cost, table = evaluate(QNET, MACHINE, table="aladdin_40nm"), COSTS["aladdin_40nm"]
    registers = [Primitive("register", 16), Primitive("register", 24)]
    adder = [Primitive("subtract", 9), Primitive("xor", 8), Primitive("add", 24), *registers]
    multiplier = [Primitive("multiply", 8, 8), Primitive("add", 24), *registers]
    area = [sum(table.price(p).area_um2 or 0 for p in pe) for pe in (adder, multiplier)]
    assert cost.area_um2 == pytest.approx(256 * area[0] + 64 * area[1])
    unpriced = {area.component for area in cost.areas if area.area_um2 is None}
    assert "weights buffer, bytes" in unpriced and "output stages and vector lanes" in unpriced
    assert all(area.area_um2 != 0 for area in cost.areas)


def test_a_cost_explains_itself() -> None:
    cost = evaluate(QNET, MACHINE, table="evoapprox_45nm")
    text = cost.explain()
    for needed in (*cost.sources, *cost.assumptions, "small on adder_16x16", "leakage"):
        assert needed in text
    assert any("ASSUMPTION" in text for text in cost.assumptions)
    assert "conv2" in cost._repr_html_()


def test_one_layer_explains_itself() -> None:
    cost = evaluate(QNET, MACHINE)
    text = cost.explain("conv2")
    total = sum(c.energy_pj for c in cost.charges if c.layer == "conv2") / 1000
    assert f"{total:,.3f} nJ" in text and "Horowitz ISSCC 2014" in text and "conv1" not in text
    run = next(run for run in cost.layers if run.layer == "conv2")
    assert f"us = {run.cycles:,} cycles" in text and f"tiles in {run.tiles}" in text
    with pytest.raises(InputError, match="did you mean 'conv2'"):
        cost.explain("conv22")


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("horowitz2014_45nm", "adder_16x16 is of 7 nm at 0.5 V, prices are of 45 nm at 0.9 V"),
        ("horowitz2014_45nm@16nm,0.8V", "adder_16x16 is of 7 nm at 0.5 V, prices are of 16 nm at 0.8 V"),
        ("aladdin_40nm", "adder_16x16 is of 7 nm at 0.5 V, prices are of 40 nm"),
        ("horowitz2014_45nm@7nm,0.5V", None),
    ],
)
def test_the_bill_says_where_prices_are_of_another_node(table: str, said: str | None) -> None:
    there = [text for text in evaluate(QNET, MACHINE, table=table).assumptions if "prices are of" in text]
    assert not there or table == "aladdin_40nm" or "@" in table
    machine = load_hardware(MACHINE, node_nm=7, voltage_v=0.5)
    found = [text for text in evaluate(QNET, machine, table=table).assumptions if "prices are of" in text]
    assert len(found) == (said is not None) and all(text.startswith(f"{said}: a table is scaled") for text in found)


def test_a_table_scales_what_it_prices() -> None:
    plain, scaled = (evaluate(QNET, MACHINE, table=f"horowitz2014_45nm{at}") for at in ("", "@16nm,0.8V"))
    factor = COSTS["horowitz2014_45nm"].at(16, 0.8).price(Primitive("add", 8)).energy_pj / 0.03
    for unit in ("arithmetic", "buffers"):
        assert scaled.energy_by_unit[unit] == pytest.approx(factor * plain.energy_by_unit[unit])
    assert scaled.energy_by_unit["dram"] == plain.energy_by_unit["dram"]
    assert "Stillmaker" in scaled.explain()


def test_every_explained_figure_is_count_times_price_of_a_numbered_source() -> None:
    cost = evaluate(QNET, MACHINE, table="aladdin_40nm")
    text = cost.explain()
    notes = re.findall(r"^\[(\d+)\] (.*)$", text, re.MULTILINE)
    assert [source for _, source in notes] == list(dict.fromkeys(source for _, source in notes))
    assert sorted(source for _, source in notes) == sorted(cost.sources)
    figures = re.findall(
        r"^  \S.*? ([\d,.]+) (nJ|um2) = ([\d,]+) (?:\w+ )?x ([\d.e-]+) (pJ|um2) \[(\d+)\]$", text, re.MULTILINE
    )
    assert len(figures) > 20 and {note for *_, note in figures} <= {number for number, _ in notes}
    totals = {"nJ": 0.0, "um2": 0.0}
    for figure, unit, times, price, _, _ in figures:
        value, product = float(figure.replace(",", "")), int(times.replace(",", "")) * float(price)
        totals[unit] += value
        assert value == pytest.approx(product / 1000 if unit == "nJ" else product, rel=1e-3, abs=1e-3)
    assert totals["nJ"] == pytest.approx(cost.energy_pj / 1000, rel=1e-3)
    assert totals["um2"] == pytest.approx(cost.area_um2, rel=1e-3)


def test_a_network_wider_than_the_machine_is_refused() -> None:
    with pytest.raises(InputError, match=r"'conv1' accumulates in 20 bits, adder_16x16 in 12; call \.on\(hardware\)"):
        evaluate(small_network(), load_hardware(MACHINE, accumulator_bits=12))
    with pytest.raises(InputError, match=r"'conv1' does not fit adder_16x16: x has 8 bits.*call \.on\(hardware\)"):
        evaluate(small_network(), load_hardware(MACHINE, operand_bits=6))
    with pytest.raises(InputError, match="'conv2' does not fit multiplier_16x16"):
        evaluate(QNET, "multiplier_16x16")


def test_a_network_of_floats_is_refused() -> None:
    with pytest.raises(InputError, match="quantise the network"):
        evaluate(without_formats(QNET), MACHINE)


def test_importing_evaluate_loads_nothing_heavy() -> None:
    heavy = "{'torch', 'pandas', 'matplotlib'} & set(sys.modules)"
    code = "import sys, addersim.costs.evaluate, addersim.costs.comparison.compare\n"
    code += f"sys.exit(str({heavy}) if {heavy} else 0)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_products_of_a_residual_addition_are_not_stored_but_for_the_earlier_one() -> None:
    cost = evaluate(residual_network(), MACHINE)
    assert words(cost, "a", "outputs: write outputs 24 b") == 4 * 8 * 8
    assert words(cost, "b", "outputs: write outputs") == 0
    assert words(cost, "add", "inputs: read inputs 24 b") == 4 * 8 * 8
    assert words(cost, "add", "outputs: write outputs 6 b") == 4 * 8 * 8
    spilled = evaluate(residual_network(), load_hardware(MACHINE, buffers=buffers(outputs=192)))
    assert dram(spilled, "a", "write outputs") == dram(spilled, "add", "read inputs") == 4 * 8 * 8 * 24
    assert dram(spilled, "b", "write outputs") == dram(spilled, "add", "write outputs") == 0
