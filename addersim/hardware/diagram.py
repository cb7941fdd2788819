"""A machine as a block diagram: what its boxes say, where they stand, and how a terminal shows them.

Three lanes, one per operand, lead from DRAM at the top through the buffers to the array at the bottom. A
buffer's box is as wide as the lanes from its first operand to its last.
"""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import wrap

from addersim.hardware.fit import PLURAL
from addersim.hardware.machine import Buffer, Hardware, Memory, Role

LANES: tuple[Role, ...] = ("weights", "inputs", "outputs")  # a buffer for inputs and outputs is the commonest pair
LANE, GAP = 24, 2  # columns of a terminal
ASCII = str.maketrans("┌┐└┘├┤┬┴┼─│", "+++++++++-|")


@dataclass(frozen=True)
class Block:
    """A box from lane ``first`` to lane ``last``, both counted in; its first line is the title."""

    lines: tuple[str, ...]
    first: int
    last: int


def rows(machine: Hardware) -> list[list[Block]]:
    """Return the boxes of a machine row by row: DRAM, buffers from the outermost inwards, arrays."""
    found = [[Block(_dram(machine), 0, len(LANES) - 1)], *_buffer_rows(machine)]
    units = [Block(_array(machine), 0, 0 if machine.multiplier_rows else 1)]
    units.append(Block(("vector unit", f"{machine.vector.lanes} lanes"), 2, 2))
    if machine.multiplier_rows:
        side = f"side array {machine.multiplier_rows} x {machine.multiplier_cols}"
        own = machine.multiplier_accumulator_bits
        units.insert(1, Block((side, "multipliers", *([f"sums {own} b"] if own else [])), 1, 1))
    return [*found, units]


def _buffer_rows(machine: Hardware) -> list[list[Block]]:
    """Return the buffers' boxes, as far inwards as the order of the levels allows, side by side where they can."""
    found: list[list[Block]] = []
    for buffer in machine.buffers:
        lanes = [LANES.index(role) for role in buffer.holds]
        block = Block(_buffer(buffer), min(lanes), max(lanes))
        if not found or any(_overlap(block, other) for other in found[-1]):
            found.append([])
        found[-1].append(block)
    return [sorted(row, key=lambda block: block.first) for row in reversed(found)]


def _overlap(one: Block, other: Block) -> bool:
    return one.first <= other.last and other.first <= one.last


def _dram(machine: Hardware) -> tuple[str, ...]:
    price = "" if machine.dram.pj_per_bit is None else f", {machine.dram.pj_per_bit:g} pJ per bit"
    return (f"DRAM: {machine.dram.bits_per_cycle} bits per cycle{price}",)


def _buffer(buffer: Buffer) -> tuple[str, ...]:
    ports = "1 port" if buffer.ports == 1 else f"{buffer.ports} ports"
    double = ("double buffered",) if buffer.double_buffered else ()
    return (*_title(buffer), size(buffer.size_bytes), f"{buffer.word_bits} b, {ports}", *double)


def _title(memory: Memory) -> tuple[str, ...]:
    held = ", ".join(memory.holds)
    return (memory.name,) if memory.name == held else (memory.name, held)


def size(size_bytes: int) -> str:
    """Return a size with its unit: bytes, or KB of 1024 bytes where that loses nothing."""
    return f"{size_bytes // 1024:,} KB" if size_bytes % 1024 == 0 else f"{size_bytes:,} bytes"


def _array(machine: Hardware) -> tuple[str, ...]:
    circuit = f", {machine.circuit}" if machine.pe == "adder" else ""
    lines = [f"array {machine.rows} x {machine.cols}", f"{PLURAL[machine.pe]}{circuit}"]
    lines.append(f"{machine.operand_bits} b, sums {machine.accumulator_bits} b")
    if machine.tree_inputs > 1:
        lines.append(f"tree over {machine.tree_inputs} rows")
    if machine.pipeline_stages > 1:
        lines.append(f"{machine.pipeline_stages} pipeline stages")
    lines += ["in every element:"] if machine.scratchpads else []
    lines += [f"{pad.name} {size(pad.size_bytes)}" for pad in machine.scratchpads]
    return tuple(lines)


def diagram(machine: Hardware) -> str:
    """Return the block diagram as text with box-drawing characters; ``ASCII`` translates them."""
    drawn = [headline(machine)]
    boxes = rows(machine)
    for row in boxes[:-1]:
        drawn += [*_boxes(row), _wires()]
    names = "".join(f"{'│ ' + role:<{LANE - LANE // 2}}".rjust(LANE) + " " * GAP for role in LANES).rstrip()
    return "\n".join([*drawn, names, *_bus(boxes[-1]), *_boxes(boxes[-1])])


def headline(machine: Hardware) -> str:
    """Return name, clock, node and supply."""
    supply = "" if machine.voltage_v is None else f", {machine.voltage_v:g} V"
    return f"{machine.name}: {machine.clock_mhz:g} MHz, {machine.node_nm:g} nm{supply}"


def _middle(first: int, last: int | None = None) -> int:
    """Return the column of a lane's wire, or of the middle of several lanes."""
    last = first if last is None else last
    return (first * (LANE + GAP) + last * (LANE + GAP) + LANE) // 2


def _wires() -> str:
    return _put({_middle(lane): "│" for lane in range(len(LANES))})


def _put(characters: dict[int, str]) -> str:
    return "".join(characters.get(column, " ") for column in range(max(characters) + 1))


def _bus(units: list[Block]) -> list[str]:
    """Return the line that joins the lanes with all units, and their wires below it."""
    above = {_middle(lane) for lane in range(len(LANES))}
    below = {_middle(block.first, block.last) for block in units}
    ends = min(above | below), max(above | below)
    marks = {column: _joint(column, above, below, ends) for column in range(ends[0], ends[1] + 1)}
    return [_put(marks), _put(dict.fromkeys(below, "│"))]


def _joint(column: int, above: set[int], below: set[int], ends: tuple[int, int]) -> str:
    side = 0 if column == ends[0] else 2 if column == ends[1] else 1
    return ("───", "└┴┘", "┌┬┐", "├┼┤")[(column in above) + 2 * (column in below)][side]


def _boxes(row: list[Block]) -> list[str]:
    """Return the lines of one row of boxes; lanes that no box covers go straight through."""
    height = max(len(wrapped(block)) for block in row)
    free = set(range(len(LANES))) - {lane for block in row for lane in range(block.first, block.last + 1)}
    lines = [{_middle(lane): "│" for lane in free} for _ in range(height + 2)]
    for block in row:
        for characters, text in zip(lines, _box(block, height), strict=True):
            characters.update(enumerate(text, block.first * (LANE + GAP)))
    return [_put(characters) for characters in lines]


def _box(block: Block, height: int) -> list[str]:
    """Return the lines of a box with room for so many lines of text."""
    width, texts = _width(block), wrapped(block)
    inside = [f"│ {text:<{width - 4}} │" for text in texts + [""] * (height - len(texts))]
    return [f"┌{'─' * (width - 2)}┐", *inside, f"└{'─' * (width - 2)}┘"]


def _width(block: Block) -> int:
    return (block.last - block.first) * (LANE + GAP) + LANE


def wrapped(block: Block) -> list[str]:
    """Return the lines of a box, broken to its width in a terminal."""
    return [part for line in block.lines for part in wrap(line, _width(block) - 4, subsequent_indent="  ")]
