"""Weights and activations of each layer on an array, as codes, with the ranges of their integers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from numpy.typing import NDArray

from addersim.arithmetic.fixed import IntFormat
from addersim.network.node import Node
from addersim.network.ops import OPS
from addersim.report.drawing import COLOURS, INK, QUIET, axes, panel, style, svg, tint, write
from addersim.report.words import number, percent, short
from addersim.simulation.simulate import simulate
from addersim.study.outcome import Outcome, Side, load_images

IMAGES = 64
BINS = 64
ACROSS, MARGIN = 350.0, 12.0
STRIP, HEIGHT, FIRST, SECOND = 66.0, 232.0, 26.0, 134.0


@dataclass(frozen=True)
class Histogram:
    """One layer: its name, the step of its integers, its chart."""

    layer: str
    remark: str
    chart: Markup


def histograms(outcome: Outcome) -> list[Histogram]:
    """Return one chart per adder layer, or per layer on the multipliers where a network has no adder layer.

    Activations are those of the first 64 images that the study evaluates, simulated again.
    """
    side = outcome.sides[0]
    nodes = drawn_layers(side)
    if not nodes:
        return []
    limit = min(IMAGES, outcome.study.data.limit or IMAGES)
    images, _ = load_images(outcome.study.data.model_copy(update={"limit": limit}))
    edges = simulate(side.qnet, images, keep={node.inputs[0] for node in nodes}).edges
    return [_histogram(side, i, node, edges) for i, node in enumerate(nodes)]


def drawn_layers(side: Side) -> list[Node]:
    """Return the adder layers of a network, or all layers on an array if it has none."""
    found = [node for node in side.qnet.nodes if OPS[node.kind].array == side.label]
    return [node for node in found if node.datapath is not None]


def _histogram(side: Side, index: int, node: Node, edges: Mapping[str, NDArray[Any]]) -> Histogram:
    path, form = node.path, side.qnet.format(node.inputs[0])
    name, colour = f"codes-{index}", COLOURS[side.label]
    with style(name):
        figure = panel(HEIGHT, ACROSS)
        left = _strip(figure, FIRST, "activations", edges[node.inputs[0]], path.x, colour)
        zero = form.zero_point if side.label == "adder" else 0
        right = _strip(figure, SECOND, "weights", node.params["w_krsc"], path.w, tint(colour, 0.5), zero)
        label = f"Histograms of layer {short(node.name, 40)}: activations {left}; weights {right}"
        remark = f"step {number(form.step, 3)}, zero at code {form.zero_point}"
        return Histogram(node.name, remark, svg(figure, name, label))


def _strip(
    figure: Figure, top: float, title: str, codes: NDArray[Any], word: IntFormat, colour: str, zero: int | None = None
) -> str:
    """Draw one histogram over all codes of its word; return what it shows in words."""
    ax = axes(figure, MARGIN, top, ACROSS - 2 * MARGIN, STRIP)
    edges, shares = _shares(codes, word)
    cap = _cap(shares)
    ax.stairs(np.minimum(shares, cap), edges, fill=True, color=colour)
    ax.set_xlim(edges[0], edges[-1])
    ax.set_ylim(0, cap * 1.02)
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    ax.set_xticks(sorted({word.min, 0, word.max}), labels=[f"{code:,}" for code in sorted({word.min, 0, word.max})])
    low, high = int(codes.min()), int(codes.max())
    at_ends = float(np.mean((codes == word.min) & (word.min != 0) | (codes == word.max)))
    heading = f"{title} · {word} · codes {low:,} to {high:,}"
    write(figure, MARGIN, top - 8, heading, size=10.5, color=INK)
    note = f"{percent(at_ends)} at the range's ends"
    ax.text(0.985, 0.97, note, transform=ax.transAxes, ha="right", va="top", size=10, color=QUIET)
    _cut_mark(ax, shares, edges, cap)
    if zero is not None and zero != 0:
        ax.axvline(zero, color=INK, linewidth=0.8, linestyle=":")
    return f"{word}, codes {low} to {high}, {note}"


def _shares(codes: NDArray[Any], word: IntFormat) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return bin edges over the whole word and the share of values in each bin."""
    span = word.max - word.min + 1
    bins = min(BINS, span)
    edges = np.linspace(word.min - 0.5, word.max + 0.5, bins + 1)
    counts, _ = np.histogram(codes, edges)
    return edges, counts / max(codes.size, 1)


def _cap(shares: NDArray[np.float64]) -> float:
    """Return where the axis ends: above the second highest bin where the highest would flatten all others."""
    top = np.sort(shares)[::-1]
    second = float(top[1]) if len(top) > 1 else 0.0
    return second * 1.6 if 0 < second * 2.5 < top[0] else float(top[0]) or 1.0


def _cut_mark(ax: Any, shares: NDArray[np.float64], edges: NDArray[np.float64], cap: float) -> None:
    """Write the share of a bin that the axis cuts off beside it."""
    bin_ = int(shares.argmax())
    if shares[bin_] <= cap:
        return
    middle = float(edges[bin_] + edges[bin_ + 1]) / 2
    look = {"va": "top", "size": 10, "color": INK}
    ax.annotate(f"▴ {percent(float(shares[bin_]))}", (middle, cap), (6, -3), textcoords="offset points", **look)
