"""Multiplier / adder over the cost tables, one line per quantity: how far the publications agree."""

from __future__ import annotations

import math
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure

from addersim.costs.comparison.compare import Comparison, Metric
from addersim.report.drawing import COLOURS, INK, QUIET, WIDTH, axes, panel, ratio_axis, style, svg, write
from addersim.report.words import ratio, ratios

TITLES: dict[Metric, str] = {
    "energy": "energy, whole system",
    "arithmetic": "energy, arithmetic",
    "taps": "energy, taps of adder layers",
    "latency": "latency",
    "area": "area of the arrays",
}
LINE, HEAD, FOOT = 40.0, 26.0, 34.0
MARGIN = 34.0
BEHIND = {"fc": "white", "ec": "none", "pad": 1}
TICKS = (0.1, 0.2, 0.33, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 20, 50)


def ratio_chart(comparison: Comparison) -> Markup:
    """Return one dot per cost table and quantity, with the range between them."""
    found = {m: [r for r in comparison.ratio(m).values() if r] for m in TITLES}
    shown = {metric: values for metric, values in found.items() if values}
    every = [1.0, *(value for values in shown.values() for value in values)]
    with style("ratios"):
        figure = panel(HEAD + LINE * len(shown) + FOOT)
        ax = axes(figure, MARGIN, HEAD, WIDTH - 2 * MARGIN, max(LINE * len(shown), 1))
        _scale(ax, min(every), max(every), len(shown))
        for row, (metric, values) in enumerate(shown.items()):
            _line(ax, row, TITLES[metric], sorted(values))
        _sides(figure, ax)
        said = [f"{TITLES[metric]} {ratios((min(v), max(v)))}" for metric, v in shown.items()]
        return svg(figure, "ratios", f"Multiplier divided by adder, range over cost tables: {'; '.join(said)}")


def _scale(ax: Any, low: float, high: float, rows: int) -> None:
    ratio_axis(ax, min(low, 0.52) / 1.12, max(high, 1.9) * 1.12, rows, TICKS)
    ax.axvline(1, color=INK, linewidth=1)
    ax.set_xlabel("multiplier / adder, logarithmic", labelpad=2)


def _line(ax: Any, row: int, title: str, values: list[float]) -> None:
    place, low, high = row + 0.22, values[0], values[-1]
    ax.text(-0.06, row - 0.2, title, size=11, transform=ax.get_yaxis_transform(), va="center", bbox=BEHIND)
    ax.plot([low, high], [place, place], color=QUIET, linewidth=2, solid_capstyle="round")
    ax.plot(values, [place] * len(values), "o", color="white", markeredgecolor=INK, markersize=6.5, markeredgewidth=1.4)
    single = ratio(low) == ratio(high)
    if not (single and low < 1):
        _value(ax, high, place, "left", 8)
    if not single or low < 1:
        _value(ax, low, place, "right", -8)


def _value(ax: Any, value: float, place: float, align: str, offset: float) -> None:
    look = {"size": 10.5, "weight": "bold", "va": "center", "ha": align, "bbox": BEHIND}
    ax.annotate(ratio(value), (value, place), (offset, 0), textcoords="offset points", **look)


def _sides(figure: Figure, ax: Any) -> None:
    """Say above the chart on which side of 1 which network is ahead."""
    left, right = map(math.log, ax.get_xlim())
    one = MARGIN - left / (right - left) * (WIDTH - 2 * MARGIN)
    write(figure, one + 7, 14, "adders ahead ▸", color=COLOURS["adder"], weight="bold", size=10.5)
    write(figure, one - 7, 14, "◂ multipliers ahead", color=COLOURS["multiplier"], weight="bold", size=10.5, ha="right")
