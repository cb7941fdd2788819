"""The commands that explore: sweep a space, search it, or choose the widths of layers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from addersim.cli.options import Json, Plugins, Settings, StudyFile, print_json, read_study, steps
from addersim.errors import InputError

if TYPE_CHECKING:
    from addersim.study.explore.pareto import Sense
    from addersim.study.study import Study

GOALS = ["energy_pj=min", "latency_us=min"]  # of a sweep that names no objectives
SKIPPED_TWIN = "; [twin] is left out, `addersim compare` prices it"
Objectives = Annotated[
    list[str], typer.Option("--objective", metavar="COLUMN=min|max", help="A column of the rows; may be repeated.")
]
Choose = Annotated[list[int], typer.Option(min=2, max=16, help="A width to choose from; may be repeated.")]
Rows = Annotated[
    Path | None, typer.Option(metavar="DIR", help="Keep the rows there, as Parquet; a sweep that was stopped goes on.")
]
Cluster = Annotated[str | None, typer.Option(metavar="ADDRESS", help="A Dask scheduler instead, as tcp://HOST:PORT.")]
Shard = Annotated[
    str | None, typer.Option(metavar="I/N", help="Only every N-th part, from the I-th of 1 to N; --out merges them.")
]
Csv = Annotated[Path | None, typer.Option(metavar="FILE", help="Write the rows to this CSV file too.")]


def sweep(
    study: StudyFile,
    settings: Settings = [],  # noqa: B006  typer copies it
    out: Rows = None,
    csv: Csv = None,
    threads: Annotated[int, typer.Option(min=1, help="Processes on this machine.")] = 2,
    cluster: Cluster = None,
    shard: Shard = None,
    accuracy: Annotated[bool, typer.Option("--accuracy", help="Simulate the images too: accuracy_percent.")] = False,
    objective: Objectives = [],  # noqa: B006
    plugin: Plugins = [],  # noqa: B006
    json_: Json = False,
) -> None:
    """Price a study over its [space].

    Energy, latency and area of [network] at every point of the grid, and with --accuracy what its integers get
    right. A [twin] is left out: `addersim compare` prices it. --out has the same rows however often the sweep
    was stopped, and whatever workers and shards computed them; once all are there, a page shows them and their
    Pareto front over the objectives, by default energy, latency and accuracy.
    """
    from addersim.study.explore.pareto import check_objectives
    from addersim.study.explore.pricing import figures
    from addersim.study.explore.sweep import sweep as run_sweep

    chosen = read_study(study, settings)
    goals = _objectives(objective or [*GOALS, *(["accuracy_percent=max"] if accuracy else [])])
    check_objectives(goals, figures(accuracy))  # before the work
    with steps(json_) as progress:
        pool = cluster or f"local:{threads}"
        frame = run_sweep(chosen, None, pool, progress, out=out, shard=shard, accuracy=accuracy)
    _show(frame, csv, json_, kept=csv is not None or out is not None)
    said = ["accuracy of integers" if accuracy else "nothing is simulated: energy, latency and area only"]
    said[0] += SKIPPED_TWIN if chosen.twin else ""
    if out is not None and shard is None:
        said.append(f"report: {_page(frame, chosen, goals, out)}")
    if not json_:
        print(*said, sep="\n")


def search(
    study: StudyFile,
    objective: Objectives,
    settings: Settings = [],  # noqa: B006  typer copies it
    trials: Annotated[int, typer.Option(min=1, help="How many points to try.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Of the sample and of Optuna.")] = 0,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Remember the trials there; a search that was stopped goes on."),
    ] = None,
    csv: Csv = None,
    plugin: Plugins = [],  # noqa: B006
    json_: Json = False,
) -> None:
    """Look for the best points of a [space] too large to sweep.

    Optuna proposes points, beginning with the Pareto front of a random sample; every trial is a row. The
    objective accuracy_percent=max simulates them.
    """
    from addersim.study.explore.search import search as run_search

    chosen = read_study(study, settings)
    with steps(json_) as progress:
        frame = run_search(chosen, None, _objectives(objective), trials, seed, progress, out=out)
    _show(frame, csv, json_, kept=csv is not None or out is not None)


def widths(
    study: StudyFile,
    settings: Settings = [],  # noqa: B006  typer copies it
    agreement: Annotated[
        float | None, typer.Option(min=0, max=1, help="Least fraction of images with the float network's class.")
    ] = None,
    accuracy: Annotated[
        float | None, typer.Option(min=0, max=1, help="Least fraction of images whose class is their label.")
    ] = None,
    energy_pj: Annotated[float | None, typer.Option(min=0, help="Most energy of one image.")] = None,
    choose: Choose = [8, 6, 4, 3],  # noqa: B006
    plugin: Plugins = [],  # noqa: B006
    json_: Json = False,
) -> None:
    """Choose widths of layers that keep a budget.

    Every layer but the first and the last gets the narrowest that agreement, accuracy or energy allows; prints
    layer_bits for [quantization]. Agreement and accuracy are those of the calibration images, the energy that of the
    study's machine and its first table.
    """
    from addersim.study.outcome import narrowest

    if [agreement, accuracy, energy_pj].count(None) != 2:
        raise InputError("expected one of --agreement, --accuracy and --energy-pj")
    budget = {"least_agreement": agreement, "least_accuracy": accuracy, "most_energy_pj": energy_pj}
    chosen = read_study(study, settings)
    with steps(json_) as progress:
        progress("choose widths", 0)
        found = narrowest(chosen, choose, **budget)
    if json_:
        keys = ("layer_bits", "agreement", "accuracy", "energy_pj")
        print_json({key: getattr(found, key) for key in keys})
        return
    print(f"layer_bits = {{{', '.join(f'{json.dumps(name)} = {bits}' for name, bits in found.layer_bits.items())}}}")
    shares = f"agreement {100 * found.agreement:.2f} %, accuracy {100 * found.accuracy:.2f} %"
    print(f"{shares} on the calibration images, {found.energy_pj:.4g} pJ an image")


def _objectives(said: list[str]) -> dict[str, Sense]:
    """Return columns and senses of ``COLUMN=min`` and ``COLUMN=max``."""
    pairs = dict(one.partition("=")[::2] for one in said)
    for column, sense in pairs.items():
        if sense not in ("min", "max"):
            raise InputError(f"--objective {column}: expected COLUMN=min or COLUMN=max, such as energy_pj=min")
    return {column: "min" if sense == "min" else "max" for column, sense in pairs.items()}


def _page(frame: Any, study: Study, objectives: dict[str, Sense], out: Path) -> Path:
    from addersim.report.exploration_page import write_exploration

    title = study.title or Path(study.path).stem
    return write_exploration(frame, title, list(study.space), objectives, out)


def _show(frame: Any, csv: Path | None, json_: bool, *, kept: bool) -> None:
    from addersim.cli.terminal import print_frame
    from addersim.files import write_atomically

    if csv is not None:
        write_atomically(csv, frame.to_csv(index=False))
    if json_:
        print_json(json.loads(frame.to_json(orient="records")))
    else:
        print_frame(frame, kept=kept)
