"""What a processing element is made of: a tap's counted operations as circuits, registers, parts of an array.

The absolute value of x - w comes about in three circuits. ``two_subtractors``: x - w and w - x, and a multiplexer
takes the one that is not negative. ``xor_carry``: the bits of x - w are XORed with its sign, which is also the
carry-in of the adder behind. ``comparator``: two multiplexers, steered by x > w, put the larger operand in front of
one subtractor. A shift element XORs the shifted word with the weight's sign, again with a carry-in behind; an XNOR
element is one gate.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from addersim.arithmetic.datapath import Circuit, Datapath, Kind
from addersim.arithmetic.primitives import Primitive
from addersim.hardware import Element, Hardware
from addersim.hardware.broadcast import occurs

SHIFT_WEIGHT_BITS = 5  # a sign and an exponent of 4 bits, as ShiftAddNAS counts a shift layer's weights (hw_utils.py)

COUNTER_BITS = 16  # of an XNOR array's accumulators: sums of up to 32,767 signs


@dataclass(frozen=True)
class Part:
    """``count`` copies of a primitive in an array; ``role`` says what they are for."""

    role: str
    primitive: Primitive
    count: int


def operand_bits(element: Element, bits: int) -> tuple[int, int]:
    """Return the widths of x and w in an element for operands of ``bits`` bits."""
    return {"shift": (bits, SHIFT_WEIGHT_BITS), "xnor": (1, 1)}.get(element, (bits, bits))


def accumulator_bits(element: Element, machine: Hardware) -> int:
    """Return the width of an element's accumulator."""
    return min(machine.sum_bits(element), COUNTER_BITS) if element == "xnor" else machine.sum_bits(element)


def leaf(element: Element, circuit: Circuit, bits: int) -> tuple[Primitive, ...]:
    """Return the circuits from the operands of ``bits`` bits to a distance or product, in their order."""
    if element == "multiplier":
        return (Primitive("multiply", bits, bits),)
    if element == "shift":
        return Primitive("shift", bits), Primitive("xor", bits)
    if element == "xnor":
        return (Primitive("xor", 1),)
    difference = Primitive("subtract", bits + 1)
    return {
        "two_subtractors": (difference, difference, Primitive("select", bits)),
        "xor_carry": (difference, Primitive("xor", bits)),
        "comparator": (
            Primitive("compare", bits),
            Primitive("select", bits),
            Primitive("select", bits),
            Primitive("subtract", bits),
        ),
    }[circuit]


def circuits(primitive: Primitive, element: Element, path: Datapath) -> tuple[Primitive, ...]:
    """Return what one counted operation of a tap is made of, at the widths of the layer's datapath.

    Examples
    --------
    >>> from addersim.arithmetic.datapath import exact_datapath
    >>> from addersim.arithmetic.fixed import IntFormat
    >>> u8 = IntFormat(8, signed=False)
    >>> path = exact_datapath("adder", u8, u8, depth=144)
    >>> [str(part) for part in circuits(Primitive("absolute", 8), "adder", path)]
    ['xor 8 b']
    """
    if primitive.floating or primitive.name not in ("subtract", "absolute", "multiply"):
        return (primitive,)
    if element in ("shift", "xnor"):
        return () if primitive.name == "absolute" else leaf(element, path.circuit, path.x.bits)
    if primitive.name == "multiply":
        return (primitive,)
    assert path.difference is not None
    return _distance(primitive, path.circuit, path.difference.format.bits)


def _distance(primitive: Primitive, circuit: Circuit, difference_bits: int) -> tuple[Primitive, ...]:
    bits = primitive.bits
    if primitive.name == "subtract":
        return leaf("adder", circuit, bits - 1) if circuit == "comparator" else (primitive,)
    return {
        "two_subtractors": (Primitive("subtract", difference_bits), Primitive("select", bits)),
        "xor_carry": (Primitive("xor", bits),),
        "comparator": (),
    }[circuit]


def tap_registers(path: Datapath, machine: Hardware) -> Iterator[Part]:
    """Yield the registers that latch once per tap: both operands, and a leaf per further pipeline stage."""
    yield Part("operands", Primitive("register", path.x.bits + path.w.bits), 1)
    if occurs(machine.pipeline_stages > 1):
        yield Part("pipeline", Primitive("register", path.leaf.format.bits), machine.pipeline_stages - 1)


def array_parts(element: Element, elements: int, machine: Hardware) -> Iterator[Part]:
    """Yield everything an array of ``elements`` elements is made of.

    ``tree_inputs`` elements share an adder tree, whose levels are one bit wider each, and an accumulator.
    """
    x, w = operand_bits(element, machine.operand_bits)
    for primitive in leaf(element, machine.circuit, x):
        yield Part("leaf", primitive, elements)
    leaf_bits = word = x + w if element == "multiplier" else x
    sums, nodes = elements // machine.tree_inputs, machine.tree_inputs
    while nodes > 1:
        word += 1
        yield Part("tree", Primitive("add", word), sums * (nodes // 2))
        nodes = -(-nodes // 2)
    bits = accumulator_bits(element, machine)
    yield Part("accumulator", Primitive("add", bits), sums)
    yield Part("operands", Primitive("register", x + w), elements)
    if occurs(machine.pipeline_stages > 1):
        yield Part("pipeline", Primitive("register", leaf_bits), elements * (machine.pipeline_stages - 1))
    yield Part("accumulator", Primitive("register", bits), sums)


def element_of(kind: Kind, machine: Hardware) -> Element:
    """Return the elements that run layers of ``kind``: a shift or XNOR array takes the place of the adders."""
    return machine.pe if kind == "adder" and machine.pe in ("shift", "xnor") else kind


def arrays(machine: Hardware) -> Iterator[tuple[str, Element, int]]:
    """Yield name, kind and number of elements of the array and of the side array, if there is one."""
    yield "array", machine.pe, machine.rows * machine.cols
    side = machine.multiplier_rows * machine.multiplier_cols
    if occurs(side):
        yield "side array", "multiplier", side
