"""The look of every figure, and the way from a matplotlib figure to SVG inside a page."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from xml.etree import ElementTree

import matplotlib
from markupsafe import Markup
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import NullLocator

WIDTH = 420  # user units; a panel is shown at 350 to 540 px, so that 11.5 units stay legible everywhere
INK, QUIET, GRID = "#1a1f26", "#56606b", "#dde2e7"
COLOURS = {"adder": "#0072b2", "multiplier": "#d55e00"}  # Okabe and Ito's blue and vermillion
SVG, XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"

_STYLE: dict[Any, Any] = {
    "font.size": 11.5,
    "text.color": INK,
    "text.parse_math": False,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": QUIET,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "axes.formatter.use_mathtext": False,
    "xtick.color": QUIET,
    "ytick.color": INK,
    "xtick.labelsize": 11,
    "ytick.labelsize": 11.5,
    "hatch.linewidth": 0.8,
    "svg.fonttype": "none",
}


@contextmanager
def style(name: str) -> Iterator[None]:
    """Set matplotlib's style for one figure, whose identifiers derive from ``name``."""
    with matplotlib.rc_context({**_STYLE, "svg.hashsalt": name}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # the browser's font draws it
        yield


def panel(height: float, width: float = WIDTH) -> Figure:
    """Return an empty figure, its size given in user units."""
    return Figure(figsize=(width / 72, height / 72))


def place(figure: Figure, left: float, top: float) -> tuple[float, float]:
    """Return figure coordinates of a point given in user units from the top left corner."""
    return left / (figure.get_figwidth() * 72), 1 - top / (figure.get_figheight() * 72)


def axes(figure: Figure, left: float, top: float, width: float, height: float) -> Any:
    """Return axes at a place given in user units from the figure's top left corner."""
    x, y = place(figure, left, top + height)
    right, upper = place(figure, left + width, top)
    return figure.add_axes((x, y, right - x, upper - y), facecolor="none")


def tint(colour: str, strength: float) -> str:
    """Return ``colour`` mixed with white; strength 1 leaves it as it is."""
    red, green, blue = (1 - strength * (1 - part) for part in to_rgb(colour))
    return str(to_hex((red, green, blue)))


def write(figure: Figure, left: float, top: float, text: str, **look: Any) -> None:
    """Write ``text`` with its base line at ``top``."""
    figure.text(*place(figure, left, top), text, **look)


def swatch(figure: Figure, left: float, top: float, colour: str, text: str) -> None:
    """Draw one entry of a key: a small square and its name."""
    rectangle(figure, left, top, 10, 10, colour)
    write(figure, left + 15, top + 9.5, text, color=INK)


def rectangle(figure: Figure, left: float, top: float, width: float, height: float, colour: str) -> None:
    """Draw a rectangle with a thin outline."""
    (x, y), (right, upper) = place(figure, left, top + height), place(figure, left + width, top)
    figure.add_artist(Rectangle((x, y), right - x, upper - y, facecolor=colour, edgecolor=INK, linewidth=0.5))


def line(figure: Figure, *points: tuple[float, float]) -> None:
    """Draw a line through points given in user units, behind rectangles and text."""
    xs, ys = zip(*(place(figure, *point) for point in points), strict=True)
    figure.add_artist(Line2D(xs, ys, color=QUIET, linewidth=0.8, zorder=0))


def svg(figure: Figure, name: str, label: str) -> Markup:
    """Return the figure as an ``<svg>`` element for a page.

    Identifiers are unique to ``name``; no date, no creator, no fixed size.

    Parameters
    ----------
    label
        What a reader who cannot see the figure hears.
    """
    stream = io.StringIO()
    figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    root = ElementTree.fromstring(stream.getvalue())
    for metadata in root.findall(f"{{{SVG}}}metadata"):
        root.remove(metadata)
    _own_identifiers(root, name)
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    root.set("role", "img")
    root.set("aria-label", label)
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", XLINK)
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _own_identifiers(root: ElementTree.Element, name: str) -> None:
    """Prefix identifiers that something refers to with ``name``, and drop the others."""
    attributes = [(element, key, value) for element in root.iter() for key, value in element.items()]
    used = {found for _, key, value in attributes for found in _reference(key).findall(value)}
    for element, key, value in attributes:
        if key != "id":
            element.set(key, _reference(key).sub(rf"{name}-\g<0>", value))
        elif value in used:
            element.set(key, f"{name}-{value}")
        else:
            del element.attrib[key]


def _reference(key: str) -> re.Pattern[str]:
    """Return what finds the identifiers that an attribute's value refers to."""
    return re.compile(r"(?<=^#).+" if key == f"{{{XLINK}}}href" else r"(?<=url\(#)[^)]+")


def ratio_axis(ax: Any, low: float, high: float, rows: int, marks: Sequence[float]) -> None:
    """Make a logarithmic axis of ratios from ``low`` to ``high``, ticks at the marks between them, and so many rows."""
    ax.set_xscale("log")
    ax.set_xlim(low, high)
    ax.set_ylim(rows - 0.5, -0.5)
    ax.set_xticks([mark for mark in marks if low <= mark <= high], minor=False)
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_yticks([])
    ax.spines[["left", "bottom"]].set_visible(False)
    ax.tick_params(axis="x", length=0)
    ax.grid(axis="x", color=GRID, linewidth=0.8)
    ax.set_axisbelow(True)
