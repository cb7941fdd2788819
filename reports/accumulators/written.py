"""What run.py measured, as a page and a figure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt

from addersim.simulation.accumulators import LayerAccumulator

CALIBRATION = 200
WIDTHS = {8: range(18, 11, -1), 4: range(14, 8, -1)}  # of adder layers' operands: of their accumulators
LESS = (0, 1, 2, 4)
MACHINE = "adder_16x16"
START = {True: "bias", False: "0"}
MODES = ((True, "wrap"), (False, "wrap"), (False, "saturate"), (True, "saturate"))  # preload_bias, overflow
COLOURS = dict(zip(MODES, ("#0072b2", "#e69f00", "#d55e00", "#999999"), strict=True))


class Row(NamedTuple):
    """One simulation of the test set: ``accumulator_bits`` of all adder layers, or what each has less than it needs."""

    bits: int
    start: str
    overflow: str
    widths: str
    accumulator_bits: int
    accuracy: float
    other_logits: int


class Bill(NamedTuple):
    """One image by one cost table: accumulations, all arithmetic, everything; one element's area."""

    bits: int
    table: str
    accumulator_bits: int
    accumulation_nj: float
    arithmetic_nj: float
    energy_nj: float
    element_um2: float | None


def needed(layer: LayerAccumulator, preload: bool) -> int:
    """Return what the calibration images need of a layer's accumulator."""
    bits = layer.observed_centred_bits if preload else layer.observed_bits
    assert bits is not None
    return bits


def draw(folder: Path, rows: list[Row], layers: Mapping[int, list[LayerAccumulator]]) -> None:
    """Draw accuracy against one width for all layers, a panel for each width of operands."""
    plt.rcParams["svg.hashsalt"] = "accumulators"  # same figures, same bytes
    figure, panels = plt.subplots(1, len(WIDTHS), figsize=(9, 3.8), layout="constrained", sharey=True)
    for panel, (bits, found) in zip(panels, layers.items(), strict=True):
        for preload, overflow in MODES:
            line = one_width(rows, bits, START[preload], overflow)
            look = {
                "ls": "-" if overflow == "wrap" else "--",
                "color": COLOURS[preload, overflow],
                "marker": "o",
                "ms": 4,
            }
            label = f"from {'the bias' if preload else '0'}, {overflow}"
            panel.plot(list(line), [row.accuracy for row in line.values()], label=label, **look)
        proven = max(layer.unsigned_bits or 0 for layer in found)
        panel.axvline(proven, color="#56606b", lw=0.8, ls=":")
        panel.text(proven, 3, "proven from 0 ", ha="right", fontsize=8, color="#56606b")
        panel.set_title(f"adder layers of {bits} bits", fontsize=11)
        panel.set_xlabel("bits of every adder layer's accumulator")
        panel.spines[["top", "right"]].set_visible(False)
        panel.set_ylim(0, 100)
    panels[0].set_ylabel("accuracy, %")
    figure.legend(
        *panels[0].get_legend_handles_labels(), frameon=False, fontsize=9, ncols=4, loc="outside lower center"
    )
    for kind in ("svg", "png"):
        figure.savefig(folder / f"accumulators.{kind}", dpi=150, metadata={"Date": None} if kind == "svg" else None)


def one_width(rows: list[Row], bits: int, start: str, overflow: str) -> dict[int, Row]:
    """Return accumulator bits to row, for one width in all layers."""
    return {r.accumulator_bits: r for r in rows if r[:4] == (bits, start, overflow, "one")}


BRACKETS = """
In brackets: images with other logits than the exact network's; without brackets, all 10,000 agree bit for bit. Where a
width left chance (10 %), narrower ones were not run.
"""
SAVES = f"""
## What it saves

One image on `{MACHINE}` (output stationary) by every cost table of arithmetic: with the machine's accumulators, with
the width proven from 0, and with the narrowest above that lost nothing, wrapping from the bias. The output stage then
subtracts no bias and scales a narrower word. Accumulations are additions and, where the table prints them, registers;
leakage stays that of the machine. The element is one of the adder array at the adder layers' width of operands:
circuits, and registers where the table prints their area.
"""
HEAD = """# ResNet-20 on adders with narrower accumulators

Accuracy in % on all 10,000 test images of CIFAR-10, integers from input to logits, post-training quantisation
calibrated on {calibration} training images (`correction = "least_squares"`). Only accumulators of the adder layers are
narrowed; the first and the last layer multiply and keep theirs. `run.py` beside this file measures all of it.

An adder layer's sum of distances starts at 0, or at the output stage's integer bias. From 0, the register has to hold
the whole sum and is unsigned here (a signed one has a bit more). From the bias, it ends at the centred value that the
output stage scales; if it wraps, only that end has to fit, in a signed word, whatever it passes on the way.
`addersim.accumulators` says both widths for every layer, proven from the weights and observed on images,
`addersim.narrowed` builds the network.

![Accuracy against accumulator width](accumulators.png)
"""


