"""elements: what a tap and an array are made of, circuit by circuit."""

from __future__ import annotations

import pytest
from builders import U8

from addersim.arithmetic.datapath import Circuit, exact_datapath
from addersim.arithmetic.primitives import Primitive
from addersim.hardware import Element, load_hardware
from addersim.hardware.elements import (
    Part,
    array_parts,
    arrays,
    circuits,
    element_of,
    leaf,
    operand_bits,
    tap_registers,
)
from addersim.hardware.fit import fit

MACHINE = load_hardware("adder_16x16")
CIRCUITS: dict[Circuit, list[str]] = {
    "two_subtractors": ["subtract 9 b", "subtract 9 b", "select 8 b"],
    "xor_carry": ["subtract 9 b", "xor 8 b"],
    "comparator": ["compare 8 b", "select 8 b", "select 8 b", "subtract 8 b"],
}


@pytest.mark.parametrize("circuit", CIRCUITS)
def test_a_counted_distance_is_its_circuit(circuit: Circuit) -> None:
    """Subtraction and absolute value together are what an element of the array holds."""
    path = fit(load_hardware(MACHINE, circuit=circuit), "layer", "adder", exact_datapath("adder", U8, U8, depth=9))
    counted = [Primitive("subtract", 9), Primitive("absolute", 8)]
    made_of = [part for primitive in counted for part in circuits(primitive, "adder", path)]
    assert sorted(map(str, made_of)) == sorted(CIRCUITS[circuit])
    assert [str(part) for part in leaf("adder", circuit, 8)] == CIRCUITS[circuit]


def test_what_is_no_distance_stays_as_it_is_counted() -> None:
    path = exact_datapath("multiplier", U8, U8, depth=9)
    for primitive in (Primitive("add", 24), Primitive("multiply", 8, 8), Primitive("absolute", 32, floating=True)):
        assert circuits(primitive, "multiplier", path) == (primitive,)


@pytest.mark.parametrize(
    ("element", "parts", "widths"),
    [("shift", ["shift 8 b", "xor 8 b"], (8, 5)), ("xnor", ["xor 1 b"], (1, 1)), ("multiplier", None, (8, 8))],
)
def test_other_elements_stand_in_for_a_distance(
    element: Element, parts: list[str] | None, widths: tuple[int, int]
) -> None:
    assert operand_bits(element, 8) == widths
    if parts:
        path = exact_datapath("adder", U8, U8, depth=9)
        found = [c for name in ("subtract", "absolute") for c in circuits(Primitive(name, 9), element, path)]
        assert [str(part) for part in found] == parts


def test_an_array_shares_trees_and_accumulators() -> None:
    machine = load_hardware(MACHINE, tree_inputs=4, pipeline_stages=3)
    found = {(part.role, str(part.primitive)): part.count for part in array_parts("adder", 256, machine)}
    assert found == {
        ("leaf", "subtract 9 b"): 256,
        ("leaf", "xor 8 b"): 256,
        ("tree", "add 9 b"): 128,
        ("tree", "add 10 b"): 64,
        ("accumulator", "add 24 b"): 64,
        ("operands", "register 16 b"): 256,
        ("pipeline", "register 8 b"): 512,
        ("accumulator", "register 24 b"): 64,
    }


def test_a_product_is_as_wide_as_both_operands() -> None:
    machine = load_hardware("multiplier_16x16", tree_inputs=2, pipeline_stages=2)
    found = {part.role: str(part.primitive) for part in array_parts("multiplier", 256, machine)}
    assert (found["tree"], found["pipeline"]) == ("add 17 b", "register 16 b")


def test_registers_of_a_tap() -> None:
    path = exact_datapath("adder", U8, U8, depth=9)
    assert list(tap_registers(path, MACHINE)) == [Part("operands", Primitive("register", 16), 1)]
    deep = list(tap_registers(path, load_hardware(MACHINE, pipeline_stages=2)))
    assert deep[1] == Part("pipeline", Primitive("register", 8), 1)


def test_a_shift_array_takes_the_adders_place() -> None:
    shift = load_hardware(MACHINE, pe="shift")
    assert [element_of(kind, shift) for kind in ("adder", "multiplier")] == ["shift", "multiplier"]
    assert list(arrays(shift)) == [("array", "shift", 256), ("side array", "multiplier", 64)]
    assert list(arrays(load_hardware("multiplier_16x16"))) == [("array", "multiplier", 256)]
