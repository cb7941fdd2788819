"""Tables of the page: heads and rows of text, numbers formatted for people."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from addersim.costs.bill import Cost
from addersim.costs.comparison.compare import Comparison, Metric
from addersim.report import words
from addersim.report.figures import layer_table
from addersim.report.headline import full_size, range_of
from addersim.report.ratio_chart import TITLES
from addersim.study.outcome import Outcome, Side

ENERGIES = {
    "arithmetic, nJ": "arithmetic_pj",
    "buffers, nJ": "buffers_pj",
    "DRAM, nJ": "dram_pj",
    "leakage, nJ": "leakage_pj",
}
TEXT = ("layer", "kind", "output", "x/w/acc", "out")  # columns of text; the others are numbers
STAY = ("layer", "overflows", "saturated")


@dataclass(frozen=True)
class Grid:
    """A caption, column heads, rows of cells; the first ``text`` columns are text, the last ``totals`` rows totals."""

    caption: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    text: int = 1
    totals: int = 0


def accuracy_grid(outcome: Outcome) -> Grid:
    """Return float and integer accuracy of each network, their difference and its standard error."""
    rows = []
    for side in outcome.sides:
        real = side.float_accuracy
        agreement = side.validation.agreement if side.validation else None
        rows.append(
            [
                side.qnet.name,
                side.label,
                words.DASH if real is None else words.percent(real, 2),
                words.percent(side.accuracy, 2),
                words.DASH if real is None else words.points(side.accuracy - real),
                f"± {words.standard_error(side.accuracy, outcome.images)}",
                words.DASH if agreement is None else words.percent(agreement, 2),
                f"{outcome.images:,}",
            ]
        )
    heads = ["network", "kind", "float", "integers", "difference, points", "standard error, points"]
    heads += ["same class as float", "images"]
    return Grid("Images classified right", heads, rows, text=2)


def layer_grid(side: Side, table: str) -> Grid:
    """Return everything about each layer of one network; columns without an entry are left out."""
    frame = layer_table(side, table)
    records = frame.to_dict("records")
    columns = {
        "layer": [*frame["layer"], "all"],
        "kind": [*frame["kind"], ""],
        "output": [*(shape.replace("x", "×") for shape in frame["shape"]), ""],
        "x/w/acc": [*frame["x/w/acc"], ""],
        "out": [*frame["out"], ""],
        "adder taps": _counts(frame["adder_taps"]),
        "MACs": _counts(frame["multiplier_taps"]),
        "overflows": [*_whole(frame["overflows"])],
        "saturated": [*_whole(frame["saturated"])],
        "SQNR, dB": [*map(words.decibels, frame["sqnr_db"]), ""],
        "cycles": _counts(frame["cycles"]),
        "array": [*(array.partition(" ")[0].replace("x", "×") for array in frame["array"]), ""],
        "used, %": [*(_share(record["utilisation"]) for record in records), ""],
        **{head: _nanojoules(frame[key]) for head, key in ENERGIES.items()},
    }
    kept = {head: cells for head, cells in columns.items() if head in STAY or set(cells) - {"", words.DASH}}
    rows = list(zip(*kept.values(), strict=True))
    caption = f"{side.qnet.name} on {side.machine.name}"
    return Grid(caption, list(kept), rows, text=sum(head in TEXT for head in kept), totals=1)


def format_grid(side: Side, table: str) -> Grid:
    """Return how well the formats of each layer fit the images."""
    records = layer_table(side, table).to_dict("records")
    needs = {layer.name: layer.accumulator_bits for layer in side.trace.layers}
    heads = ["layer", "x/w/acc", "acc needs", "out", "step", "SQNR, dB", "inputs saturated, %", "weights saturated, %"]
    rows = [
        [
            record["layer"],
            record["x/w/acc"] or words.DASH,
            f"{needed} bits" if (needed := needs.get(record["layer"])) else words.DASH,
            record["out"],
            words.number(record["step"], 3),
            words.decibels(record["sqnr_db"]),
            *(_hundredths(record[key]) for key in ("saturated_inputs", "saturated_weights", "range_use")),
        ]
        for record in records
    ]
    return Grid(f"{side.qnet.name}: formats and data", [*heads, "range used, %"], rows, text=4)


def _hundredths(fraction: float) -> str:
    return words.DASH if math.isnan(fraction) else words.percent(fraction, 2).removesuffix(" %")


def _whole(column: Any) -> list[str]:
    return [f"{int(value):,}" for value in (*column, column.sum())]


def _counts(column: Any) -> list[str]:
    return [text if text != "0" else words.DASH for text in _whole(column)]


def _share(fraction: float) -> str:
    return f"{100 * fraction:.1f}" if fraction else words.DASH


def _nanojoules(column: Any) -> list[str]:
    return words.aligned([value / 1000 for value in (*column, column.sum())])


def ratio_grid(outcome: Outcome, comparison: Comparison) -> Grid:
    """Return multiplier / adder per cost table and quantity, its range, and that with a full side array."""
    metrics: list[Metric] = list(TITLES)
    columns = [comparison.ratio(metric) for metric in metrics]
    rows = [[table, *(words.ratio(column[table]) for column in columns)] for table in comparison.costs]
    rows.append(["range", *(words.ratios(range_of(metric, outcome)) for metric in metrics)])
    if outcome.full_side is not None:
        ranges = (words.ratios(outcome.full_side.range(metric)) for metric in metrics)
        rows.append([f"range, side array {full_size(outcome)}", *ranges])
    heads = ["cost table", "energy, all", "arithmetic", "adder layers' taps", "latency", "array area"]
    return Grid("Multiplier / adder", heads, rows, totals=len(rows) - len(comparison.costs))


def bill_grid(outcome: Outcome) -> Grid:
    """Return the totals of every network by every cost table."""
    bills = _bills(outcome)
    told = iter(words.aligned([value for cost in bills.values() for value in _energies(cost)], digits=5))
    rows = [
        [*key, *islice(told, len(ENERGIES) + 1), words.number(cost.latency_us), _area(cost)]
        for key, cost in bills.items()
    ]
    heads = ["cost table", "network", *ENERGIES, "total, nJ", "latency, µs", "area, mm²"]
    return Grid("One image by every cost table", heads, rows, text=2)


def _bills(outcome: Outcome) -> dict[tuple[str, str], Cost]:
    """Return the costs by table, the study's first, and network."""
    bills = {(cost.table, side.label): cost for side in outcome.sides for cost in side.costs.values()}
    for adder, multiplier in outcome.comparison.costs.values() if outcome.comparison else ():
        bills |= {(adder.table, "adder"): adder, (adder.table, "multiplier"): multiplier}
    order = list(dict.fromkeys(table for table, _ in bills))
    return {key: bills[key] for key in sorted(bills, key=lambda key: (order.index(key[0]), key[1]))}


def _energies(cost: Cost) -> list[float]:
    return [value / 1000 for value in (*cost.energy_by_unit.values(), cost.energy_pj)]


def _area(cost: Cost) -> str:
    return words.DASH if cost.area_um2 is None else words.number(cost.area_um2 / 1e6)
