"""Block diagrams: everything a machine file says about its parts is in them, and the boxes fit together."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest

from addersim.hardware import HARDWARE, Hardware, load_hardware
from addersim.hardware.diagram import ASCII, LANES, diagram, headline, rows
from addersim.report.machine_chart import machine_chart

GLOBAL = {"name": "glb", "holds": ["outputs", "inputs"], "size_bytes": 108_000, "word_bits": 64, "ports": 3}
PAD = {"name": "filter_pad", "holds": ["weights"], "size_bytes": 448, "word_bits": 16}
EYERISS = load_hardware(
    "multiplier_16x16",
    rows=12,
    cols=14,
    tree_inputs=4,
    pipeline_stages=3,
    dram={"pj_per_bit": 20.5},
    buffers=[{**GLOBAL, "double_buffered": True}],
    scratchpads=[PAD],
)
machines = pytest.mark.parametrize("machine", [*HARDWARE.values(), EYERISS], ids=lambda machine: machine.name)


@machines
def test_every_part_is_in_the_diagram(machine: Hardware) -> None:
    drawn = " ".join(re.sub(r"[^\w ,:.-]", " ", diagram(machine)).split())
    assert headline(machine) in drawn
    assert f"array {machine.rows} x {machine.cols}" in drawn and f"{machine.vector.lanes} lanes" in drawn
    assert (f"side array {machine.multiplier_rows}" in drawn) == bool(machine.multiplier_rows)
    assert f"DRAM: {machine.dram.bits_per_cycle} bits per cycle" in drawn
    for memory in (*machine.buffers, *machine.scratchpads):
        assert memory.name in drawn


def test_what_is_not_there_by_default_is_shown_where_it_is() -> None:
    drawn = diagram(EYERISS)
    for said in ("20.5 pJ per bit", "outputs, inputs", "108,000 bytes", "64 b, 3 ports", "double buffered"):
        assert said in drawn
    for said in ("tree over 4 rows", "3 pipeline stages", "in every element:", "filter_pad 448 bytes"):
        assert said in drawn


@machines
def test_the_lines_of_a_diagram_join(machine: Hardware) -> None:
    """Every end of a box-drawing character meets one of its neighbour, but for wires that meet the edge of a box."""
    lines = diagram(machine).split("\n")[1:]
    assert max(map(len, lines)) <= 80
    grid = [line.ljust(80) for line in lines]
    right, left, down, up = "┌└├┬┴┼─", "┐┘┤┬┴┼─", "┌┐├┤┬┼│", "└┘├┤┴┼│"
    for above, below in pairwise(grid):
        for a, b in zip(above, below, strict=True):
            assert a not in down or b in up + "─"
            assert b not in up or a in down + "─"
    for line in grid:
        for a, b in pairwise(line):
            assert (a in right) == (b in left)
    assert diagram(machine).translate(ASCII).isascii()


def test_a_buffer_stands_between_its_neighbours_and_covers_what_it_holds() -> None:
    near = {**PAD, "name": "near"}
    machine = load_hardware("adder_16x16", buffers=[near, GLOBAL, {**GLOBAL, "name": "all", "holds": list(LANES)}])
    spans = [[(block.lines[0], block.first, block.last) for block in row] for row in rows(machine)[1:-1]]
    assert spans == [[("all", 0, 2)], [("near", 0, 0), ("glb", 1, 2)]]


@machines
def test_the_chart_says_what_the_diagram_says(machine: Hardware) -> None:
    chart = str(machine_chart(machine))
    for row in rows(machine):
        for block in row:
            assert f">{block.lines[0]}</text>" in chart and block.lines[-1] in chart
    assert all(f">{role}</text>" in chart for role in LANES)
