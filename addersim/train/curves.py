"""The figure of a run: loss, figure of merit and learning rate over the epochs, in the look of the reports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from addersim.files import write_atomically
from addersim.train.files import Epoch

WIDTH, PANEL, GAP, HEAD, LEFT, FOOT = 480.0, 110.0, 44.0, 34.0, 58.0, 38.0  # user units


@dataclass(frozen=True)
class Curve:
    """One line: a name for the key, a colour, one value per epoch."""

    name: str
    colour: str
    values: Sequence[float]


def panels(history: Sequence[Epoch], merit: str = "accuracy") -> dict[str, list[Curve]]:
    """Return what is drawn, panel by panel from the top: title to curves; ``merit`` names the figure in percent."""
    from addersim.report.drawing import COLOURS

    blue, red = COLOURS.values()
    reached = [Curve("training images", blue, [row.train_percent for row in history])]
    held_out = [row.validation_percent for row in history if row.validation_percent is not None]
    if held_out:
        reached.append(Curve("held-out images", red, held_out))
    return {
        "loss": [Curve("training images", blue, [row.loss for row in history])],
        f"{merit} in %": reached,
        "learning rate": [Curve("learning rate", blue, [row.learning_rate for row in history])],
    }


def write_curves(file: Path, history: Sequence[Epoch], merit: str = "accuracy") -> None:
    """Draw the table of epochs as an SVG file that stands alone; InputError if it cannot be written."""
    write_atomically(file, curves_svg(history, merit), durable=True)


def curves_svg(history: Sequence[Epoch], merit: str = "accuracy") -> str:
    """Return the figure as SVG text; the same table gives the same text."""
    from matplotlib.ticker import MaxNLocator  # late: matplotlib takes longer to load than an epoch may take

    from addersim.report.drawing import GRID, axes, panel, style, svg, swatch, write

    drawn, epochs = panels(history, merit), [row.epoch for row in history]
    with style("curves"):
        figure = panel(HEAD + len(drawn) * (PANEL + GAP) - GAP + FOOT, WIDTH)
        for i, (title, curves) in enumerate(drawn.items()):
            top = HEAD + i * (PANEL + GAP)
            write(figure, LEFT, top - 12, title, weight="bold")
            place = axes(figure, LEFT, top, WIDTH - LEFT - 16, PANEL)
            place.grid(color=GRID, linewidth=0.8)
            place.xaxis.set_major_locator(MaxNLocator(integer=True))
            for j, curve in enumerate(curves):
                place.plot(epochs, curve.values, color=curve.colour, marker="." if len(epochs) < 40 else "")
                if len(curves) > 1:
                    swatch(figure, LEFT + 150 + 140 * j, top - 22, curve.colour, curve.name)
        place.set_xlabel("epoch")
        drawn_svg = str(svg(figure, "curves", f"Loss, {merit} and learning rate over the epochs"))
    return drawn_svg.replace("<svg ", f'<svg width="{WIDTH:g}" style="background:white" ', 1) + "\n"
