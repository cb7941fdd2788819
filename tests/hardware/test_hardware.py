"""Machines: the shelf, the twin, what fits, and how bad files are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

import addersim
from addersim.arithmetic.datapath import Datapath, exact_datapath
from addersim.arithmetic.fixed import IntFormat, Overflow
from addersim.errors import InputError
from addersim.hardware import HARDWARE, ROLES, Hardware, load_hardware, multiplier_twin, with_full_side_array
from addersim.hardware.elements import array_parts
from addersim.hardware.fit import fit

machines = pytest.mark.parametrize("machine", HARDWARE.values(), ids=list(HARDWARE))
GOOD = Path(addersim.__file__).parent / "hardware" / "machines" / "adder_16x16.toml"
U8, S8, U9 = IntFormat(8, False), IntFormat(8, True), IntFormat(9, False)


def adder(depth: int = 144, x: IntFormat = U8, w: IntFormat = U8) -> Datapath:
    return exact_datapath("adder", x, w, depth)


@machines
def test_a_machine_is_complete(machine: Hardware) -> None:
    assert HARDWARE[machine.name] is machine
    assert machine.description and machine.source
    assert all(role in machine.buffer(role).holds for role in ROLES)
    assert machine.array(machine.pe) == (machine.rows, machine.cols)


@pytest.mark.parametrize("name", ["16x16", "32x32"])
def test_shipped_twins_differ_in_the_elements_only(name: str) -> None:
    keep = {"name", "description"}
    twin = multiplier_twin(HARDWARE[f"adder_{name}"])
    assert twin.model_dump(exclude=keep) == HARDWARE[f"multiplier_{name}"].model_dump(exclude=keep)
    assert multiplier_twin(twin) is twin
    edge = multiplier_twin(HARDWARE["edge_small"]).model_dump(exclude=keep)
    assert edge == HARDWARE["edge_small_multiplier"].model_dump(exclude=keep)


def test_fit_widens_the_accumulator_and_keeps_the_rest() -> None:
    machine, before = load_hardware("adder_16x16", circuit="comparator"), adder()
    after = fit(machine, "conv", "adder", before)
    assert str(after.accumulator.format) == "u24" and str(before.accumulator.format) == "u16"
    assert (after.x, after.w, after.difference, after.leaf) == (
        before.x,
        before.w,
        before.difference,
        before.leaf,
    )
    assert after.circuit == "comparator"
    product = fit(machine, "fc", "multiplier", exact_datapath("multiplier", U8, S8, 8))
    assert str(product.accumulator.format) == "s24"


def test_the_side_array_has_its_own_accumulators() -> None:
    machine = load_hardware("adder_16x16", accumulator_bits=12, multiplier_accumulator_bits=26)
    assert str(fit(machine, "conv", "adder", adder()).accumulator.format) == "u12"
    path = exact_datapath("multiplier", U8, S8, 8)
    assert str(fit(machine, "fc", "multiplier", path).accumulator.format) == "s26"
    twin = multiplier_twin(machine)
    assert (twin.accumulator_bits, twin.multiplier_accumulator_bits) == (26, None)
    assert [twin.sum_bits("multiplier"), machine.sum_bits("adder"), machine.sum_bits("multiplier")] == [26, 12, 26]
    narrow = load_hardware("adder_16x16", accumulator_bits=12)
    assert str(fit(narrow, "fc", "multiplier", path).accumulator.format) == "s12"
    parts = [
        [(part.role, part.primitive.bits) for part in array_parts("multiplier", 64, one) if part.role == "accumulator"]
        for one in (machine, load_hardware("adder_16x16", accumulator_bits=26))
    ]
    assert parts[0] == parts[1] == [("accumulator", 26)] * 2
    for wrong, said in (({"multiplier_accumulator_bits": 7}, "multiplier_accumulator_bits: expected operand_bits or"),
                        ({"multiplier_rows": 0, "multiplier_cols": 0}, "bits: expected a side array")):  # fmt: skip
        with pytest.raises(InputError, match=said):
            load_hardware(machine, **wrong)


def test_fit_narrows_by_saturation() -> None:
    machine = load_hardware("adder_16x16", accumulator_bits=12)
    stage = fit(machine, "conv", "adder", adder()).accumulator
    assert str(stage.format) == "u12" and stage.overflow == Overflow.SATURATE


@pytest.mark.parametrize(
    ("name", "kind", "datapath", "message"),
    [
        ("multiplier_16x16", "adder", adder(), "a layer of adders, but the machine has multipliers only"),
        ("adder_16x16", "adder", adder(x=U9), "x has 9 bits; expected operand_bits = 8 or fewer"),
        ("adder_16x16", "adder", adder(w=U9), "w has 9 bits"),
        ("adder_16x16", "adder", adder(w=S8), "x - w has 10 bits; expected 9 or fewer"),
        ("adder_16x16", "adder", exact_datapath("adder", U8, U8, 9, tree_inputs=4), "sums 4 channels, not 1"),
    ],
)
def test_what_does_not_fit_names_the_layer(name: str, kind: str, datapath: Datapath, message: str) -> None:
    with pytest.raises(InputError, match=f"layer 'conv7' does not fit {name}") as caught:
        fit(HARDWARE[name], "conv7", kind, datapath)  # type: ignore[arg-type]
    assert message in str(caught.value)


def test_multiplications_need_a_side_array() -> None:
    machine = load_hardware("adder_16x16", multiplier_rows=0, multiplier_cols=0)
    with pytest.raises(InputError, match="no side array of multipliers"):
        fit(machine, "fc", "multiplier", exact_datapath("multiplier", U8, S8, 8))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("rows = 16", "row = 16", "Hardware has no 'row'; did you mean 'rows'"),
        ("rows = 16", 'rows = "16"', "rows = '16': input should be a valid integer"),
        ("rows = 16", "rows = 16.0", "rows = 16.0: input should be a valid integer"),
        ("rows = 16", "rows = true", "rows = True: input should be a valid integer"),
        ("rows = 16", "rows = 0", "rows = 0: input should be greater than or equal to 1"),
        ("rows = 16", "", "Hardware needs 'rows'"),
        ('pe = "adder"', 'pe = "shifter"', "pe = 'shifter': input should be 'adder', 'multiplier', 'shift' or 'xnor'"),
        ('pe = "adder"', 'pe = "xnor"', "operand_bits: an xnor element takes single bits, expected 1"),
        ("size_bytes = 65536", "size_byte = 65536", "Buffer has no 'size_byte'; did you mean 'size_bytes'"),
        ('name = "inputs"', 'name = "weights"', "buffers: expected names that differ, not weights, weights, outputs"),
        ('name = "inputs"', 'name = "In"', "buffers[0].name = 'In': string should match pattern"),
        ('holds = ["inputs"]', 'holds = ["inputs", "inputs"]', "holds of 'inputs': expected every operand once"),
        (
            'holds = ["inputs"]',
            'holds = ["input"]',
            "buffers[0].holds[0] = 'input': input should be 'inputs', 'weights'",
        ),
        ('holds = ["inputs"]', "holds = []", "buffers[0].holds = []"),
        ("word_bits = 128", "word_bits = 128\nports = 0", "buffers[0].ports = 0"),
        ("bits_per_cycle = 64", "bits_per_cycl = 64", "Dram has no 'bits_per_cycl'; did you mean 'bits_per_cycle'"),
        ("bits_per_cycle = 64", "bits_per_cycle = 64\npj_per_bit = -1", "dram.pj_per_bit = -1"),
        ("clock_mhz = 500", "clock_ghz = 0.5", "'clock_ghz'; unknown unit 'ghz', known: 'clock_mhz' in MHz"),
        (
            "clock_mhz = 500",
            'clock_mhz = "500 kHz"',
            "clock_mhz = '500 kHz': expected a plain number, in MHz; the key names",
        ),
        (
            "size_bytes = 65536",
            "size_kb = 64",
            "Buffer has no 'size_kb'; unknown unit 'kb', known: 'size_bytes' in bytes",
        ),
        (
            "bits_per_cycle = 64",
            "bytes_per_cycle = 8",
            "unknown unit 'bytes', known: 'bits_per_cycle' in bits per cycle",
        ),
        ("lanes = 16", "lane = 16", "Vector has no 'lane'; did you mean 'lanes'"),
        ("rows = 16", "rows = 16\ntree_inputs = 3", "tree_inputs: expected a divisor of rows and multiplier_rows"),
        ("rows = 16", "rows = 16\npipeline_stages = 0", "pipeline_stages = 0"),
        ("voltage_v = 0.9", "voltage_v = 900", "voltage_v = 900"),
        ("multiplier_rows = 8", "multiplier_rows = 0", "expected both 0 or both positive"),
        ("accumulator_bits = 24", "accumulator_bits = 7", "accumulator_bits: expected operand_bits or more"),
        ("clock_mhz = 500", "clock_mhz = inf", "clock_mhz = inf"),
    ],
)
def test_a_bad_file_is_refused_in_one_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = tmp_path / "my_chip.toml"
    path.write_text(GOOD.read_text().replace(old, new, 1))
    with pytest.raises(InputError) as caught:
        load_hardware(path)
    assert message in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_overrides_are_checked_like_files() -> None:
    assert load_hardware("adder_16x16", rows=4, clock_mhz=250).rows == 4
    assert load_hardware("adder_16x16").rows == 16
    with pytest.raises(InputError, match="overrides of adder_16x16: Hardware has no 'colls'; did you mean 'cols'"):
        load_hardware("adder_16x16", colls=4)
    with pytest.raises(InputError, match="cols = 'x'"):
        load_hardware("adder_16x16", cols="x")
    with pytest.raises(InputError, match="a multiplier machine has no side array"):
        load_hardware("adder_16x16", pe="multiplier")
    with pytest.raises(InputError, match="did you mean 'adder_16x16'"):
        load_hardware("adder_16x61")


def test_a_mapping_replaces_its_keys_only() -> None:
    machine = load_hardware("adder_16x16", dram={"pj_per_bit": 4}, buffers={"outputs": {"ports": 2}})
    assert (machine.dram.bits_per_cycle, machine.dram.pj_per_bit) == (64, 4)
    assert machine.buffer("outputs").bits_per_cycle == 2 * machine.buffer("inputs").bits_per_cycle == 256
    with pytest.raises(InputError, match="buffers: none is called 'output'; did you mean 'outputs'"):
        load_hardware("adder_16x16", buffers={"output": {"ports": 2}})
    with pytest.raises(InputError, match="Buffer has no 'port'; did you mean 'ports'"):
        load_hardware("adder_16x16", buffers={"outputs": {"port": 2}})


def test_an_operand_may_pass_any_number_of_buffers() -> None:
    inner = {"name": "near", "holds": ["inputs"], "size_bytes": 512, "word_bits": 8}
    outer = {"name": "global", "holds": ["outputs", "inputs"], "size_bytes": 9999, "word_bits": 64}
    machine = load_hardware("adder_16x16", buffers=[inner, {**outer, "double_buffered": True}])
    assert [b.name for b in machine.levels("inputs")] == ["near", "global"]
    assert machine.buffer("inputs").name == "near" and machine.buffer("outputs").name == "global"
    assert machine.buffer("outputs").tile_bytes == 4999 and machine.buffer("inputs").tile_bytes == 512
    assert machine.levels("weights") == ()
    with pytest.raises(InputError, match="adder_16x16 has no buffer that holds weights"):
        machine.buffer("weights")


def test_fit_gives_a_layer_the_machines_adder_tree() -> None:
    machine = load_hardware("adder_16x16", tree_inputs=8)
    after = fit(machine, "conv", "adder", adder())
    assert after.tree_inputs == 8 and [str(stage.format) for stage in after.tree] == ["u9", "u10", "u11"]
    assert after.tree == exact_datapath("adder", U8, U8, 144, tree_inputs=8).tree
    assert fit(machine, "conv", "adder", after) == after
    with pytest.raises(InputError, match="its adder tree sums 8 channels, not 16"):
        fit(load_hardware("adder_16x16", tree_inputs=16, multiplier_rows=16, multiplier_cols=1), "c", "adder", after)


def test_each_kind_of_layer_needs_its_elements() -> None:
    shifts = load_hardware("adder_16x16", pe="shift")
    assert (shifts.array("shift"), shifts.array("multiplier"), shifts.array("adder")) == ((16, 16), (8, 8), (0, 0))
    with pytest.raises(InputError, match="a layer of adders, but the machine has shift elements only"):
        fit(shifts, "conv", "adder", adder())


def test_a_full_side_array_is_as_large_as_the_array() -> None:
    machine = load_hardware("adder_16x16", cols=12)
    full = with_full_side_array(machine)
    assert full.array("multiplier") == full.array("adder") == (16, 12)
    assert "16 x 12" in full.name and with_full_side_array(full) == full
    alone = load_hardware("adder_16x16", multiplier_rows=0, multiplier_cols=0)
    assert with_full_side_array(alone) == alone
