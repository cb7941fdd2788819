"""Results as tables in a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from math import isfinite
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from addersim.costs.bill import Cost
from addersim.costs.comparison.array_kinds import HELD, KINDS, ArrayComparison, Figure
from addersim.costs.comparison.compare import METRICS, Comparison
from addersim.costs.comparison.tornado import Tornado
from addersim.hardware import Hardware
from addersim.hardware.diagram import ASCII
from addersim.report.figures import layer_table
from addersim.study.outcome import Outcome, Side

SHOWN = 60  # rows of a long frame: the first and the last half of them
FIGURES: tuple[Figure, ...] = ("arithmetic", "energy", "latency")
UNMOVED = 1.0005  # high / low of an assumption that is not worth a line


def print_sides(outcome: Outcome) -> None:
    """Print, per network, what its integers went through and what they cost, layer by layer; then the totals."""
    screen = Console()
    for side in outcome.sides:
        rows = layer_table(side, outcome.table).to_dict("records")
        screen.print(_integers(side, rows), _fit(side, rows), _costs(rows))
    screen.print(_totals(outcome))
    for line in _remarks(outcome):
        screen.print(line, style="dim", highlight=False, markup=False)


def _grid(title: str, left: list[str], right: list[str]) -> Table:
    grid = Table(title=title or None, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    grid.title_justify, grid.title_style, grid.header_style = "left", "bold", "bold"
    for head in left:
        grid.add_column(head, no_wrap=True)
    for head in right:
        grid.add_column(head, justify="right", no_wrap=True)
    return grid


def _integers(side: Side, rows: list[dict[str, Any]]) -> Table:
    """Shape, taps, widths, overflows, saturations; the last row sums what can be summed."""
    title = f"{side.qnet.name} on {side.machine.name}"
    grid = _grid(title, ["layer"], ["shape", "taps", "x/w/acc", "out", "overflow", "satur."])
    for row in rows:
        taps = row["adder_taps"] + row["multiplier_taps"]
        grid.add_row(
            row["layer"],
            row["shape"],
            f"{taps:,} {'a' if row['adder_taps'] else 'm'}" if taps else "",
            row["x/w/acc"],
            row["out"],
            f"{row['overflows']:,}",
            f"{row['saturated']:,}",
        )
    taps = _sum(rows, "adder_taps") + _sum(rows, "multiplier_taps")
    _total(grid, "", f"{taps:,}  ", "", "", f"{_sum(rows, 'overflows'):,}", f"{_sum(rows, 'saturated'):,}")
    return grid


def _fit(side: Side, rows: list[dict[str, Any]]) -> Table:
    """How well the formats fit the images: error, step, what is clamped, the codes in use, the accumulator's need."""
    needs = {layer.name: layer.accumulator_bits for layer in side.trace.layers}
    grid = _grid("", ["layer"], ["SQNR dB", "step", "in satur. %", "w satur. %", "range %", "acc needs"])
    for row in rows:
        shares = (row[key] for key in ("saturated_inputs", "saturated_weights", "range_use"))
        cells = [
            f"{row['sqnr_db']:.1f}" if isfinite(row["sqnr_db"]) else "",
            f"{row['step']:.4g}",
            *(f"{100 * share:.2f}" if isfinite(share) else "" for share in shares),
            f"{needed} b" if (needed := needs.get(row["layer"])) else "",
        ]
        grid.add_row(row["layer"], *cells)
    return grid


def _costs(rows: list[dict[str, Any]]) -> Table:
    """Which array ran a layer, how long, and what it cost."""
    units, heads = ["arithmetic_pj", "buffers_pj", "dram_pj"], ["arithmetic nJ", "buffers nJ", "DRAM nJ"]
    if _sum(rows, "leakage_pj"):
        units, heads = [*units, "leakage_pj"], [*heads, "leakage nJ"]
    grid = _grid("", ["layer"], ["array", "cycles", "used %", *heads])
    for row in rows:
        energies = [f"{row[unit] / 1000:,.2f}" if row[unit] else "" for unit in units]
        if row["cycles"] or any(energies):
            size, _, kind = row["array"].partition(" ")
            used = f"{100 * row['utilisation']:.0f}" if row["utilisation"] else ""
            grid.add_row(row["layer"], f"{size} {kind[:1]}".strip(), f"{row['cycles']:,}", used, *energies)
    _total(grid, "", f"{_sum(rows, 'cycles'):,}", "", *(f"{_sum(rows, unit) / 1000:,.2f}" for unit in units))
    return grid


def _sum(rows: list[dict[str, Any]], key: str) -> Any:
    return sum(row[key] for row in rows)


