"""The page of a sweep: its figures and the rows of its Pareto front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from addersim.errors import InputError
from addersim.files import write_atomically
from addersim.report.exploration import front_of, heat_map, parallel_coordinates, said, scatter
from addersim.study.explore.pareto import Sense, accepted
from addersim.version import VERSION

SHOWN = 100  # rows of the front on the page; the CSV file has all


def write_exploration(
    frame: Any, title: str, keys: Sequence[str], objectives: Mapping[str, Sense], folder: Path
) -> Path:
    """Write the figures of a sweep as SVG, its front as ``front.csv``, and ``index.html`` with all of them.

    Parameters
    ----------
    frame
        What :func:`addersim.sweep` returns. Of several cost tables the first is shown, and the page says so.
    keys
        The keys of the space; the heat map takes the first two that vary, and shows the first objective.
    objectives
        As of :func:`addersim.pareto`.

    Returns
    -------
    Path
        The page. The same rows give the same bytes.

    Raises
    ------
    InputError
        As :func:`addersim.pareto`, or if no point has figures, or if the folder cannot be written.
    """
    table = frame["table"].iloc[0]
    priced = frame[frame["table"] == table]
    rows = accepted(priced).reset_index(drop=True)
    if rows.empty:
        raise InputError(f"no point has figures: {priced['refused'].iloc[0]}")
    front = front_of(rows, objectives)
    figures = _figures(rows, keys, objectives)
    content = {
        "title": title,
        "points": len(rows),
        "refused": len(priced) - len(rows),
        "table": table,
        "goals": ", ".join(f"{said(column)}: {sense}" for column, sense in objectives.items()),
        "figures": figures,
        **_front(front, keys),
        "version": VERSION,
    }
    texts = {f"{name}.svg": _alone(drawn) for name, (_, drawn) in figures.items()}
    texts |= {"front.csv": str(front.to_csv(index=False, lineterminator="\n")), "index.html": _page(content)}
    for name, text in texts.items():
        write_atomically(Path(folder) / name, text.encode("utf-8", "replace"))
    return Path(folder) / "index.html"


def _front(front: Any, keys: Sequence[str]) -> dict[str, Any]:
    """Return the table of the front: the space's keys first."""
    varied = [*keys, *(column for column in front.columns if column not in (*keys, "table"))]
    rows = [[_cell(value) for value in row] for row in front[varied].head(SHOWN).itertuples(index=False)]
    return {"heads": [said(column) for column in varied], "rows": rows, "front": len(front)}


def _page(content: Mapping[str, Any]) -> str:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    here = files("addersim.report")
    template = environment.from_string(here.joinpath("exploration.html").read_text(encoding="utf-8"))
    return template.render(content, css=Markup(here.joinpath("page.css").read_text(encoding="utf-8"))) + "\n"


def _figures(rows: Any, keys: Sequence[str], objectives: Mapping[str, Sense]) -> dict[str, tuple[str, Markup]]:
    """Return name, title and drawing of the figures that these rows have."""
    varied, figures = [key for key in keys if rows[key].nunique() > 1], dict[str, tuple[str, Markup]]()
    if len(objectives) > 1:
        first, second, *_ = (said(column) for column in objectives)
        figures["scatter"] = (f"{second} against {first}, and their Pareto front", scatter(rows, objectives))
    if len(varied) > 1:
        objective, sense = next(iter(objectives.items()))
        title = f"{said(objective)} over {varied[0]} and {varied[1]}"
        figures["heat-map"] = (title, heat_map(rows, varied[0], varied[1], objective, sense))
    figures["parallel"] = ("all keys and objectives; the front in blue", parallel_coordinates(rows, varied, objectives))
    return figures


def _alone(drawn: Markup) -> str:
    """Return a drawing as a file that stands alone on white."""
    return str(drawn).replace("<svg ", '<svg width="760" style="background:white" ', 1) + "\n"


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return "-" if value != value else f"{value:,.6g}"
    return str(value)
