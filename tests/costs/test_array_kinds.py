"""arrays: four kinds of elements on the same loops, equal in number, area or power."""

from __future__ import annotations

import pytest
from builders import small_network

from addersim.arithmetic.primitives import Primitive
from addersim.costs import COSTS
from addersim.costs.area import array_area_um2
from addersim.costs.comparison.array_kinds import HELD, KINDS, ArrayComparison, compare_arrays
from addersim.costs.evaluate import evaluate
from addersim.errors import InputError
from addersim.hardware import load_hardware, multiplier_twin

ADDER, MULTIPLIER = small_network(), small_network("conv2d", "small, multiplied")
TABLES = ["aladdin_40nm", "horowitz2014_45nm", "evoapprox_45nm"]
MACHINE = load_hardware("adder_16x16")


@pytest.fixture(scope="module")
def found() -> ArrayComparison:
    return compare_arrays(ADDER, MULTIPLIER, tables=TABLES)


def test_adders_and_multipliers_are_what_compare_prices(found: ArrayComparison) -> None:
    twin = multiplier_twin(MACHINE)
    for row in found.rows:
        if row.held == "elements" and row.kind == "adder":
            assert row.cost == evaluate(ADDER.on(MACHINE), MACHINE, table=row.table)
        if row.held == "elements" and row.kind == "multiplier":
            assert row.cost == evaluate(MULTIPLIER.on(twin), twin, table=row.table)


def test_every_kind_runs_the_same_taps(found: ArrayComparison) -> None:
    taps = {sum(run.taps for run in row.cost.layers) for row in found.rows}
    assert len(taps) == 1 and {row.kind for row in found.rows} == set(KINDS)


@pytest.mark.parametrize(("kind", "parts"), [("shift", ["shift 6", "xor 6", "add 24"]), ("xnor", ["xor 1", "add 16"])])
def test_taps_of_other_elements_by_hand(found: ArrayComparison, kind: str, parts: list[str]) -> None:
    table = COSTS["horowitz2014_45nm"]
    row = next(r for r in found.rows if (r.kind, r.held, r.table) == (kind, "elements", table.name))
    words = [part.split() for part in parts]
    tap = sum(table.price(Primitive(name, int(bits))).energy_pj for name, bits in words)  # type: ignore[arg-type]
    assert row.cost.tap_energy_pj(["conv2"]) == pytest.approx(8 * 4 * 4 * 36 * tap)


def test_operands_on_the_way_are_as_narrow_as_the_elements(found: ArrayComparison) -> None:
    for kind, x, w in (("shift", 6, 5), ("xnor", 1, 1)):
        row = next(r for r in found.rows if (r.kind, r.held) == (kind, "elements"))
        actions = {c.action for c in row.cost.charges if c.layer == "conv2" and c.unit == "buffers"}
        assert any(a.startswith("inputs: read") and a.endswith(f" {x} b") for a in actions)
        assert any(a.startswith("weights: read") and a.endswith(f" {w} b") for a in actions)


def test_equal_means_at_most_and_nearly(found: ArrayComparison) -> None:
    for table in TABLES:
        rows = {(row.kind, row.held): row for row in found.rows if row.table == table}
        adder = rows["adder", "elements"]
        for kind in KINDS:
            machine = rows[kind, "power"].cost.hardware
            one = rows[kind, "elements"].array_mw / 256
            assert 0 <= adder.array_mw - rows[kind, "power"].array_mw < one * max(machine.rows, machine.cols)
            if (kind, "area") in rows:
                budget, used = adder.array_um2, rows[kind, "area"].array_um2
                assert budget is not None and used is not None and 0.85 * budget < used <= budget * (1 + 1e-9)
    assert not any(row.held == "area" for row in found.rows if row.table == "horowitz2014_45nm")


def test_area_is_that_of_both_arrays(found: ArrayComparison) -> None:
    side = load_hardware("multiplier_16x16", rows=8, cols=8)
    table = COSTS["aladdin_40nm"]
    row = next(r for r in found.rows if (r.kind, r.held, r.table) == ("adder", "elements", table.name))
    assert row.array_um2 == pytest.approx(array_area_um2(MACHINE, table) + array_area_um2(side, table))


def test_power_is_that_of_busy_elements(found: ArrayComparison) -> None:
    """Without leakage: 256 adders and 64 multipliers, each a tap per cycle at 500 MHz."""
    row = next(r for r in found.rows if (r.kind, r.held, r.table) == ("adder", "elements", "horowitz2014_45nm"))
    taps = {run.layer: run.taps for run in row.cost.layers}
    adder = row.cost.tap_energy_pj(["conv2"]) / taps["conv2"]
    side = row.cost.tap_energy_pj(["conv1", "fc"]) / (taps["conv1"] + taps["fc"])
    assert row.array_mw == pytest.approx((256 * adder + 64 * side) * 500 / 1000)


def test_ratios_stand_side_by_side(found: ArrayComparison) -> None:
    frame = found.to_pandas()
    assert len(frame) == len(found.rows) == 4 * (3 + 2 + 3)
    adders = frame[frame.array == "adder"]
    assert (adders[[c for c in frame.columns if c.endswith("_over_adder")]] == 1).all(axis=None)
    for held in HELD:
        for table, ratio in found.ratio("multiplier", held, "arithmetic").items():
            assert ratio > found.ratio("multiplier", held, "energy")[table]
    assert any("not claimed" in text for text in found.assumptions)


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(InputError, match="compare_arrays starts from an adder machine"):
        compare_arrays(ADDER, MULTIPLIER, hardware="multiplier_16x16")
    with pytest.raises(InputError, match="'conv2' has 6-bit inputs; compare_arrays prices adder_16x16"):
        evaluate(ADDER.on(MACHINE), MACHINE.model_copy(update={"pe": "xnor"}))


def test_every_array_takes_the_tiling() -> None:
    shared = {"size_bytes": 60, "holds": ["inputs", "weights", "outputs"], "name": "all", "word_bits": 64}
    small = load_hardware(MACHINE, buffers=[shared], dram={"pj_per_bit": 0.001})  # bits and energies part company
    energies = {}
    for tiling in ("traffic", "energy"):
        rows = compare_arrays(ADDER, MULTIPLIER, hardware=small, tables=TABLES[1:2], tiling=tiling).rows
        energies[tiling] = [row.cost.energy_pj for row in rows if row.held == "elements"]
        (adder, *_) = energies[tiling]
        assert adder == evaluate(ADDER.on(small), small, table=TABLES[1], tiling=tiling).energy_pj
    pairs = list(zip(energies["energy"], energies["traffic"], strict=True))
    assert all(least <= fewest * (1 + 1e-12) for least, fewest in pairs)
    assert any(least < fewest for least, fewest in pairs)
