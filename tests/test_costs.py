"""Cost tables: well-formed over the shelf, published figures and ratios reproduced, bad files refused."""

from __future__ import annotations

from pathlib import Path

import pytest

import addersim
from addersim.costs import COSTS, CostTable, load_table
from addersim.costs.laws import linear, polynomial, power, square
from addersim.errors import InputError
from addersim.primitives import NAMES, Primitive

HOROWITZ = COSTS["horowitz2014_45nm"]
tables = pytest.mark.parametrize("table", COSTS.values(), ids=list(COSTS))
GOOD = Path(addersim.__file__).parent / "costs" / "horowitz2014_45nm.toml"


def energy(table: CostTable, name: str, bits: int, other: int = 0) -> float:
    return table.price(Primitive(name, bits, other)).energy_pj  # type: ignore[arg-type]


@tables
def test_a_table_says_where_it_comes_from(table: CostTable) -> None:
    source = table.source
    assert source.cite and source.short and source.read_from and (source.doi or source.url)
    assert 5 <= source.node_nm <= 250
    assert COSTS[table.name] is table


@tables
@pytest.mark.parametrize("name", NAMES)
def test_prices_do_not_fall_with_the_width(table: CostTable, name: str) -> None:
    prices = [table.price(Primitive(name, bits)) for bits in range(1, 63)]  # type: ignore[arg-type]
    energies = [price.energy_pj for price in prices]
    areas = [price.area_um2 for price in prices if price.area_um2 is not None]
    assert energies[0] > 0 and energies == sorted(energies)
    assert areas == sorted(areas) and len(areas) in {0, len(prices)}
    assert all(table.source.short in price.source for price in prices)


@tables
@pytest.mark.parametrize("bits", range(2, 33))
def test_a_product_costs_at_least_a_sum_of_its_width(table: CostTable, bits: int) -> None:
    product, addition = table.price(Primitive("multiply", bits, bits)), table.price(Primitive("add", bits))
    assert product.energy_pj >= addition.energy_pj
    if product.area_um2 is not None and addition.area_um2 is not None:
        assert product.area_um2 >= addition.area_um2


@tables
def test_rows_are_reproduced_as_printed(table: CostTable) -> None:
    for row in table.primitive:
        if row.name != "register":
            price = table.price(Primitive(row.name, row.bits, floating=row.floating))
            assert (price.energy_pj, price.area_um2) == pytest.approx((row.energy_pj, row.area_um2))


@tables
def test_memory_grows_with_size_and_width(table: CostTable) -> None:
    sizes = [table.memory(1 << n, 64).energy_pj for n in range(8, 26)]
    assert sizes == sorted(sizes) and sizes[0] > 0
    assert table.memory(65536, 128).energy_pj == pytest.approx(2 * table.memory(65536, 64).energy_pj)
    assert table.dram(64).energy_pj > table.memory(1 << 20, 64).energy_pj


def test_memory_is_horowitz_s() -> None:
    found = [HOROWITZ.memory(size * 1024, 64).energy_pj for size in (8, 32, 1024)]
    assert found == pytest.approx([10, 20, 100])
    assert HOROWITZ.dram(64).energy_pj == 1300 and HOROWITZ.dram(1).energy_pj == 20.3125
    assert "1300-2600" in HOROWITZ.dram(1).source
    assert "not rescaled" in COSTS["aladdin_40nm"].dram(1).source


@pytest.mark.parametrize(
    ("name", "accumulator_bits", "published"),
    [
        ("horowitz2014_45nm", 32, 2.31),
        ("horowitz2014_45nm", 16, 3.12),
        ("qkeras_fit_45nm", 24, 2.75),
        ("aladdin_40nm", 24, 4.52),
        ("aladdin_40nm", 16, 5.70),
    ],
)
def test_published_ratio_of_a_product_tap_to_a_difference_tap(
    name: str, accumulator_bits: int, published: float
) -> None:
    """(multiply 8 + add) / (add 8 + add), the absolute value left out, as the comparisons print it."""
    table = COSTS[name]
    add = energy(table, "add", accumulator_bits)
    ratio = (energy(table, "multiply", 8, 8) + add) / (energy(table, "subtract", 8) + add)
    assert ratio == pytest.approx(published, abs=0.006)


def test_qkeras_prints_these() -> None:
    table = COSTS["qkeras_fit_45nm"]
    assert energy(table, "add", 8) == pytest.approx(0.025)
    assert energy(table, "multiply", 8) == pytest.approx(0.2, abs=1e-6)
    assert energy(table, "multiply", 32) == pytest.approx(3.1, abs=1e-5)


