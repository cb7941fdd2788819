"""area: components, leakage and clock, against sums by hand."""

from __future__ import annotations

import pytest

from addersim.costs import COSTS, load_table
from addersim.costs.area import areas, array_area_um2, clock, leakage_uw
from addersim.errors import InputError
from addersim.hardware import load_hardware

MACHINE = load_hardware("adder_16x16", multiplier_rows=0, multiplier_cols=0)
ALADDIN = COSTS["aladdin_40nm"]


def test_area_and_leakage_by_hand() -> None:
    """Per element: 9-bit subtractor, 8 XORs, 24-bit adder, 16 + 24 bits of registers."""
    um2 = 278 * (9 + 24) / 32 + 50.36996 * 8 / 32 + 5.98 * 40
    uw = 2.4 * (9 + 24) / 32 + 0.6111633 * 8 / 32 + 0.07395312 * 40
    assert array_area_um2(MACHINE, ALADDIN) == pytest.approx(256 * um2)
    assert leakage_uw(MACHINE, ALADDIN) == pytest.approx((256 * uw,))
    assert leakage_uw(load_hardware("adder_16x16"), COSTS["evoapprox_45nm"]) == (0, 0)


def test_buffers_have_an_area_where_a_table_prints_one() -> None:
    plain = {area.component: area.area_um2 for area in areas(MACHINE, ALADDIN)}
    cacti = {area.component: area.area_um2 for area in areas(MACHINE, ALADDIN.with_memory("cacti_45nm"))}
    assert plain["inputs buffer, bytes"] is None
    assert cacti["inputs buffer, bytes"] == pytest.approx(209_000)
    assert plain["array: leaf xor 8 b"] == cacti["array: leaf xor 8 b"] == pytest.approx(256 * 50.36996 / 4)


def test_area_scales_with_the_node() -> None:
    scaled = ALADDIN.at(45, 0.9, own_vdd_v=0.9)
    factor = 1 / (0.46 + 8 / 13 * 0.54)
    assert array_area_um2(MACHINE, scaled) == pytest.approx(factor * array_area_um2(MACHINE, ALADDIN))


def test_a_table_without_areas_is_refused() -> None:
    with pytest.raises(InputError, match="horowitz2014_45nm: prints no areas"):
        array_area_um2(MACHINE, COSTS["horowitz2014_45nm"])


@pytest.mark.parametrize(
    ("name", "circuit", "path_ns"),
    [
        ("aladdin_40nm", "xor_carry", 0.98 + 0.06 + 0.98),
        ("aladdin_40nm", "two_subtractors", 0.98 + 0.06 + 0.98),
        ("aladdin_5ns_40nm", "comparator", 1.75 + 0.06 + 1.75 + 1.75),
        ("evoapprox_45nm", "xor_carry", 0.63 * (9 + 24) / 8),
        ("evoapprox_fast_45nm", "xor_carry", 0.43 * 2),
    ],
)
def test_critical_path_by_hand(name: str, circuit: str, path_ns: float) -> None:
    found = clock(load_hardware(MACHINE, circuit=circuit), COSTS[name])
    assert found.mhz == pytest.approx(1000 / path_ns)
    assert COSTS[name].source.short in found.source


def test_pipeline_stages_cut_the_path_down_to_the_slowest_component() -> None:
    machines = [load_hardware("multiplier_16x16", pipeline_stages=stages) for stages in (1, 2, 8)]
    rates = [clock(machine, COSTS["evoapprox_45nm"]).mhz for machine in machines]
    path_ns = 1.40 + 0.63 * 3
    assert rates == pytest.approx([1000 / path_ns, 1000 / 1.89, 1000 / 1.89])


def test_an_unknown_delay_is_named() -> None:
    found = clock(MACHINE, load_table("horowitz2014_45nm"))
    assert found.mhz is None and "no delay of subtract 9 b, add 24 b" in found.source
    missing = clock(load_hardware(MACHINE, circuit="comparator"), ALADDIN)
    assert missing.mhz is None and "no delay of compare 8 b" in missing.source
