"""Cost tables at other nodes and supplies: the published fits, what they leave alone, what is refused."""

from __future__ import annotations

import pytest

from addersim.arithmetic.primitives import Primitive
from addersim.costs import COSTS, CostTable, load_table
from addersim.costs.tables import scaling
from addersim.errors import InputError

HOROWITZ = COSTS["horowitz2014_45nm"]


def energy(table: CostTable, name: str, bits: int, other: int = 0) -> float:
    return table.price(Primitive(name, bits, other)).energy_pj  # type: ignore[arg-type]


@pytest.mark.parametrize(("node_nm", "vdd_v"), [(45, 0.9), (7, 0.7), (65, 1.1), (22, 0.8)])
def test_scaling_is_the_quotient_of_two_polynomials(node_nm: float, vdd_v: float) -> None:
    def fitted(node: float, volts: float) -> float:
        a2, a1, a0 = scaling.ENERGY[int(node)] if node != 22 else halfway
        return a2 * volts**2 + a1 * volts + a0

    share = (22 - 20) / (32 - 20)
    halfway = [a + share * (b - a) for a, b in zip(scaling.ENERGY[20], scaling.ENERGY[32], strict=True)]
    price = HOROWITZ.at(node_nm, vdd_v).price(Primitive("add", 8))
    assert price.energy_pj == pytest.approx(0.03 * fitted(node_nm, vdd_v) / fitted(45, 0.9))
    assert "Stillmaker" in price.source and f"{node_nm:g} nm {vdd_v:g} V" in price.source
    assert ("interpolated" in price.source) == (node_nm == 22)


def test_scaling_there_and_back() -> None:
    here, there = scaling.Point(node_nm=45, vdd_v=0.9), scaling.Point(node_nm=14, vdd_v=0.8)
    for factor in (scaling.energy_factor, scaling.delay_factor, scaling.area_factor):
        assert factor(here, there) * factor(there, here) == pytest.approx(1)
        assert factor(here, here) == 1 and factor(here, there) < 1


@pytest.mark.parametrize(
    ("source", "target", "printed"),
    [(180, 130, 0.34), (65, 45, 0.66), (65, 7, 0.039), (45, 7, 0.059), (130, 90, 0.44), (32, 20, 0.46), (7, 45, 17)],
)
def test_area_factors_of_the_paper_s_table(source: int, target: int, printed: float) -> None:
    """The table's other columns follow from the one for 45 nm, as far as their two digits go."""
    points = [scaling.Point(node_nm=node, vdd_v=1.0) for node in (source, target)]
    assert scaling.area_factor(*points) == pytest.approx(printed, rel=0.02)


def test_what_scaling_leaves_alone() -> None:
    scaled = load_table("horowitz2014_45nm@16nm,0.8V")
    assert scaled.name == "horowitz2014_45nm@16nm,0.8V"
    assert scaled.dram(64).energy_pj == 1300
    factor = scaled.price(Primitive("add", 8)).energy_pj / 0.03
    assert scaled.memory(8192, 64).energy_pj == pytest.approx(10 * factor)
    aladdin = COSTS["aladdin_40nm"].at(16, 0.8, own_vdd_v=0.9)
    assert aladdin.price(Primitive("add", 8)).leakage_uw is None
    assert aladdin.price(Primitive("add", 8)).area_um2 == pytest.approx(69.5 * 0.19 / (0.46 + 8 / 13 * 0.54))
    ratio = energy(aladdin, "multiply", 8) / energy(aladdin, "add", 8)
    assert ratio == pytest.approx(
        energy(COSTS["aladdin_40nm"], "multiply", 8) / energy(COSTS["aladdin_40nm"], "add", 8)
    )


def test_what_cannot_be_scaled_is_refused() -> None:
    with pytest.raises(InputError, match=r"aladdin_40nm@16nm,0\.8V: prints no voltage.*in Python"):
        COSTS["aladdin_40nm"].at(16, 0.8)
    with pytest.raises(InputError, match="covers 7 to 180 nm"):
        HOROWITZ.at(5, 0.7)
    with pytest.raises(InputError, match="not positive"):
        HOROWITZ.at(180, 0.7)
    with pytest.raises(InputError, match=r"the delay of Stillmaker.* not positive"):
        HOROWITZ.at(45, 9)
    with pytest.raises(InputError, match=r"the energy of Stillmaker.* falling as the voltage rises"):
        HOROWITZ.at(45, 0.1)
    with pytest.raises(InputError, match="did you mean 'horowitz2014_45nm'"):
        load_table("horowitz2014@16nm,0.8V")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "horowitz2014_45nm@16um,0.8V",
            "unknown unit 'um' in '16um'; known: nm for the node, V for the supply, such as",
        ),
        ("horowitz2014_45nm@16nm,800mV", "unknown unit 'mV' in '800mV'; known: nm for the node, V for the supply"),
        (
            "horowitz2014_45nm@16nm",
            "expected a node in nm and a supply in V behind the @, such as horowitz2014_45nm@16nm",
        ),
        ("horowitz2014_45nm@16um", "unknown unit 'um' in '16um'"),
        ("horowitz2014_45nm@,", "expected a node in nm"),
        ("horowitz2014_45nm@0.8V,16nm", "unknown unit 'V' in '0.8V'; known: nm for the node"),
    ],
)
def test_units_of_a_scaled_table(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_table(name)
