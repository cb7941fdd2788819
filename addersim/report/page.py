"""The page: everything it shows, put into its template."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from addersim.report import charts, tables, words
from addersim.report.cards import cards
from addersim.report.headline import headline, integers, second_line
from addersim.report.histograms import IMAGES, histograms
from addersim.report.machine_chart import machine_chart
from addersim.report.ratio_chart import ratio_chart
from addersim.report.roofline import roofline
from addersim.report.sources import assumptions, footnotes
from addersim.report.study_text import command, said_without_folders
from addersim.report.tornado_chart import tornado_chart
from addersim.study import images as pictures
from addersim.study.outcome import Outcome, what_moves
from addersim.version import VERSION

SAMPLE = "fashion_sample"  # what a study without images evaluates


def page(outcome: Outcome) -> str:
    """Return the whole page as HTML."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_shown
    )
    folder = files("addersim.report")
    template = environment.from_string(folder.joinpath("page.html").read_text(encoding="utf-8"))
    css = Markup(folder.joinpath("page.css").read_text(encoding="utf-8"))
    return template.render(css=css, **_content(outcome)) + "\n"


def _content(outcome: Outcome) -> dict[str, Any]:
    notes, title, sentence = footnotes(outcome), outcome.study.title, words.unbroken(headline(outcome))
    return {
        "name": title or outcome.sides[0].qnet.name,
        "title": title or sentence,
        "lead": sentence if title else "",
        "second": words.unbroken(second_line(outcome)),
        "facts": _facts(outcome),
        "cards": cards(outcome),
        "unbroken": words.unbroken,
        "table": outcome.sides[0].costs[outcome.table].table,
        "notes": notes,
        "note_of": {note.table: note.number for note in notes if note.table},
        "charts": _charts(outcome),
        "histograms": histograms(outcome),
        "histogram_images": min(IMAGES, outcome.images),
        "grids": _grids(outcome),
        "comparison": outcome.comparison,
        "adder": any(side.label == "adder" for side in outcome.sides),
        "assumptions": [said_without_folders(text, outcome.study) for text in assumptions(outcome)],
        "validations": [(side.label, side.validation.summary) for side in outcome.sides if side.validation],
        "command": command(outcome.study),
        "study_file": Path(outcome.study.path).name,
        "version": VERSION,
    }


def _facts(outcome: Outcome) -> list[tuple[str, str]]:
    """Return what was run on what, as pairs of a name and a sentence."""
    machine = outcome.sides[0].machine
    buffers = ", ".join(f"{b.name} {b.size_bytes // 1024:,} KB" for b in machine.buffers)
    bits = machine.multiplier_accumulator_bits
    side = "" if bits is None else f", of {bits} bits in the side array"
    said = f"{machine.name}: {machine.description}; {machine.clock_mhz:g} MHz; buffers for {buffers}"
    return [
        ("Images", f"{_images(outcome)}; {said_without_folders(outcome.calibration, outcome.study)}"),
        ("Operands", f"{integers(outcome.sides[0])}, accumulators of {machine.accumulator_bits} bits{side}"),
        ("Machine", said),
        ("Dataflow", outcome.sides[0].costs[outcome.table].dataflow.replace("_", " ")),
    ]


def _images(outcome: Outcome) -> str:
    """Return which images were evaluated; of a folder, only its name."""
    data = outcome.study.data
    whole = f"the images in {Path(data.folder).name}" if data.folder else pictures.SAMPLES[data.name or SAMPLE][0]
    return f"{outcome.images:,} of {whole}" if f" {outcome.images:,} " not in whole else whole


def _charts(outcome: Outcome) -> dict[str, Markup | None]:
    drawn: dict[str, Markup | None] = {
        "energy_total": charts.energy_total(outcome),
        "arithmetic_total": charts.arithmetic_total(outcome),
        "energy_layers": charts.energy_layers(outcome),
        "arithmetic_layers": charts.arithmetic_layers(outcome),
        "latency_layers": charts.latency_layers(outcome),
        "utilisation_layers": charts.utilisation_layers(outcome),
        "sqnr_layers": charts.sqnr_layers(outcome),
        "machine": machine_chart(outcome.sides[0].machine),
        "roofline": roofline(outcome.sides[0].costs[outcome.table]),
        "input_layers": charts.input_layers(outcome),
        "weight_layers": charts.weight_layers(outcome),
        "range_layers": charts.range_layers(outcome),
    }
    if outcome.comparison is not None:
        drawn["ratios"] = ratio_chart(outcome.comparison)
        drawn |= {f"{one.metric}_tornado": tornado_chart(one) for one in what_moves(outcome)}
    return drawn


def _grids(outcome: Outcome) -> dict[str, Any]:
    return {
        "accuracy": tables.accuracy_grid(outcome),
        "layers": [tables.layer_grid(side, outcome.table) for side in outcome.sides],
        "formats": [tables.format_grid(side, outcome.table) for side in outcome.sides],
        "ratios": tables.ratio_grid(outcome, outcome.comparison) if outcome.comparison else None,
        "bills": tables.bill_grid(outcome),
    }


def _shown(value: Any) -> Any:
    """Return what the template prints for ``value``: text without characters that cannot be shown."""
    return words.clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value
