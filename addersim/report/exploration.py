"""Figures of a sweep: trade-offs with their Pareto front, one figure over two keys, all keys at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.colors import LinearSegmentedColormap

from addersim.errors import InputError, nearest
from addersim.report.drawing import COLOURS, GRID, INK, QUIET, axes, panel, style, svg, tint, write
from addersim.study.explore.pareto import Sense, accepted, pareto

DRAWN = 2000  # dominated points at most; the front is always whole
PLACES = 8  # numbers of a key that stand at equal distances
LABELLED = 12  # points of the front
BLUE = COLOURS["adder"]
SHADES = LinearSegmentedColormap.from_list("addersim", [tint(BLUE, 0.06), tint(BLUE, 0.55), BLUE, "#002a45"], 48)


def scatter(frame: Any, objectives: Mapping[str, Sense], name: str = "scatter") -> Markup:
    """Return the first two objectives of every row; the Pareto front over all in colour, some of it numbered.

    The stairs are the front over the two objectives drawn. Its points are numbered as the rows of :func:`front_of`,
    from 1, up to 12 of them. Of more than 2,000 dominated rows every n-th is drawn.

    Raises
    ------
    InputError
        As :func:`addersim.pareto`; also with one objective only.
    """
    x, y = _two(objectives)
    frame, front = accepted(frame), front_of(frame, objectives)
    stairs = pareto(front, {x: objectives[x], y: objectives[y]})
    others = frame.drop(front.index)
    others = others.iloc[:: -(-len(others) // DRAWN) or 1]
    with style(name):
        figure = panel(330, 540)
        drawn = axes(figure, 66, 34, 450, 240)
        drawn.scatter(others[x], others[y], s=12, color=tint(QUIET, 0.45), linewidths=0, zorder=2)
        drawn.step(
            stairs[x], stairs[y], where="post" if objectives[x] == "min" else "pre", color=tint(BLUE, 0.6), lw=1.2
        )
        drawn.scatter(front[x], front[y], s=26, color=BLUE, edgecolors="white", linewidths=0.6, zorder=4)
        _number(drawn, front, stairs, objectives)
        for axis in (drawn.xaxis, drawn.yaxis):
            axis.set_major_formatter(_short_number)
        drawn.set_xlabel(f"{said(x)}, {_better(objectives[x], 'left', 'right')}")
        drawn.grid(color=GRID, linewidth=0.7)
        drawn.set_axisbelow(True)
        drawn.margins(0.07, 0.1)
        write(figure, 8, 20, f"{said(y)}, {_better(objectives[y], 'down', 'up')}", color=QUIET)
        return svg(figure, name, f"{said(y)} against {said(x)} of {len(frame)} points, {len(front)} on the front")


def heat_map(
    frame: Any, down: str, across: str, figure_of: str, sense: Sense = "min", name: str = "heat-map"
) -> Markup:
    """Return the best ``figure_of`` over two keys of the space: of all rows that share both values.

    Raises
    ------
    InputError
        If a column is not there.
    """
    _check(frame, [down, across, figure_of])
    table = frame.pivot_table(index=down, columns=across, values=figure_of, aggfunc=sense, sort=False, dropna=False)
    values = table.to_numpy(float)
    with style(name):
        left = 16 + 6.4 * max(len(_short(v)) for v in table.index)
        height = min(max(26 * len(table), 60), 420)
        figure = panel(height + 92, 540)
        drawn = axes(figure, left, 40, 424 - left, height)
        mesh = drawn.pcolormesh(values, cmap=SHADES, edgecolors="white", linewidth=1)
        drawn.invert_yaxis()
        _ticks(drawn.xaxis, table.columns)
        _ticks(drawn.yaxis, table.index)
        drawn.set_xlabel(across)
        drawn.spines[:].set_visible(False)
        drawn.tick_params(length=0)
        if values.size <= 80:
            _inscribe(drawn, values, mesh)
        bar = figure.colorbar(mesh, cax=axes(figure, 444, 40, 12, height))
        bar.outline.set_visible(False)
        bar.ax.tick_params(labelsize=10)
        bar.ax.yaxis.set_major_formatter(_short_number)
        best = "least" if sense == "min" else "most"
        write(figure, 8, 16, f"{down}, downwards; {said(figure_of)}, the {best} there is", color=QUIET)
        return svg(figure, name, f"{said(figure_of)} over {down} and {across}")


def parallel_coordinates(
    frame: Any, keys: Sequence[str], objectives: Mapping[str, Sense], name: str = "parallel"
) -> Markup:
    """Return one line per row across the keys of the space and the objectives, the front's in colour.

    A key with texts or up to 8 numbers has one place for each; any other axis is linear between its least and greatest
    number. Of more than 200 dominated rows every n-th is drawn.

    Raises
    ------
    InputError
        As :func:`addersim.pareto`, or if a key is no column.
    """
    _check(frame, keys)
    frame, front = accepted(frame), pareto(frame, objectives)
    columns = [key for key in [*keys, *objectives] if frame[key].nunique() > 1] or [*objectives]
    heights, ticks = zip(*(_places(frame[column], column in keys) for column in columns), strict=True)
    width = max(540, 110 * len(columns))
    with style(name):
        figure = panel(330, width)
        drawn = axes(figure, 52, 62, width - 104, 236)
        _lines(drawn, np.stack(heights), frame.index.isin(front.index))
        for at, column in enumerate(columns):
            _axis(drawn, at, column, ticks[at], at % 2 == 1)
        drawn.set_xlim(-0.02, len(columns) - 0.98)
        drawn.axis("off")
        return svg(figure, name, f"{len(front)} points of the front among {len(frame)}, over {', '.join(columns)}")


def front_of(frame: Any, objectives: Mapping[str, Sense]) -> Any:
    """Return the Pareto front, sorted by the first objective."""
    front = pareto(frame, objectives).drop(columns="refused", errors="ignore")
    return front.sort_values(list(objectives), kind="stable")


def said(column: str) -> str:
    """Return a column's name with its unit apart: ``energy (pJ)``."""
    stem, _, unit = column.rpartition("_")
    units = {"pj": "pJ", "nj": "nJ", "uj": "µJ", "us": "µs", "um2": "µm²", "percent": "%"}
    return f"{stem.replace('_', ' ')} ({units[unit]})" if unit in units else column