def _total(grid: Table, *cells: str) -> None:
    grid.add_section()
    grid.add_row("all", *cells, style="bold")


def _totals(outcome: Outcome) -> Table:
    grid = _grid("one image", [""], [side.label for side in outcome.sides])
    costs = [side.costs[outcome.table] for side in outcome.sides]
    grid.add_row("accuracy, float", *(_percent(side.float_accuracy) for side in outcome.sides))
    grid.add_row("accuracy, integers", *(_percent(side.accuracy) for side in outcome.sides))
    for name, energies in _energies(costs):
        grid.add_row(name, *(f"{energy_pj / 1000:,.1f} nJ" for energy_pj in energies))
    grid.add_row("latency", *(f"{c.latency_us:,.2f} us" for c in costs))
    grid.add_row("cycles", *(f"{c.cycles:,}" for c in costs))
    grid.add_row(*_area(outcome))
    return grid


def _energies(costs: list[Cost]) -> Iterator[tuple[str, list[float]]]:
    """Yield the whole energy of all sides and that of each unit, of leakage only where a table knows it."""
    yield "energy", [cost.energy_pj for cost in costs]
    for unit in costs[0].energy_by_unit:
        energies = [cost.energy_by_unit[unit] for cost in costs]
        if unit != "leakage" or any(energies):
            yield f"  {unit}", energies


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.2f} %"


def _area(outcome: Outcome) -> list[str]:
    """Return the row of the arrays' area, by the study's first table that prints areas; not every one does."""
    for table, cost in outcome.sides[0].costs.items():
        if cost.area_um2 is not None:
            return [f"array area ({cost.table})", *(f"{s.costs[table].area_um2:,.0f} um2" for s in outcome.sides)]
    return ["array area", *("-" for _ in outcome.sides)]


def _remarks(outcome: Outcome) -> Iterator[str]:
    """Say what the tables' letters and dashes mean."""
    yield f"{outcome.images} images; {outcome.calibration}"
    yield f"energies of one image by {outcome.table}, the first of [evaluation].tables"
    yield "taps, array: a adders, m multipliers; x/w/acc: input, weight, accumulator; u unsigned, s signed, then bits"
    yield "overflow, satur.: over all images; used: taps per element and array cycle"
    yield "in, w satur.: the float model's inputs and weights beyond the format; range: codes in use at the output"
    for side in outcome.sides:
        if side.validation is not None:
            yield f"{side.label}, against its float model: {side.validation.summary}"
    if all(cost.area_um2 is None for cost in outcome.sides[0].costs.values()):
        yield "array area: none of [evaluation].tables prints areas; `addersim list costs` has others"


def print_comparison(outcome: Outcome) -> None:
    """Print multiplier / adder per table and metric, with the range over tables, also for a full side array."""
    comparison, machine = outcome.comparison, outcome.sides[0].machine
    assert comparison is not None
    heads = ["adder taps" if metric == "taps" else metric for metric in METRICS]
    grid = _grid("multiplier / adder: above 1 the adders win", ["table"], heads)
    ratios = [comparison.ratio(metric) for metric in METRICS]
    for table in comparison.costs:
        grid.add_row(table, *("-" if r[table] is None else f"{r[table]:.2f}" for r in ratios))
    grid.add_section()
    grid.add_row("range", *_ranges(comparison))
    said = "every shipped cost table, and those of [evaluation].tables; -: not in that table"
    if outcome.full_side is not None:
        side, full = (f"{rows}x{cols}" for rows, cols in (machine.array("multiplier"), (machine.rows, machine.cols)))
        grid.add_row(f"range, side array {full}", *_ranges(outcome.full_side))
        said += (
            f"; layers that stayed multiplications have {side} multipliers beside the adders, {full} in the last row"
        )
    screen = Console()
    screen.print(grid)
    screen.print(said, style="dim", highlight=False, markup=False)
    screen.print(_own_clocks(comparison), style="dim", highlight=False, markup=False)


def _own_clocks(comparison: Comparison) -> str:
    """Say how latencies compare with each array at the clock of its critical path."""
    known = {name: clock for name, clock in comparison.own_clock().items() if clock is not None}
    if not known:
        return "own clocks: no table gives delays"
    clocks = (f"{name} {c.ratio:.2f} ({c.adder_mhz:.0f}, {c.multiplier_mhz:.0f} MHz)" for name, c in known.items())
    return f"latency with each array at its own clock (adders, multipliers): {'; '.join(clocks)}; no delays elsewhere"


def _ranges(comparison: Comparison) -> Iterator[str]:
    for limits in map(comparison.range, METRICS):
        yield "-" if limits is None else _between(*limits)


