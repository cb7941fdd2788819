"""Cost tables: well-formed over the shelf, published figures and ratios reproduced, bad files refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import addersim
from addersim.arithmetic.primitives import NAMES, Primitive
from addersim.costs import COSTS, CostTable, arithmetic_tables, load_table
from addersim.costs.tables.laws import linear, polynomial, power, square
from addersim.costs.tables.rows import Polynomial
from addersim.errors import InputError

HOROWITZ = COSTS["horowitz2014_45nm"]
tables = pytest.mark.parametrize("table", COSTS.values(), ids=list(COSTS))
priced = pytest.mark.parametrize("table", [COSTS[name] for name in arithmetic_tables()], ids=arithmetic_tables())
GOOD = Path(addersim.__file__).parent / "costs" / "tables" / "horowitz2014_45nm.toml"


def energy(table: CostTable, name: str, bits: int, other: int = 0) -> float:
    return table.price(Primitive(name, bits, other)).energy_pj  # type: ignore[arg-type]


@tables
def test_a_table_says_where_it_comes_from(table: CostTable) -> None:
    source = table.source
    assert source.cite and source.short and source.read_from and (source.doi or source.url)
    assert 5 <= source.node_nm <= 250
    assert COSTS[table.name] is table


@priced
@pytest.mark.parametrize("name", NAMES)
def test_prices_do_not_fall_with_the_width(table: CostTable, name: str) -> None:
    if name == "register" and not table.has("register"):
        with pytest.raises(InputError, match="has no row 'register'"):
            energy(table, name, 8)
        return
    prices = [table.price(Primitive(name, bits)) for bits in range(1, 63)]  # type: ignore[arg-type]
    energies = [price.energy_pj for price in prices]
    areas = [price.area_um2 for price in prices if price.area_um2 is not None]
    assert energies[0] > 0 and energies == sorted(energies)
    assert areas == sorted(areas) and len(areas) in {0, len(prices)}
    assert all(table.source.short in price.source for price in prices)


@priced
@pytest.mark.parametrize("bits", range(2, 33))
def test_a_product_costs_at_least_a_sum_of_its_width(table: CostTable, bits: int) -> None:
    product, addition = table.price(Primitive("multiply", bits, bits)), table.price(Primitive("add", bits))
    assert product.energy_pj >= addition.energy_pj
    if product.area_um2 is not None and addition.area_um2 is not None:
        assert product.area_um2 >= addition.area_um2


@priced
def test_rows_are_reproduced_as_printed(table: CostTable) -> None:
    for row in table.primitive:
        name = "xor" if row.name == "bitwise" else row.name
        price = table.price(Primitive(name, row.bits, floating=row.floating))
        assert (price.energy_pj, price.area_um2) == pytest.approx((row.energy_pj, row.area_um2))
        assert (price.leakage_uw, price.delay_ns) == pytest.approx((row.leakage_uw, row.delay_ns))


@tables
def test_memory_grows_with_size_and_width(table: CostTable) -> None:
    sizes = [table.memory(1 << n, 64).energy_pj for n in range(8, 26)]
    assert sizes == sorted(sizes) and sizes[0] > 0
    assert table.memory(65536, 128).energy_pj == pytest.approx(2 * table.memory(65536, 64).energy_pj)
    assert table.dram(64).energy_pj > table.memory(1 << 20, 64).energy_pj


def test_eyeriss_ratios() -> None:
    """To a multiply-accumulate of 16 bits, as in nn_dataflow: DRAM 200, buffer 6, array 2, registers 1."""
    table = COSTS["eyeriss_65nm"]
    assert energy(table, "multiply", 16, 16) == 1 and energy(table, "add", 16) == 0
    assert table.scratchpad(24, 16).energy_pj == table.scratchpad(448, 16).energy_pj == 1
    hop = table.hop(16)
    assert hop is not None and hop.energy_pj == 2
    assert table.memory(131072, 16).energy_pj == table.memory(65536, 16).energy_pj == 6
    assert table.dram(16).energy_pj == 200
    assert table.source.ratios_to == "a 16-bit multiply-accumulate" and table.name not in arithmetic_tables()
    for mixed in (lambda: table.with_memory("cacti_45nm"), lambda: HOROWITZ.with_memory("eyeriss_65nm")):
        with pytest.raises(
            InputError, match="eyeriss_65nm: prints ratios to a 16-bit multiply-accumulate, which do not"
        ):
            mixed()


@pytest.mark.parametrize(
    ("primitive", "message"),
    [
        (Primitive("multiply", 8, 8), "no price for multiply 8 x 8 b; the nearest multiply-accumulate has 16 b"),
        (Primitive("multiply", 16, 8), "no price for multiply 16 x 8 b; it prices multiply-accumulates only"),
        (Primitive("subtract", 17), "no price for subtract 17 b; it prices multiply-accumulates only"),
        (Primitive("absolute", 16), "no price for absolute 16 b"),
    ],
)
def test_what_a_table_of_multiply_accumulates_cannot_price(primitive: Primitive, message: str) -> None:
    with pytest.raises(InputError, match=message):
        COSTS["eyeriss_65nm"].price(primitive)
    assert "not priced by this table" in COSTS["eyeriss_65nm"].price(Primitive("compare", 9)).source


def test_scratchpads_and_hops_are_proportional_to_the_word() -> None:
    table = COSTS["eyeriss_65nm"]
    narrow = table.hop(6)
    assert narrow is not None and narrow.energy_pj == 0.75
    assert narrow.source.endswith("from element to element 2 pJ per 16 b; proportional to the word -> 6 b: 0.75 pJ")
    assert table.scratchpad(512, 4).energy_pj == 0.25
    assert HOROWITZ.hop(16) is None
    assert HOROWITZ.scratchpad(448, 16) == HOROWITZ.memory(448, 16)


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
    with pytest.raises(InputError, match="no price for fp24 add; the nearest is fp16"):
        HOROWITZ.price(Primitive("add", 24, floating=True))
    with pytest.raises(InputError, match="it has no floats"):
        COSTS["aladdin_40nm"].price(Primitive("add", 32, floating=True))


def test_a_source_names_rows_law_and_result() -> None:
    price = HOROWITZ.price(Primitive("absolute", 17))
    assert price.source == (
        "Horowitz ISSCC 2014 fig. 1.1.9: add 8 b 0.03 pJ, 16 b 0.05 pJ, 32 b 0.1 pJ; linear between rows "
        "-> 17 b: 0.05313 pJ; an absolute value is charged as an addition, "
        "an upper bound, as in QKeras qtools"
    )
    assert "no shifter" in HOROWITZ.price(Primitive("shift", 17)).source
    assert "no comparator" in HOROWITZ.price(Primitive("compare", 8)).source
    assert energy(COSTS["aladdin_40nm"], "compare", 32) == 0.02947


def test_shiftaddnas_charges_no_accumulation() -> None:
    table = COSTS["shiftaddnas_45nm"]
    assert energy(table, "multiply", 8, 8) / energy(table, "add", 8) == pytest.approx(6.67, abs=0.006)
    assert energy(table, "shift", 8) == 0.024


def test_detection_energies_of_the_neurips_2021_paper() -> None:
    """Operations in G and energies in mJ as printed: 3.7 pJ a product and 0.9 pJ an addition of fp32, no memory."""
    rows = {
        "FCOS": (214.7, 214.7, 987.7),
        "Adder FCOS, backbone": (129.9, 299.5, 750.2),
        "Adder FCOS, backbone and neck": (112.9, 316.5, 702.7),
        "Sparse R-CNN": (156.4, 156.4, 719.5),
        "Adder Sparse R-CNN": (71.59, 241.2, 482.0),
        "RetinaNet": (239.3, 239.3, 1100),
        "FCOS-RT": (74.86, 74.86, 344.4),
        "Adder FCOS-RT": (45.06, 104.7, 260.9),
        "Adder FCOS, ResNet-101": (145.7, 443.5, 938.1),
    }
    product, addition = (HOROWITZ.price(Primitive(n, 32, floating=True)).energy_pj for n in ("multiply", "add"))
    for name, (products, additions, published_mj) in rows.items():
        assert products * product + additions * addition == pytest.approx(published_mj, rel=1e-3), name


def test_gates_cost_a_share_of_an_addition() -> None:
    aladdin = COSTS["aladdin_40nm"]
    share = 0.0180559 / 0.21
    assert energy(aladdin, "xor", 8) == pytest.approx(0.0180559 / 4)
    assert energy(HOROWITZ, "xor", 8) == pytest.approx(share * 0.03)
    assert energy(HOROWITZ, "select", 8) == pytest.approx(3 * share * 0.03)
    assert "bitwise / add of Aladdin" in HOROWITZ.price(Primitive("select", 8)).source
    whole = HOROWITZ.model_copy(update={"gates_from": ""})
    assert energy(whole, "xor", 8) == 0.03 and "as in QKeras" in whole.price(Primitive("xor", 8)).source


def test_registers_leakage_and_delays_by_width() -> None:
    aladdin, evoapprox = COSTS["aladdin_40nm"], COSTS["evoapprox_45nm"]
    assert energy(aladdin, "register", 24) == pytest.approx(24 * 0.009)
    assert aladdin.price(Primitive("add", 8)).leakage_uw == pytest.approx(2.4 / 4)
    assert aladdin.price(Primitive("multiply", 8)).leakage_uw == pytest.approx(80 / 16)
    assert aladdin.price(Primitive("add", 8)).delay_ns == 0.98
    assert evoapprox.price(Primitive("add", 24)).delay_ns == pytest.approx(3 * 0.63)
    assert evoapprox.price(Primitive("add", 24)).leakage_uw is None


def test_memories_of_another_table() -> None:
    cacti = COSTS["cacti_45nm"]
    assert [cacti.memory(k * 1024, 64).energy_pj for k in (1, 8, 32, 64, 128, 1024)] == pytest.approx(
        [1.67, 6.14, 17.0, 25.9, 32.3, 93.5]
    )
    assert [cacti.memory(k * 1024, 64, write=True).energy_pj for k in (1, 8, 1024)] == pytest.approx([3.49, 7.88, 76.2])
    assert cacti.memory(8192, 8).area_um2 == pytest.approx(26_000)
    assert cacti.dram(64).energy_pj == 1300
    mixed = COSTS["aladdin_40nm"].with_memory("cacti_45nm")
    assert mixed.memory(8192, 64) == replace(cacti.memory(8192, 64), source=mixed.memory(8192, 64).source)
    assert energy(mixed, "add", 32) == 0.21
    with pytest.raises(InputError, match="has no row 'add'"):
        energy(cacti, "add", 8)


def test_dram_at_the_upper_end() -> None:
    high = HOROWITZ.model_copy(update={"dram_high": True}).dram(64)
    assert high.energy_pj == 2600 and "upper end" in high.source


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
        ("node_nm = 45", "node_mm = 45", "Source has no 'node_mm'; unknown unit 'mm', known: 'node_nm' in nm"),
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
        ("energy_pj = 0.03", "energy_nj = 0.03", "Row has no 'energy_nj'; unknown unit 'nj', known: 'energy_pj' in pJ"),
        ("energy_pj = 0.03", 'energy_pj = "30 fJ"', r"energy_pj = '30 fJ': expected a plain number, in pJ; the key"),
        (
            "node_nm = 45",
            'node_nm = "45nm"',
            r"source\.node_nm = '45nm': expected a plain number, in nm; the key names",
        ),
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


def test_widths_beyond_the_rows_are_charged_as_extrapolated() -> None:
    said = {bits: HOROWITZ.price(Primitive("add", bits)).source for bits in (4, 8, 17, 32, 40)}
    assert "; extrapolated from 8 b: proportional to the width -> 4 b: 0.015 pJ" in said[4]
    assert "; extrapolated from 32 b: proportional to the width -> 40 b: 0.125 pJ" in said[40]
    assert all("extrapolated" not in said[bits] for bits in (8, 17, 32))
    for size, outside in ((4096, True), (8192, False), (1 << 20, False), (1 << 21, True)):
        assert ("power law in the size, extrapolated, proportional" in HOROWITZ.memory(size, 64).source) == outside
    qnet = addersim.quantize(addersim.example_network(), addersim.sample("fashion_sample", limit=4)[0], bits=4)
    explained = addersim.evaluate(qnet.on("adder_16x16")).explain()
    assert "extrapolated from 8 b: proportional to the width -> 4 b" in explained


def test_a_width_at_which_a_fit_has_no_price_names_the_nearest() -> None:
    fit = {"name": "multiply", "coefficients": (-1.0, 0.0, 0.01)}
    table = HOROWITZ.model_copy(update={"polynomial": (Polynomial(**fit),)})
    assert energy(table, "multiply", 11) == pytest.approx(0.21)
    with pytest.raises(
        InputError, match="no price for multiply of 4 b, where its fit is not positive; the nearest is 11 b"
    ):
        energy(table, "multiply", 4)


def test_a_power_law_needs_two_rows(tmp_path: Path) -> None:
    path = tmp_path / "my_table.toml"
    rows = GOOD.read_text().split("[[primitive]]")
    one = [row for row in rows if 'name = "multiply"' not in row or "bits = 8\n" in row]
    path.write_text("[[primitive]]".join(one))
    with pytest.raises(InputError, match=r"laws\.multiply = 'power' needs two rows of 'multiply', there is one"):
        load_table(path)


def test_what_has_no_price_is_refused() -> None:
    with pytest.raises(InputError, match="no price for 'multiple'; did you mean 'multiply'"):
        energy(HOROWITZ, "multiple", 8)
    with pytest.raises(InputError, match="0 bits"):
        energy(HOROWITZ, "add", 0)
    with pytest.raises(InputError, match="0 bytes"):
        HOROWITZ.memory(0, 64)


def test_ratios_do_not_borrow_memories(tmp_path: Path) -> None:
    path = tmp_path / "mixed.toml"
    text = (GOOD.parent / "eyeriss_65nm.toml").read_text()
    path.write_text(text.replace('memory_from = ""', 'memory_from = "cacti_45nm"'))
    with pytest.raises(InputError, match="memory_from: ratios do not go with another table's pJ"):
        load_table(path)