def _two(objectives: Mapping[str, Sense]) -> tuple[str, str]:
    if len(objectives) < 2:
        raise InputError("a scatter needs two objectives, such as energy_pj and latency_us")
    first, second, *_ = objectives
    return first, second


def _check(frame: Any, columns: Sequence[str]) -> None:
    for column in columns:
        if column not in frame.columns:
            raise InputError(f"{column!r} is no column{nearest(column, list(frame.columns))}")


def _better(sense: Sense, low: str, high: str) -> str:
    return f"better {low if sense == 'min' else high}"


def _number(drawn: Any, front: Any, stairs: Any, objectives: Mapping[str, Sense]) -> None:
    """Number points of the stairs by their place in the front, on the side where no better point can be."""
    x, y = _two(objectives)
    left, low = objectives[x] == "min", objectives[y] == "min"
    (side, right), (below, up) = ("right", -5) if left else ("left", 5), ("top", -5) if low else ("bottom", 5)
    look = {"ha": side, "va": below, "fontsize": 10, "color": INK}
    spans = [np.ptp(drawn.dataLim.intervalx) or 1, np.ptp(drawn.dataLim.intervaly) or 1]
    taken: list[Any] = []
    for index in stairs.index[np.unique(np.linspace(0, len(stairs) - 1, 4 * LABELLED).round().astype(int))]:
        at = np.array([stairs[x][index], stairs[y][index]], float)
        if len(taken) < LABELLED and all(np.hypot(*((at - other) / spans)) > 0.06 for other in taken):
            drawn.annotate(str(front.index.get_loc(index) + 1), at, (right, up), textcoords="offset points", **look)
            taken.append(at)


def _short(value: Any) -> str:
    text = f"{value:,.4g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 20 else f"{text[:19]}…"


def _short_number(value: float, _: object = None) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.4g} {letter}"
    return f"{value:.4g}"


def _ticks(axis: Any, values: Any) -> None:
    step = -(-len(values) // 16)
    axis.set_ticks(np.arange(0, len(values), step) + 0.5, [_short(v) for v in values[::step]])


def _inscribe(drawn: Any, values: Any, mesh: Any) -> None:
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            colour = "white" if mesh.norm(value) > 0.45 else INK
            drawn.text(
                column + 0.5, row + 0.5, _short_number(value), ha="center", va="center", fontsize=9, color=colour
            )


def _places(values: Any, is_key: bool) -> tuple[Any, list[tuple[float, str]]]:
    """Return the height of every value between 0 and 1, and the ticks of its axis."""
    number = np.issubdtype(np.asarray(values).dtype, np.number) and values.nunique() > 1
    if number and not (is_key and values.nunique() <= PLACES):
        low, high = float(values.min()), float(values.max())
        ticks = [(at, _short_number(low + at * (high - low))) for at in np.linspace(0, 1, 5)]
        return ((values - low) / (high - low)).to_numpy(float), ticks
    distinct = sorted(values.unique()) if number else list(dict.fromkeys(values))
    top = max(len(distinct) - 1, 1)
    return np.array([distinct.index(v) / top for v in values]), [(i / top, _short(v)) for i, v in enumerate(distinct)]


def _lines(drawn: Any, heights: Any, in_front: Any) -> None:
    """Draw a line per column of ``heights``, the front's above the others."""
    front, others = heights[:, in_front], heights[:, ~in_front]
    others = others[:, :: -(-others.shape[1] // 200) or 1]
    for lines, colour, width in ((others, tint(QUIET, 0.3), 0.6), (front, BLUE, 1.3)):
        if lines.size:
            drawn.plot(np.arange(len(lines)), lines, color=colour, linewidth=width, alpha=0.9)


def _axis(drawn: Any, at: int, column: str, ticks: list[tuple[float, str]], low: bool) -> None:
    drawn.plot([at, at], [0, 1], color=QUIET, linewidth=0.9, zorder=3)
    head = {"ha": "center", "color": INK, "fontsize": 10.5, "fontweight": "bold"}
    drawn.annotate(said(column), (at, 1), (0, 10 if low else 24), textcoords="offset points", **head)
    box = {"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.85}
    for height, text in ticks:
        look = {"va": "center", "fontsize": 9, "color": INK, "bbox": box, "zorder": 4}
        drawn.annotate(text, (at, height), (4, 0), textcoords="offset points", **look)