def test_evoapprox_keeps_the_ratios_of_its_headers() -> None:
    table = COSTS["evoapprox_45nm"]
    product, addition = table.price(Primitive("multiply", 8)), table.price(Primitive("add", 8))
    assert product.energy_pj / addition.energy_pj == pytest.approx(390.2 / 32.96)
    assert product.area_um2 is not None and addition.area_um2 is not None
    assert product.area_um2 / addition.area_um2 == pytest.approx(616 / 67)
    assert "ASSUMPTION" in table.source.note


def test_floats_are_priced_at_their_rows_only() -> None:
    fp32 = {name: HOROWITZ.price(Primitive(name, 32, floating=True)).energy_pj for name in ("add", "multiply")}
    assert fp32 == {"add": 0.9, "multiply": 3.7}
    with pytest.raises(InputError, match="no price for fp24 add; known: fp16, fp32"):
        HOROWITZ.price(Primitive("add", 24, floating=True))
    with pytest.raises(InputError, match="known: none"):
        COSTS["aladdin_40nm"].price(Primitive("add", 32, floating=True))


def test_a_source_names_rows_law_and_result() -> None:
    price = HOROWITZ.price(Primitive("absolute", 17))
    assert price.source == (
        "Horowitz ISSCC 2014 fig. 1.1.9: add 8 b 0.03 pJ, 16 b 0.05 pJ, 32 b 0.1 pJ; linear between rows and "
        "proportional to the width outside -> 17 b: 0.05313 pJ; an absolute value is charged as an addition, "
        "an upper bound, as in QKeras qtools"
    )
    assert "upper bound" in HOROWITZ.price(Primitive("shift", 17)).source
    assert "no comparator" in HOROWITZ.price(Primitive("compare", 8)).source
    assert energy(COSTS["aladdin_40nm"], "compare", 32) == 0.02947


def test_laws() -> None:
    rows = [(8.0, 0.2), (16.0, 0.8), (32.0, 3.2)]
    assert [power(rows, x) for x in (4, 8, 12, 64)] == pytest.approx([0.05, 0.2, 0.45, 12.8])
    assert [square(rows, x) for x in (4, 8, 64)] == pytest.approx([0.05, 0.2, 12.8])
    assert linear(rows, 24) == pytest.approx(2.0)
    assert polynomial([1, 2, 3], 2) == 17
    with pytest.raises(InputError, match="two rows"):
        power(rows[:1], 4)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('add = "linear"', 'add = "liner"', r"laws\.add = 'liner': input should be 'linear'"),
        ('add = "linear"', "", "laws needs 'add'"),
        ("node_nm = 45", "node_mm = 45", "Source has no 'node_mm'; did you mean 'node_nm'"),
        ("node_nm = 45", "", "Source needs 'node_nm'"),
        ("energy_pj = 0.03", 'energy_pj = "0.03"', r"primitive\[0\]\.energy_pj = '0\.03'"),
        (
            "energy_pj = 0.03",
            "energy_pj = -1",
            r"primitive\[0\]\.energy_pj = -1: input should be greater than 0",
        ),
        ("energy_pj = 0.03", "energy_pj = nan", r"primitive\[0\]\.energy_pj = nan"),
        ("[dram]", "[drum]", "CostTable has no 'drum'; did you mean 'dram'"),
        ("energy_high_pj", "energy_hi_pj", "Dram has no 'energy_hi_pj'; did you mean 'energy_high_pj'"),
        ("bits = 8\n", "bits = \n", "not a TOML file"),
    ],
)
def test_a_bad_file_is_refused_in_one_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "my_table.toml"
    path.write_text(GOOD.read_text().replace(old, new, 1))
    with pytest.raises(InputError, match=message) as caught:
        load_table(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_table_is_found_by_name_path_or_value(tmp_path: Path) -> None:
    path = tmp_path / "copy.toml"
    path.write_text(GOOD.read_text())
    assert load_table(path) == load_table(str(path)) == load_table(HOROWITZ) == load_table("horowitz2014_45nm")
    with pytest.raises(InputError, match="did you mean 'horowitz2014_45nm'"):
        load_table("horowitz2014")
    with pytest.raises(InputError, match="cannot be read"):
        load_table(tmp_path / "absent.toml")


def test_what_has_no_price_is_refused() -> None:
    with pytest.raises(InputError, match="no price for 'multiple'; did you mean 'multiply'"):
        energy(HOROWITZ, "multiple", 8)
    with pytest.raises(InputError, match="0 bits"):
        energy(HOROWITZ, "add", 0)
    with pytest.raises(InputError, match="0 bytes"):
        HOROWITZ.memory(0, 64)
