"""tornado: one assumption at a time, against comparisons made by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from builders import small_network

from addersim.costs import COSTS, arithmetic_tables
from addersim.costs.comparison.compare import compare
from addersim.costs.comparison.tornado import Swing, Tornado, tornado
from addersim.errors import InputError
from addersim.hardware import load_hardware
from addersim.mapping.dataflows import DATAFLOWS

ADDER, MULTIPLIER = small_network(), small_network("conv2d", "small, multiplied")
MACHINE = load_hardware("adder_16x16")


@pytest.fixture(scope="module")
def taps() -> Tornado:
    return tornado(ADDER, MULTIPLIER, metric="taps")


@pytest.fixture(scope="module")
def energy() -> Tornado:
    return tornado(ADDER, MULTIPLIER)


def swing(found: Tornado, assumption: str) -> Swing:
    return next(one for one in found.swings if one.assumption == assumption)


def ratio(metric: str = "taps", table: object = "horowitz2014_45nm", **fields: object) -> float:
    both = compare(ADDER, MULTIPLIER, hardware=load_hardware(MACHINE, **fields), tables=[table])  # type: ignore[list-item]
    (found,) = both.ratio(metric).values()  # type: ignore[arg-type]
    assert found is not None
    return found


def test_the_widest_comes_first(taps: Tornado) -> None:
    factors = [one.high / one.low for one in taps.swings]
    assert factors == sorted(factors, reverse=True) and taps.widest == taps.swings[0]
    assert taps.ratio == ratio()
    assert all(one.low <= taps.ratio <= one.high for one in taps.swings)


def test_tables(taps: Tornado) -> None:
    found = {name: ratio(table=name) for name in arithmetic_tables()}
    one = swing(taps, "cost table")
    assert (one.low, one.high) == (min(found.values()), max(found.values()))
    assert (found[one.low_case], found[one.high_case]) == (one.low, one.high)


def test_circuits(taps: Tornado) -> None:
    found = {name: ratio(circuit=name) for name in ("two_subtractors", "xor_carry", "comparator")}
    one = swing(taps, "circuit of the distance")
    assert (one.low, one.low_case) == (min(found.values()), min(found, key=lambda name: found[name]))
    assert (one.high, one.high_case) == (found["xor_carry"], "xor_carry")


def test_accumulators_and_gates(taps: Tornado) -> None:
    assert swing(taps, "accumulator width").low == ratio(accumulator_bits=32)
    assert swing(taps, "accumulator width").low_case == "32 bits"
    whole = COSTS["horowitz2014_45nm"].model_copy(update={"gates_from": ""})
    assert swing(taps, "price of a gate").low == ratio(table=whole)


def test_memory_moves_the_whole_and_not_the_taps(taps: Tornado, energy: Tornado) -> None:
    assert swing(taps, "price of DRAM").factor == swing(taps, "prices of SRAM").factor == 1
    cacti = COSTS["horowitz2014_45nm"].with_memory("cacti_45nm")
    one = swing(energy, "prices of SRAM")
    assert ratio("energy", cacti) in (one.low, one.high)
    high = COSTS["horowitz2014_45nm"].model_copy(update={"dram_high": True})
    one = swing(energy, "price of DRAM")
    assert (one.low, one.high) == (energy.ratio, ratio("energy", high)) and one.high_case == "upper end"


def test_output_stages_are_priced_by_their_style(energy: Tornado) -> None:
    nets = []
    for qnet in (ADDER, MULTIPLIER):
        stages = [replace(n.stage, style="shift_only") if n.stage else None for n in qnet.nodes]
        nodes = tuple(replace(n, stage=s) for n, s in zip(qnet.nodes, stages, strict=True))
        nets.append(type(qnet)(qnet.name, nodes, qnet.tensors))
    found = compare(*nets, tables=["horowitz2014_45nm"]).ratio("energy")["horowitz2014_45nm"]
    one = swing(energy, "style of the output stages")
    assert found in (one.low, one.high)


def test_a_table_with_all_its_rows_has_no_gates_to_assume() -> None:
    found = tornado(ADDER, MULTIPLIER, table="aladdin_40nm", metric="area")
    assert "price of a gate" not in [one.assumption for one in found.swings]
    assert list(found.to_pandas().columns[:3]) == ["assumption", "low", "high"]


def test_a_metric_without_a_price_is_refused() -> None:
    with pytest.raises(InputError, match="horowitz2014_45nm has no ratio of area"):
        tornado(ADDER, MULTIPLIER, metric="area")


def test_all_cases_take_the_tiling() -> None:
    shared = {"size_bytes": 60, "holds": ["inputs", "weights", "outputs"], "name": "all", "word_bits": 64}
    small = load_hardware(MACHINE, buffers=[shared], dram={"pj_per_bit": 0.001})  # bits and energies part company
    ratios = {}
    for tiling in ("traffic", "energy"):
        result = tornado(ADDER, MULTIPLIER, hardware=small, dataflow="weight_stationary", tiling=tiling)
        found = {
            flow: compare(ADDER, MULTIPLIER, hardware=small, dataflow=flow, tables=["horowitz2014_45nm"], tiling=tiling)
            for flow in DATAFLOWS
        }
        ratio = {flow: both.ratio("energy")["horowitz2014_45nm"] for flow, both in found.items()}
        assert result.ratio == ratio["weight_stationary"]
        one = swing(result, "dataflow")
        assert (one.low, one.high) == (min(ratio.values()), max(ratio.values()))
        ratios[tiling] = result.ratio
    assert ratios["traffic"] != ratios["energy"]
