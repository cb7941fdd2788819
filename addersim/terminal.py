"""Results as tables in a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from addersim.outcome import Outcome, Side, layer_table


def print_sides(outcome: Outcome) -> None:
    """Print, per network, what its integers went through and what they cost, layer by layer; then the totals."""
    screen = Console()
    for side in outcome.sides:
        rows = layer_table(side, outcome.table).to_dict("records")
        screen.print(_integers(side, rows), _costs(side, rows))
    screen.print(_totals(outcome))
    said = f"{outcome.images} images; {outcome.calibration}; one image costs, by {outcome.table}"
    screen.print(said, style="dim", highlight=False)


def _grid(title: str, left: list[str], right: list[str]) -> Table:
    grid = Table(title=title or None, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    grid.title_justify, grid.title_style, grid.header_style = "left", "bold", "bold"
    for head in left:
        grid.add_column(head, no_wrap=True)
    for head in right:
        grid.add_column(head, justify="right", no_wrap=True)
    return grid


def _integers(side: Side, rows: list[dict[str, Any]]) -> Table:
    """Shape, taps (a on adders, m on multipliers), widths, overflows, saturations, SQNR."""
    title = f"{side.qnet.name} on {side.machine.name}"
    grid = _grid(title, ["layer"], ["shape", "taps", "x/w/acc", "out", "overflow", "satur.", "SQNR dB"])
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
            f"{row['sqnr_db']:.1f}" if isfinite(row["sqnr_db"]) else "",
        )
    return grid


def _costs(side: Side, rows: list[dict[str, Any]]) -> Table:
    units = ["arithmetic_pj", "buffers_pj", "dram_pj"]
    grid = _grid("", ["layer"], ["cycles", "used %", "arithmetic nJ", "buffers nJ", "DRAM nJ"])
    for row in rows:
        if row["cycles"] or any(row[unit] for unit in units):
            energies = (f"{row[unit] / 1000:,.2f}" if row[unit] else "" for unit in units)
            used = f"{100 * row['utilisation']:.0f}" if row["utilisation"] else ""
            grid.add_row(row["layer"], f"{row['cycles']:,}", used, *energies)
    return grid


def _totals(outcome: Outcome) -> Table:
    grid = _grid("one image", [""], [side.label for side in outcome.sides])
    costs = [side.costs[outcome.table] for side in outcome.sides]
    rows: list[tuple[str, list[str]]] = [
        (
            "accuracy, float",
            ["-" if s.float_accuracy is None else f"{100 * s.float_accuracy:.2f} %" for s in outcome.sides],
        ),
        ("accuracy, integers", [f"{100 * s.accuracy:.2f} %" for s in outcome.sides]),
        ("energy", [f"{c.energy_pj / 1000:,.1f} nJ" for c in costs]),
        *(
            (f"  {unit}", [f"{c.energy_by_unit[unit] / 1000:,.1f} nJ" for c in costs])
            for unit in costs[0].energy_by_unit
        ),
        ("latency", [f"{c.latency_us:,.2f} us" for c in costs]),
        ("cycles", [f"{c.cycles:,}" for c in costs]),
        _area(outcome),
    ]
    for name, cells in rows:
        grid.add_row(name, *cells)
    return grid


def _area(outcome: Outcome) -> tuple[str, list[str]]:
    """Return the row of the arrays' area, by the study's first table that prints areas; not every one does."""
    for table, cost in outcome.sides[0].costs.items():
        if cost.area_um2 is not None:
            return f"array area ({cost.table})", [f"{s.costs[table].area_um2:,.0f} um2" for s in outcome.sides]
    return "array area", ["in no table of the study" for _ in outcome.sides]


def print_comparison(outcome: Outcome) -> None:
    """Print multiplier / adder per table and metric, with the range over tables."""
    comparison = outcome.comparison
    assert comparison is not None
    metrics = {
        "energy": "energy",
        "arithmetic": "arithmetic",
        "taps": "adder taps",
        "latency": "latency",
        "area": "area",
    }
    grid = _grid("multiplier / adder: above 1 the adders win", ["table"], list(metrics.values()))
    ratios = [comparison.ratio(metric) for metric in metrics]  # type: ignore[arg-type]
    for table in comparison.costs:
        grid.add_row(table, *("-" if r[table] is None else f"{r[table]:.2f}" for r in ratios))
    spreads = [comparison.range(metric) for metric in metrics]  # type: ignore[arg-type]
    grid.add_section()
    grid.add_row("range", *("-" if s is None else f"{s[0]:.2f}-{s[1]:.2f}" for s in spreads))
    Console().print(grid)


def print_paths(outcome: Outcome) -> None:
    """Print which loop ran each layer, and why it is exact."""
    for side in outcome.sides:
        for layer in side.trace.layers:
            if layer.facts.path:
                print(f"{side.label} {layer.name}: {layer.facts.path}")


def print_frame(frame: Any) -> None:
    """Print a DataFrame, all of it, with a dash for what has no value."""
    print(frame.to_string(index=False, na_rep="-", float_format=lambda value: f"{value:.6g}"))


def print_entries(found: list[dict[str, Any]]) -> None:
    """Print name, description and source, one row each."""
    grid = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False, padding=(0, 1, 0, 0))
    for head in ("name", "description", "source"):
        grid.add_column(head, no_wrap=head == "name")
    for one in found:
        grid.add_row(*(escape(str(one[key])) for key in ("name", "description", "source")))
    Console().print(grid)


def print_entry(full: dict[str, Any]) -> None:
    """Print one thing's fields, tables and lists indented, then its text."""
    for line in _lines({key: value for key, value in full.items() if key != "text"}, ""):
        print(line)
    if "text" in full:
        print(full["text"])


def _lines(fields: dict[str, Any], indent: str) -> Iterator[str]:
    for key, value in fields.items():
        if isinstance(value, dict):
            yield f"{indent}{key}:"
            yield from _lines(value, indent + "  ")
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            yield f"{indent}{key}:"
            for one in value:
                yield indent + "  " + ", ".join(f"{k} {v}" for k, v in one.items() if v not in (None, "", False))
        elif value not in (None, "", []):
            yield f"{indent}{key}: {value}"
