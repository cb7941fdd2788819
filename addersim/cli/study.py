"""The commands that run a study: demo, simulate, compare, report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from addersim.cli.options import Json, Plugins, Settings, StudyFile, Threads, print_json, read_study, steps
from addersim.errors import InputError

if TYPE_CHECKING:
    from addersim.study.outcome import Outcome
    from addersim.study.study import Study

DEMO = "lenet5-fashion"
Explain = Annotated[bool, typer.Option("--explain", help="Name the loop that ran each layer, and why it is exact.")]
Dump = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Write golden vectors there: every edge and constant, .npy and $readmemh."),
]


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the report.")] = Path("addersim-demo"),
    threads: Threads = 2,
    json_: Json = False,
) -> None:
    """Run the shipped LeNet-5 beside its twin and write a report.

    The AdderNet and its multiplier twin, on 2,000 embedded images; the report is a folder with index.html.
    """
    report(DEMO, out, threads=threads, json_=json_)


def simulate(
    study: StudyFile,
    settings: Settings = [],  # noqa: B006  typer copies it
    threads: Threads = 1,
    explain: Explain = False,
    dump: Dump = None,
    dump_images: Annotated[int, typer.Option(min=1, help="How many images, the first, --dump writes.")] = 1,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier dump in --dump.")] = False,
    plugin: Plugins = [],  # noqa: B006
    json_: Json = False,
) -> None:
    """Run a study on integers, layer by layer.

    Prints overflows, accuracy, energy and latency; with --json as figures. --dump writes [network] to DIR,
    with DIR/manifest.json, and a [twin] to DIR/twin.
    """
    from addersim.cli.terminal import print_paths, print_sides
    from addersim.interchange.golden_vectors import require_free
    from addersim.report.figures import with_layers

    chosen = read_study(study, settings)
    if dump is not None:
        require_free(dump, overwrite)  # before the work
    outcome = _run(chosen, threads, json_)
    if dump is not None:
        _dump(outcome, dump, dump_images, overwrite)
    if json_:
        print_json(with_layers(outcome))
        return
    print_sides(outcome)
    if explain:
        print_paths(outcome)
    if dump is not None:
        print(f"golden vectors: {dump / 'manifest.json'}")


def compare(
    study: StudyFile,
    settings: Settings = [],  # noqa: B006
    threads: Threads = 1,
    arrays: Annotated[
        bool,
        typer.Option("--arrays", help="Price arrays of shifters and XNOR gates too, at equal elements, area, power."),
    ] = False,
    plugin: Plugins = [],  # noqa: B006
    json_: Json = False,
) -> None:
    """Compare a study's network with its twin.

    Multiplier / adder by every cost table, everything else equal, and what each assumption makes of it; with --json
    both sides' figures too.
    """
    from addersim.cli.terminal import print_arrays, print_comparison, print_tornadoes
    from addersim.report.figures import array_rows, with_tables
    from addersim.study import outcome as outcomes

    chosen = read_study(study, settings)
    if chosen.twin is None:
        raise InputError(f"{study}: compare needs a [twin], the multiplier network")
    outcome = _run(chosen, threads, json_)
    four = outcomes.arrays(outcome) if arrays else None
    if json_:
        print_json({**with_tables(outcome), **({"arrays": array_rows(four)} if four else {})})
        return
    print_comparison(outcome)
    print_tornadoes(outcomes.what_moves(outcome))
    if four is not None:
        print_arrays(four)


def report(
    study: StudyFile,
    out: Annotated[Path, typer.Option(help="Folder for index.html, the CSV files and the study.")],
    settings: Settings = [],  # noqa: B006
    threads: Threads = 1,
    plugin: Plugins = [],  # noqa: B006
    json_: Json = False,
) -> None:
    """Run a study and write it up as one page.

    The page needs nothing beside it; its figures come as CSV and JSON too, and the study file.
    """
    from addersim.cli.terminal import print_comparison, print_sides
    from addersim.files import make_folder
    from addersim.report import write_report
    from addersim.report.figures import with_layers

    chosen = read_study(study, settings)
    make_folder(out)
    with steps(json_) as progress:
        from addersim.study.outcome import run

        outcome = run(chosen, threads=threads, progress=progress)
        progress("write the report", 0)
        page = write_report(outcome, out)
    if json_:
        print_json({**with_layers(outcome), "report": str(page)})
        return
    print_sides(outcome)
    if outcome.comparison is not None:
        print_comparison(outcome)
    print(f"report: {page}")


def _run(study: Study, threads: int, quiet: bool) -> Outcome:
    with steps(quiet) as progress:
        from addersim.study.outcome import run

        return run(study, threads=threads, progress=progress)


def _dump(outcome: Outcome, folder: Path, limit: int, overwrite: bool) -> None:
    """Write the golden vectors of the first ``limit`` images: the network's to ``folder``, its twin's below."""
    from addersim.interchange.golden_vectors import dump
    from addersim.study.outcome import load_images

    images = load_images(outcome.study.data)[0][:limit]
    for side, place in zip(outcome.sides, (folder, folder / "twin"), strict=False):
        dump(side.qnet, images, place, overwrite=overwrite)