def readme(rows: list[Row], layers: Mapping[int, list[LayerAccumulator]], bills: list[Bill]) -> str:
    """Return the report."""
    text = HEAD.format(calibration=CALIBRATION)
    for bits in WIDTHS:
        exact = next(row for row in rows if row.bits == bits and row.widths == "exact")
        text += f"\n## Adder layers of {bits} bits: {exact.accuracy:.2f} with exact accumulators\n\n"
        text += needs(layers[bits])
        text += "\n" + table(
            "all layers have", [f"{w} bits" for w in WIDTHS[bits]], modes(rows, bits, "one", WIDTHS[bits])
        )
        text += BRACKETS
        heads = ["what it needs" if not less else f"{less} less" for less in LESS]
        text += "\n" + table(
            "each layer has, of what calibration saw", heads, modes(rows, bits, "own", [-d for d in LESS])
        )
    return text + savings(bills)


def needs(layers: list[LayerAccumulator]) -> str:
    """Return what the layers need, from the least to the most."""
    columns = {
        "proven, from 0, unsigned": [layer.unsigned_bits or 0 for layer in layers],
        "proven, from 0, signed": [layer.signed_bits for layer in layers],
        "proven, from the bias, wrapping": [layer.centred_bits for layer in layers],
        "observed on the calibration images, from 0, unsigned": [needed(layer, False) for layer in layers],
        "observed on them, from the bias, wrapping": [needed(layer, True) for layer in layers],
    }
    rows = [[head, *(f"{end}" for end in (min(bits), max(bits)))] for head, bits in columns.items()]
    return table("accumulator bits", ["least of a layer", "most"], rows)


def modes(rows: list[Row], bits: int, widths: str, of: Iterable[int]) -> list[list[str]]:
    """Return one row per start and overflow, accuracies by width."""
    found = {(r.start, r.overflow, r.accumulator_bits): r for r in rows if (r.bits, r.widths) == (bits, widths)}
    lines = []
    for preload, overflow in MODES:
        cells = [found.get((START[preload], overflow, width)) for width in of]
        if any(cells):
            said = [f"{r.accuracy:.2f}{f' ({r.other_logits:,})' if r.other_logits else ''}" if r else "" for r in cells]
            lines.append([f"from {'the bias' if preload else '0'}, {overflow}", *said])
    return lines


def table(first: str, heads: list[str], rows: list[list[str]]) -> str:
    """Return a table in Markdown."""
    lines = [[first, *heads], ["---"] * (len(heads) + 1), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def savings(bills: list[Bill]) -> str:
    """Return what the narrowest lossless accumulator saves, by cost table and as a range."""
    text = SAVES
    for bits in WIDTHS:
        text += f"\n### {bits} bits\n\n"
        heads = ["accumulator bits", "accumulations, nJ", "arithmetic, nJ", "energy, nJ", "element, um2"]
        mine = [bill for bill in bills if bill.bits == bits]
        text += table("cost table", heads, [[b.table, str(b.accumulator_bits), *map(said, b[3:])] for b in mine]) + "\n"
        widths = list(dict.fromkeys(b.accumulator_bits for b in mine))
        for old in widths[:-1]:
            text += f"- From {old} to {widths[-1]} bits: {saved(mine, old, widths[-1])}.\n"
    return text


def saved(bills: list[Bill], old: int, new: int) -> str:
    """Return by how much each figure falls, as a range over the tables that print it."""
    before, after = ([b for b in bills if b.accumulator_bits == width] for width in (old, new))
    parts = []
    for name, i in {"accumulations": 3, "arithmetic": 4, "energy with memory": 5, "area of an element": 6}.items():
        falls = [100 * (1 - b[i] / a[i]) for a, b in zip(before, after, strict=True) if a[i] is not None]
        ends = sorted({f"{fall:.1f}" for fall in (min(falls), max(falls))}, key=float)
        parts.append(f"{name} {' to '.join(ends)} % less")
    return ", ".join(parts)


def said(value: float | None) -> str:
    """Return a figure of the bill, or a dash."""
    return "-" if value is None else f"{value:,.1f}"
