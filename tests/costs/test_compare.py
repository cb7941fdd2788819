"""compare: two sides held equal, ratios per table, unfavourable results reported like good ones."""

from __future__ import annotations

import pytest
from builders import small_network

from addersim.costs import arithmetic_tables
from addersim.costs.comparison.compare import METRICS, Comparison, compare
from addersim.costs.evaluate import evaluate
from addersim.errors import InputError
from addersim.hardware import load_hardware, multiplier_twin

ADDER, MULTIPLIER = small_network(), small_network("conv2d", "small, multiplied")


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    return compare(ADDER, MULTIPLIER)


def test_every_table_compares_the_same_two_runs(comparison: Comparison) -> None:
    machine = load_hardware("adder_16x16")
    twin = multiplier_twin(machine)
    assert list(comparison.costs) == arithmetic_tables()
    for name, (adder, multiplier) in comparison.costs.items():
        assert adder == evaluate(ADDER.on(machine), machine, table=name)
        assert multiplier == evaluate(MULTIPLIER.on(twin), twin, table=name)
        assert (adder.dataflow, adder.table) == (multiplier.dataflow, multiplier.table)


def test_ratios_are_multiplier_over_adder(comparison: Comparison) -> None:
    for name, (adder, multiplier) in comparison.costs.items():
        want = {
            "energy": multiplier.energy_pj / adder.energy_pj,
            "arithmetic": multiplier.energy_by_unit["arithmetic"] / adder.energy_by_unit["arithmetic"],
            "taps": multiplier.tap_energy_pj(["conv2"]) / adder.tap_energy_pj(["conv2"]),
            "latency": multiplier.latency_us / adder.latency_us,
        }
        for metric, ratio in want.items():
            assert comparison.ratio(metric)[name] == pytest.approx(ratio)  # type: ignore[arg-type]


def test_taps_win_more_than_the_system(comparison: Comparison) -> None:
    for name in comparison.costs:
        taps, arithmetic, energy = (comparison.ratio(m)[name] for m in ("taps", "arithmetic", "energy"))
        assert taps is not None and arithmetic is not None and energy is not None
        assert taps > arithmetic > 1 and arithmetic > energy


def test_a_range_spans_the_tables(comparison: Comparison) -> None:
    for metric in METRICS:
        ratios = [ratio for ratio in comparison.ratio(metric).values() if ratio is not None]
        assert comparison.range(metric) == (min(ratios), max(ratios))
    assert comparison.ratio("area")["horowitz2014_45nm"] is None
    assert compare(ADDER, MULTIPLIER, tables=["horowitz2014_45nm"]).range("area") is None


def test_the_same_network_on_both_sides_is_even() -> None:
    """Without a side array to run them on, all layers being multiplications, nothing but the name differs."""
    machine = load_hardware("multiplier_16x16")
    pair = (evaluate(MULTIPLIER.on(machine), machine), evaluate(MULTIPLIER.on(machine), machine))
    even = Comparison({"horowitz2014_45nm": pair}, ())
    assert even.ratio("energy") == even.ratio("latency") == {"horowitz2014_45nm": 1.0}
    assert even.ratio("taps") == {"horowitz2014_45nm": None}


def test_unfavourable_results_are_reported(comparison: Comparison) -> None:
    """The side array makes the adder machine slower on layers that stayed multiplications."""
    assert all(ratio is not None and ratio < 1 for ratio in comparison.ratio("latency").values())
    frame = comparison.to_pandas()
    assert len(frame) == len(arithmetic_tables()) * len(METRICS)
    assert (frame[frame.metric == "latency"].ratio < 1).all()
    assert "latency" in comparison._repr_html_()
    assert any("side" in text or "beside the array" in text for text in comparison.assumptions)


def test_assumptions_hold_what_both_sides_rest_on(comparison: Comparison) -> None:
    assert len(set(comparison.assumptions)) == len(comparison.assumptions)
    for pair in comparison.costs.values():
        assert set(pair[0].assumptions) <= set(comparison.assumptions)
    assert not any("NOT the same" in text for text in comparison.assumptions)


def test_different_networks_are_called_so() -> None:
    other = compare(ADDER, small_network("conv2d"), tables="horowitz2014_45nm")
    assert not any("NOT the same" in text for text in other.assumptions)
    shorter = MULTIPLIER.nodes[:-1]
    cut = type(MULTIPLIER)("cut", shorter, {n.name: MULTIPLIER.tensors[n.name] for n in shorter})
    assert any("NOT the same network" in t for t in compare(ADDER, cut, tables=["aladdin_40nm"]).assumptions)


def test_ratios_are_formed_at_a_table_s_own_node(comparison: Comparison) -> None:
    scaled = compare(ADDER, MULTIPLIER, tables=["horowitz2014_45nm@16nm,0.8V"])
    assert scaled.assumptions[0].endswith("own node: horowitz2014_45nm@16nm,0.8V as printed")
    assert scaled.ratio("energy") == {"horowitz2014_45nm": comparison.ratio("energy")["horowitz2014_45nm"]}


def test_each_side_at_its_own_clock(comparison: Comparison) -> None:
    clocks = comparison.own_clock()
    assert clocks["horowitz2014_45nm"] is None
    found = clocks["evoapprox_45nm"]
    assert found is not None
    adder_ns, multiplier_ns = 0.63 * (9 + 24) / 8, 1.40 + 0.63 * 3
    assert (found.adder_mhz, found.multiplier_mhz) == pytest.approx((1000 / adder_ns, 1000 / multiplier_ns))
    equal = comparison.ratio("latency")["evoapprox_45nm"]
    assert equal is not None and found.ratio == pytest.approx(equal * multiplier_ns / adder_ns)


def test_both_bills_explain_themselves(comparison: Comparison) -> None:
    text = comparison.explain("aladdin_40nm")
    assert "small on adder_16x16" in text and "small, multiplied on adder_16x16 with multipliers" in text
    with pytest.raises(InputError, match="did you mean 'aladdin_40nm'"):
        comparison.explain("aladdin_40")


def test_what_cannot_be_compared_is_refused(comparison: Comparison) -> None:
    with pytest.raises(InputError, match="compare starts from an adder machine"):
        compare(ADDER, MULTIPLIER, hardware="multiplier_16x16")
    with pytest.raises(InputError, match="did you mean 'energy'"):
        comparison.ratio("enery")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="at least one"):
        compare(ADDER, MULTIPLIER, tables=[])
    with pytest.raises(InputError, match="does not fit adder_16x16 with multipliers"):
        compare(ADDER, ADDER)
