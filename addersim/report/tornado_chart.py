"""How far each assumption moves multiplier / adder, the widest on top."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from addersim.costs.comparison.tornado import Swing, Tornado
from addersim.report.drawing import COLOURS, INK, QUIET, WIDTH, axes, panel, ratio_axis, style, svg, tint
from addersim.report.words import ratio

LINE, HEAD, FOOT, MARGIN = 40.0, 10.0, 40.0, 40.0
SHOWN = 8  # lines at most
UNMOVED = 1.0005  # high / low of an assumption that is not worth a line
NAMES = {"energy": "whole energy", "arithmetic": "arithmetic", "taps": "taps of adder layers"}
BEHIND = {"fc": "white", "ec": "none", "pad": 1}
TICKS = (0.1, 0.2, 0.33, 0.5, 0.6, 0.7, 0.8, 0.9, 1, 1.1, 1.2, 1.3, 1.5, 1.75, 2, 2.5, 3, 4, 5, 7, 10, 20)


def tornado_chart(tornado: Tornado) -> Markup:
    """Return one bar per assumption from the least to the largest ratio, around the ratio as it is."""
    swings = [swing for swing in tornado.swings if swing.factor > UNMOVED][:SHOWN]
    with style(f"tornado-{tornado.metric}"):
        figure = panel(HEAD + LINE * len(swings) + FOOT)
        ax = axes(figure, MARGIN, HEAD, WIDTH - 2 * MARGIN, max(LINE * len(swings), 1))
        _scale(ax, [tornado.ratio, *(end for swing in swings for end in (swing.low, swing.high))], len(swings))
        ax.axvline(tornado.ratio, color=INK, linewidth=1, zorder=3)
        for row, swing in enumerate(swings):
            _bar(ax, row, swing, tornado.ratio)
        name = NAMES.get(tornado.metric, tornado.metric)
        ax.set_xlabel(f"multiplier / adder, {name}; line: {tornado.table}", labelpad=2)
        said = "; ".join(f"{s.assumption} {ratio(s.low)} to {ratio(s.high)}" for s in swings)
        return svg(figure, f"tornado-{tornado.metric}", f"Multiplier divided by adder, {name}, by assumption: {said}")


def _scale(ax: Any, values: list[float], rows: int) -> None:
    low, high = min(values), max(values)
    pad = (high / low) ** 0.08
    ratio_axis(ax, low / pad, high * pad, rows, TICKS)


def _bar(ax: Any, row: int, swing: Swing, ratio_now: float) -> None:
    """Draw a bar in two tints, left and right of the ratio as it is, with its ends and the cases that lead there."""
    place = row + 0.24
    parts = ((swing.low, ratio_now, COLOURS["multiplier"]), (ratio_now, swing.high, COLOURS["adder"]))
    for left, right, colour in parts:
        ax.barh(place, right - left, 0.3, left, color=tint(colour, 0.55), edgecolor=INK, linewidth=0.5)
    cases = f"{swing.low_case} … {swing.high_case}"
    where = ax.get_yaxis_transform()
    ax.text(-0.09, row - 0.2, swing.assumption, size=11, transform=where, va="center", bbox=BEHIND)
    ax.text(1.09, row - 0.2, cases, size=9, color=QUIET, transform=where, va="center", ha="right", bbox=BEHIND)
    for value, align, offset in ((swing.low, "right", -5), (swing.high, "left", 5)):
        look = {"size": 10, "weight": "bold", "va": "center", "ha": align, "bbox": BEHIND}
        ax.annotate(ratio(value), (value, place), (offset, 0), textcoords="offset points", **look)
