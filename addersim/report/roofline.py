"""Roofline: taps per cycle of each layer against its taps per byte of DRAM traffic, under what the machine attains.

Williams, Waterman, Patterson: Roofline: An Insightful Visual Performance Model for Multicore Architectures, CACM
52(4), 2009: attainable = min(peak, intensity x bandwidth).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from matplotlib.ticker import FuncFormatter, NullFormatter

from addersim.costs.bill import Cost
from addersim.report.drawing import COLOURS, INK, QUIET, WIDTH, axes, panel, style, svg, write

LEFT, TOP, PLOT, BELOW, LINE = 46.0, 14.0, (WIDTH - 58.0, 210.0), 52.0, 16.0  # user units
BESIDE = 1.6  # factor by which layers without DRAM traffic stand right of all others
SIDES = ((-4.0, -10.0, "right"), (4.0, -10.0, "left"))  # where a letter stands: below its point and its roof


@dataclass(frozen=True)
class Point:
    """Layers that coincide: their names, array, taps per cycle, and taps per byte (``None`` without DRAM traffic)."""

    layers: tuple[str, ...]
    array: str
    taps_per_cycle: float
    taps_per_byte: float | None

    @property
    def label(self) -> str:
        """The first layer's name, and how many more there are."""
        more = len(self.layers) - 1
        return f"{self.layers[0]} +{more}" if more else self.layers[0]


def points(cost: Cost) -> list[Point]:
    """Return a point for each layer on an array, equal ones together."""
    bits = {run.layer: 0 for run in cost.layers}
    for charge in cost.charges:
        if charge.unit == "dram":
            bits[charge.layer] += charge.times
    found: dict[tuple[str, float, float | None], list[str]] = {}
    for run in cost.layers:
        if run.array is not None:
            intensity = 8 * run.taps / bits[run.layer] if bits[run.layer] else None
            rounded = None if intensity is None else float(f"{intensity:.2g}")
            found.setdefault((run.array, float(f"{run.taps / run.cycles:.2g}"), rounded), []).append(run.layer)
    return [Point(tuple(names), *key) for key, names in found.items()]


def attainable(cost: Cost, array: Any, taps_per_byte: float) -> float:
    """Return ``min(rows * cols, taps_per_byte * bytes per cycle of DRAM)``."""
    rows, cols = cost.hardware.array(array)
    return min(rows * cols, taps_per_byte * cost.hardware.dram.bits_per_cycle / 8)


def roofline(cost: Cost) -> Markup:
    """Return the figure as SVG; layers without DRAM traffic stand at the right edge, a key below names all."""
    shown = sorted(points(cost), key=lambda point: (point.taps_per_byte or float("inf"), point.taps_per_cycle))
    rows = -(-len(shown) // 2)
    with style("roofline"):
        figure = panel(TOP + PLOT[1] + BELOW + rows * LINE)
        _draw(axes(figure, LEFT, TOP, *PLOT), cost, shown)
        for number, point in enumerate(shown):
            left, top = 8 + number // rows * WIDTH / 2, TOP + PLOT[1] + BELOW + (number % rows) * LINE + 8
            write(figure, left, top, _letter(number), color=COLOURS.get(point.array, QUIET), weight="bold")
            write(figure, left + 18, top, point.label, color=INK, fontsize=10.5)
        said = "; ".join(f"{point.label} {point.taps_per_cycle:g}" for point in shown)
        return svg(figure, "roofline", f"Taps per cycle of each layer under the machine's roofline: {said}")


def _letter(number: int) -> str:
    return chr(ord("a") + number % 26) * (1 + number // 26)


def _draw(plot: Any, cost: Cost, shown: list[Point]) -> None:
    arrays: list[Any] = list(dict.fromkeys(point.array for point in shown))
    ridges = [_ridge(cost, array) for array in arrays]
    finite = [point.taps_per_byte for point in shown if point.taps_per_byte is not None]
    low, edge = min([*finite, *ridges]) / 2, max([*finite, *ridges]) * BESIDE
    high = edge * BESIDE
    for array, ridge in zip(arrays, ridges, strict=True):
        _roof(plot, cost, array, (low, ridge, high))
    for number, point in enumerate(shown):
        _mark(plot, number, point, edge)
    plot.set_xlim(low, high)
    top, bottom = max(attainable(cost, array, high) for array in arrays), min(point.taps_per_cycle for point in shown)
    plot.set_ylim(min(bottom, attainable(cost, arrays[0], low)) / 2, top * 1.5)
    _name_axes(plot, "; right edge: no traffic" if len(finite) < len(shown) else "")


def _roof(plot: Any, cost: Cost, array: Any, places: tuple[float, float, float]) -> None:
    roof = [attainable(cost, array, x) for x in places]
    plot.loglog(places, roof, color=COLOURS.get(array, QUIET), linewidth=1.2)
    plot.text(places[-1], roof[-1] * 1.08, f"{array}s, {roof[-1]:g}", color=QUIET, ha="right", size=10)


def _mark(plot: Any, number: int, point: Point, edge: float) -> None:
    place = edge if point.taps_per_byte is None else point.taps_per_byte, point.taps_per_cycle
    colour, (right, up, side) = COLOURS.get(point.array, QUIET), SIDES[number % 2]
    plot.plot(*place, "o", color=colour, markersize=4.5, clip_on=False)
    plot.annotate(_letter(number), place, (right, up), textcoords="offset points", ha=side, size=10.5, color=colour)


def _name_axes(plot: Any, remark: str) -> None:
    plot.set_xlabel(f"taps per byte of DRAM traffic{remark}")
    plot.set_ylabel("taps per cycle")
    for axis in (plot.xaxis, plot.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axis.set_minor_formatter(NullFormatter())


def _ridge(cost: Cost, array: Any) -> float:
    """Return the taps per byte from which DRAM no longer bounds the array."""
    rows, cols = cost.hardware.array(array)
    return float(rows * cols * 8 / cost.hardware.dram.bits_per_cycle)
