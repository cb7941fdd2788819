"""Machines: the shelf, the twin, what fits, and how bad files are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

import addersim
from addersim.datapath import Datapath, exact_datapath
from addersim.errors import InputError
from addersim.fixed import IntFormat, Overflow
from addersim.hardware import HARDWARE, Hardware, load_hardware, multiplier_twin, with_full_side_array

machines = pytest.mark.parametrize("machine", HARDWARE.values(), ids=list(HARDWARE))
GOOD = Path(addersim.__file__).parent / "hardware" / "adder_16x16.toml"
U8, S8, U9 = IntFormat(8, False), IntFormat(8, True), IntFormat(9, False)


def adder(depth: int = 144, x: IntFormat = U8, w: IntFormat = U8) -> Datapath:
    return exact_datapath("adder", x, w, depth)


@machines
def test_a_machine_is_complete(machine: Hardware) -> None:
    assert HARDWARE[machine.name] is machine
    assert machine.description and machine.source
    assert {machine.buffer(name).name for name in ("inputs", "weights", "outputs")} == {
        "inputs",
        "weights",
        "outputs",
    }
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
    after = machine.fit("conv", "adder", before)
    assert str(after.accumulator.format) == "u24" and str(before.accumulator.format) == "u16"
    assert (after.x, after.w, after.difference, after.leaf) == (
        before.x,
        before.w,
        before.difference,
        before.leaf,
    )
    assert after.circuit == "comparator"
    product = machine.fit("fc", "multiplier", exact_datapath("multiplier", U8, S8, 8))
    assert str(product.accumulator.format) == "s24"


def test_fit_narrows_by_saturation() -> None:
    machine = load_hardware("adder_16x16", accumulator_bits=12)
    stage = machine.fit("conv", "adder", adder()).accumulator
    assert str(stage.format) == "u12" and stage.overflow == Overflow.SATURATE


@pytest.mark.parametrize(
    ("name", "kind", "datapath", "message"),
    [
        ("multiplier_16x16", "adder", adder(), "a layer of adders, but the machine has multipliers only"),
        ("adder_16x16", "adder", adder(x=U9), "x has 9 bits; expected operand_bits = 8 or fewer"),
        ("adder_16x16", "adder", adder(w=U9), "w has 9 bits"),
        ("adder_16x16", "adder", adder(w=S8), "x - w has 10 bits; expected 9 or fewer"),
        ("adder_16x16", "adder", exact_datapath("adder", U8, U8, 9, tree_inputs=4), "tree_inputs = 4"),
    ],
)
def test_what_does_not_fit_names_the_layer(name: str, kind: str, datapath: Datapath, message: str) -> None:
    with pytest.raises(InputError, match=f"layer 'conv7' does not fit {name}") as caught:
        HARDWARE[name].fit("conv7", kind, datapath)  # type: ignore[arg-type]
    assert message in str(caught.value)


def test_multiplications_need_a_side_array() -> None:
    machine = load_hardware("adder_16x16", multiplier_rows=0, multiplier_cols=0)
    with pytest.raises(InputError, match="no side array of multipliers"):
        machine.fit("fc", "multiplier", exact_datapath("multiplier", U8, S8, 8))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("rows = 16", "row = 16", "Hardware has no 'row'; did you mean 'rows'"),
        ("rows = 16", 'rows = "16"', "rows = '16': input should be a valid integer"),
        ("rows = 16", "rows = 16.0", "rows = 16.0: input should be a valid integer"),
        ("rows = 16", "rows = true", "rows = True: input should be a valid integer"),
        ("rows = 16", "rows = 0", "rows = 0: input should be greater than or equal to 1"),
        ("rows = 16", "", "Hardware needs 'rows'"),
        ('pe = "adder"', 'pe = "shifter"', "pe = 'shifter': input should be 'adder' or 'multiplier'"),
        ("size_bytes = 65536", "size_byte = 65536", "Buffer has no 'size_byte'; did you mean 'size_bytes'"),
        ('name = "inputs"', 'name = "weights"', "buffers: expected one each of inputs, weights, outputs"),
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


def test_a_full_side_array_is_as_large_as_the_array() -> None:
    machine = load_hardware("adder_16x16", cols=12)
    full = with_full_side_array(machine)
    assert full.array("multiplier") == full.array("adder") == (16, 12)
    assert "16 x 12" in full.name and with_full_side_array(full) == full
    alone = load_hardware("adder_16x16", multiplier_rows=0, multiplier_cols=0)
    assert with_full_side_array(alone) == alone