def _between(low: float, high: float) -> str:
    ends = dict.fromkeys([f"{low:.2f}", f"{high:.2f}"])
    return "-".join(ends)


def print_tornadoes(found: Iterable[Tornado]) -> None:
    """Print, per metric, the range that each assumption leads to, the widest first."""
    for one in found:
        what = "whole energy" if one.metric == "energy" else one.metric
        title = f"what moves {what}, {one.ratio:.2f} by {one.table}"
        grid = _grid(title, ["assumption"], ["from", "to"])
        grid.add_column("")
        for swing in one.swings:
            if swing.factor > UNMOVED:
                low, high = f"{swing.low:.2f}", f"{swing.high:.2f}"
                grid.add_row(swing.assumption, low, high, f"{swing.low_case} .. {swing.high_case}")
        Console().print(grid)


def print_arrays(found: ArrayComparison) -> None:
    """Print array / adder over all tables for each kind of array and each thing held equal."""
    grid = _grid("array / adder, range over tables: above 1 the adders win", ["equal", "array"], ["size", *FIGURES])
    for held in HELD:
        for kind in KINDS[1:]:
            machines = [row.cost.hardware for row in found.rows if (row.held, row.kind) == (held, kind)]
            if machines:
                ratios = [found.ratio(kind, held, figure).values() for figure in FIGURES]
                grid.add_row(held, kind, _sizes(machines), *(_between(min(r), max(r)) for r in ratios))
        grid.add_section()
    screen = Console()
    screen.print(grid)
    for text in found.assumptions:
        screen.print(text, style="dim", highlight=False, markup=False)


def _sizes(machines: list[Hardware]) -> str:
    """Return the smallest and the largest size of an array, or the only one."""
    sizes = [(machine.rows, machine.cols) for machine in machines]
    return " - ".join(f"{rows}x{cols}" for rows, cols in dict.fromkeys([min(sizes), max(sizes)]))


def print_paths(outcome: Outcome) -> None:
    """Print which loop ran each layer, and why it is exact."""
    for side in outcome.sides:
        for layer in side.trace.layers:
            if layer.facts.path:
                print(f"{side.label} {layer.name}: {layer.facts.path}")


def print_frame(frame: Any, *, kept: bool) -> None:
    """Print a DataFrame with a dash for what has no value; of a long one the first and the last rows.

    ``kept`` says that they are in a file as well. Of a sweep's ``refused``, the number and the first reason.
    """
    refused = [reason for reason in frame.get("refused", ()) if reason]
    shown = frame.drop(columns="refused", errors="ignore")
    print(shown.to_string(index=False, na_rep="-", float_format=lambda value: f"{value:.6g}", max_rows=SHOWN))
    if len(frame) > SHOWN:
        print(f"{len(frame):,} rows in all" + ("" if kept else ": --csv FILE or --out DIR keep them"))
    if len(refused):
        print(f"{len(refused):,} of {len(frame):,} rows are refused, the first because of {refused[0]}")


def print_entries(found: list[dict[str, Any]], said: str) -> None:
    """Print one row per thing, and what they are."""
    grid = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    for head in found[0]:
        grid.add_column(head, no_wrap=head in ("name", "weights"), overflow="fold")
    for one in found:
        grid.add_row(*(escape(str(value)) for value in one.values()))
    screen = Console()
    screen.print(grid)
    screen.print(said, style="dim", highlight=False, markup=False)


def print_entry(full: dict[str, Any]) -> None:
    """Print one thing's fields, tables and lists indented, then its text; of a file the text alone."""
    fields = {key: value for key, value in full.items() if key != "text"}
    for line in _lines(fields, "") if set(fields) != {"name"} else ():
        print(line)
    if "text" in full:
        wide = (sys.stdout.encoding or "").lower().startswith("utf")
        print(full["text"] if wide else full["text"].translate(ASCII))


def _lines(fields: dict[str, Any], indent: str) -> Iterator[str]:
    for key, value in fields.items():
        if value in (None, "", [], {}):
            continue
        if isinstance(value, dict):
            yield f"{indent}{key}:"
            yield from _lines(value, indent + "  ")
        elif isinstance(value, list) and isinstance(value[0], dict):
            yield f"{indent}{key}:"
            yield from (f"{indent}  {_short(one)}" for one in value)
        else:
            yield f"{indent}{key}: {value}"


def _short(fields: dict[str, Any]) -> str:
    said = {key: " and ".join(map(str, v)) if isinstance(v, list) else v for key, v in fields.items()}
    return ", ".join(f"{key} {value}" for key, value in said.items() if fields[key] not in (None, "", False))
