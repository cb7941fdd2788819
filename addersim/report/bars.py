"""Bars of both networks beside each other, stacked from parts: one chart for energies, times, utilisation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from addersim.report.drawing import COLOURS, GRID, INK, QUIET, WIDTH, axes, panel, style, svg, swatch, tint, write
from addersim.report.words import number, short

BAR, GAP, KEY = 15.0, 9.0, 20.0  # heights: one bar, the space between layers, one line of the key
LETTERS, LETTER, RIGHT, FOOT = 16, 6.6, 12.0, 40.0  # of a layer's name, at most; their width; margins
STRENGTHS = (1.0, 0.5, 0.2)  # of a network's colour, part by part


@dataclass(frozen=True)
class Bars:
    """What a chart shows.

    Attributes
    ----------
    parts
        Names of the parts that a bar is stacked from, three at most.
    groups
        Name of the group (a layer) to the bars in it: label of the network to its values, one per part.
    unit
        Unit of the values, for the axis.
    limit
        End of the axis; by default the longest bar's.
    """

    name: str
    label: str
    parts: tuple[str, ...]
    groups: Mapping[str, Mapping[str, Sequence[float]]]
    unit: str
    limit: float | None = None

    @property
    def left(self) -> float:
        """Where the bars begin, behind the longest name or the key's."""
        return 12 + LETTER * min(max([12, *map(len, self.groups)]), LETTERS)

    @property
    def sides(self) -> list[str]:
        """The labels of the networks that have bars."""
        return [side for side in COLOURS if any(side in bars for bars in self.groups.values())]


def draw(bars: Bars) -> Markup:
    """Return the chart as SVG."""
    keys = KEY * (len(bars.sides) if len(bars.parts) > 1 else 1) + 8
    tops = list(accumulate((len(group) * BAR + GAP for group in bars.groups.values()), initial=0.0))
    with style(bars.name):
        figure = panel(keys + max(tops[-1], 1.0) + FOOT)
        _key(figure, bars)
        ax = axes(figure, bars.left, keys, WIDTH - bars.left - RIGHT, max(tops[-1], 1.0))
        end = _limits(ax, bars)
        ax.set_ylim(max(tops[-1], 1.0), 0)
        for top, group in zip(tops, bars.groups.values(), strict=False):
            _group(ax, group, top + GAP / 2, end)
        middles = [(top + bottom) / 2 for top, bottom in pairwise(tops)]
        ax.set_yticks(middles, [short(name, LETTERS) for name in bars.groups])
        _finish(ax, bars.unit)
        return svg(figure, bars.name, bars.label)


def said(value: float) -> str:
    """Return the label of a bar: three significant digits, four from 100 on."""
    return number(value, 4 if abs(value) >= 100 else 3)


def _limits(ax: Any, bars: Bars) -> float:
    """Set the horizontal axis with room for labels behind the bars; return where the longest bar may end."""
    sums = [0.0, *(sum(values) for group in bars.groups.values() for values in group.values())]
    end = bars.limit or max(sums) or 1.0
    low, high = min(sums), end * 1.22
    ax.set_xlim(low, high)
    ax.xaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
    ax.set_xticks([tick for tick in ax.get_xticks() if low <= tick <= (bars.limit or high)])
    return end


def _group(ax: Any, group: Mapping[str, Sequence[float]], top: float, end: float) -> None:
    for row, side in enumerate(side for side in COLOURS if side in group):
        middle, left, colour = top + (row + 0.5) * BAR, 0.0, COLOURS[side]
        for strength, value in zip(STRENGTHS, group[side], strict=False):
            look = {"color": tint(colour, strength), "edgecolor": colour, "linewidth": 0.5}
            ax.barh(middle, value, BAR - 2, left=left, **look)
            left += value
        ax.text(max(left, 0) + end * 0.015, middle, said(left), va="center", size=10.5, color=INK)


def _finish(ax: Any, unit: str) -> None:
    ax.tick_params(axis="both", length=0)
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:,.6g}")
    ax.grid(axis="x", color=GRID, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.set_xlabel(unit, labelpad=2)
    ax.spines["bottom"].set_visible(False)
    ax.spines["left"].set_color(QUIET)


def _key(figure: Figure, bars: Bars) -> None:
    """Draw the key: colours are networks, their tints are parts."""
    if len(bars.parts) == 1:
        for column, side in enumerate(bars.sides):
            swatch(figure, bars.left + column * 110, 4, COLOURS[side], side)
        return
    steps = [30 + LETTER * len(part) for part in bars.parts]
    lefts = list(accumulate(steps, initial=min(bars.left, WIDTH - sum(steps))))
    for row, side in enumerate(bars.sides):
        top = 4 + row * KEY
        write(figure, 4, top + 9.5, side, color=COLOURS[side], weight="bold")
        for left, part, strength in zip(lefts, bars.parts, STRENGTHS, strict=False):
            swatch(figure, left, top, tint(COLOURS[side], strength), part)
