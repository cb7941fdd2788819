"""The machine as a block diagram: the boxes of :mod:`addersim.hardware.diagram`, drawn."""

from __future__ import annotations

from itertools import accumulate

from markupsafe import Markup
from matplotlib.figure import Figure

from addersim.hardware import Hardware
from addersim.hardware.diagram import LANES, Block, headline, rows, wrapped
from addersim.report.drawing import COLOURS, INK, QUIET, WIDTH, line, panel, rectangle, style, svg, tint, write

LANE, GAP = (WIDTH - 2 * 12) / 3, 12.0  # widths
TEXT, PAD, WIRE, BUS = 14.5, 6.0, 18.0, 26.0  # heights: a line of text, above and below it, wires between boxes
MEMORY, PORT = "#f2f4f7", "#ffffff"


def machine_chart(machine: Hardware) -> Markup:
    """Return the block diagram as SVG: DRAM, buffers, arrays from top to bottom."""
    boxes = rows(machine)
    heights = [TEXT * max(len(wrapped(block)) for block in row) + 2 * PAD for row in boxes]
    gaps = [WIRE] * (len(boxes) - 2) + [WIRE + BUS]
    tops = list(accumulate((a + b for a, b in zip(heights, gaps, strict=False)), initial=1.0))
    with style("machine"):
        figure = panel(tops[-1] + heights[-1] + 1)
        _wires(figure, boxes[-1], heights[0], tops[-1])
        for row, top, height in zip(boxes, tops, heights, strict=True):
            for block in row:
                _box(figure, block, top, height, _colour(machine, row is boxes[0], block))
        return svg(figure, "machine", _said(machine, boxes))


def _colour(machine: Hardware, is_dram: bool, block: Block) -> str:
    title = block.lines[0]
    if title.startswith("array"):
        return tint(COLOURS.get(machine.pe, QUIET), 0.2)
    if title.startswith("side array"):
        return tint(COLOURS["multiplier"], 0.2)
    return PORT if is_dram or title == "vector unit" else MEMORY


def _box(figure: Figure, block: Block, top: float, height: float, colour: str) -> None:
    left = block.first * (LANE + GAP)
    rectangle(figure, left + 0.5, top, (block.last - block.first) * (LANE + GAP) + LANE - 1, height, colour)
    for number, text in enumerate(wrapped(block)):
        weight = "bold" if number == 0 else "normal"
        write(figure, left + 8, top + PAD + TEXT * (number + 0.75), text, color=INK, weight=weight, fontsize=11)


def _middle(first: int, last: int) -> float:
    return ((first + last) * (LANE + GAP) + LANE) / 2


def _wires(figure: Figure, units: list[Block], top: float, bottom: float) -> None:
    """Draw a wire per operand from DRAM down to the line that joins all units; boxes cover what they hold."""
    joint = bottom - WIRE / 2
    for lane, role in enumerate(LANES):
        line(figure, (_middle(lane, lane), top), (_middle(lane, lane), joint))
        write(figure, _middle(lane, lane) + 5, joint - 8, role, color=QUIET, fontsize=11)
    ends = [_middle(lane, lane) for lane in (0, len(LANES) - 1)]
    for block in units:
        at = _middle(block.first, block.last)
        line(figure, (at, joint), (at, bottom))
    line(figure, (ends[0], joint), (ends[1], joint))


def _said(machine: Hardware, boxes: list[list[Block]]) -> str:
    """Return the diagram in words."""
    return "; ".join([headline(machine), *(", ".join(block.lines) for row in boxes for block in row)])
