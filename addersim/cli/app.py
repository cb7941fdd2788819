"""The command line: parse, call one function, print. Bad input ends with one line and exit code 2."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from addersim.cli.explore import search, sweep, widths
from addersim.cli.options import Json, Settings, StudyFile, Threads, print_json, read_study, steps
from addersim.errors import InputError
from addersim.version import VERSION

if TYPE_CHECKING:
    from addersim.study.outcome import Outcome
    from addersim.study.study import Study

app = typer.Typer(
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

DEMO = "lenet5-fashion"
EXTRAS = {  # packages that are not always there, and what brings them
    "torch": "torch",
    "pooch": "data",
    "PIL": "data",
    "pyarrow": "explore",
    "optuna": "explore",
    "distributed": "cluster",
}


@app.callback()
def start(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    """Simulate, price and compare adder networks, bit for bit as hardware would compute them."""
    if version:
        print(f"addersim {VERSION}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the report.")] = Path("addersim-demo"),
    threads: Threads = 2,
    json_: Json = False,
) -> None:
    """Run the shipped LeNet-5 beside its twin and write a report.

    The AdderNet and its multiplier twin, on 2,000 embedded images; the report is a folder with index.html.
    """
    report(DEMO, out, [], threads, json_)


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe file, or the name of a shipped one.")],
    out: Annotated[Path, typer.Option(help="Folder for checkpoint, weights, card, epochs.csv and curves.svg.")],
    data: Annotated[
        Path | None,
        typer.Option(
            envvar="ADDERSIM_DATA",
            help="Folder of the data set, or with train/CLASS/ and test/CLASS/ for dataset = 'folder'; "
            "without one a published set is downloaded.",
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the checkpoint in --out, if there is one.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Start anew where --out holds a checkpoint.")] = False,
    json_: Json = False,
) -> None:
    """Train a network by a recipe.

    `addersim list recipes` shows the shipped ones, `addersim list recipes NAME` one in full, to start from. A run
    that was stopped or killed loses the epoch at work only: with --resume it ends as if nothing had happened.
    Several processes: torchrun --nproc_per_node 2 -m addersim train RECIPE --out FOLDER.
    """
    from addersim.cli.listing import shipped_recipes
    from addersim.train import read_recipe
    from addersim.train import train as run_training
    from addersim.train.loop import CHECKPOINT
    from addersim.train.processes import is_first

    chosen = read_recipe(shipped_recipes().get(recipe, recipe))
    command = " ".join(["addersim", *sys.argv[1:]])
    options = {"resume": resume, "overwrite": overwrite, "progress": not json_}
    with _resumable(out / CHECKPOINT):
        result = run_training(chosen, out, data, **options, command=command)
    if not is_first():
        return
    merit = result.metric.removesuffix("_percent")
    if json_:
        print_json({merit: result.accuracy_percent / 100, "weights": str(result.weights)})
    else:
        print(f"{merit.replace('_', ' ')} {result.accuracy_percent:.2f} %; weights in {result.weights}")


@app.command()
def simulate(
    study: StudyFile,
    settings: Settings = [],  # noqa: B006  typer copies it
    threads: Threads = 1,
    explain: Annotated[
        bool, typer.Option("--explain", help="Name the loop that ran each layer, and why it is exact.")
    ] = False,
    dump: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write golden vectors there: every edge and constant, .npy and $readmemh."),
    ] = None,
    dump_images: Annotated[int, typer.Option(min=1, help="How many images, the first, --dump writes.")] = 1,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier dump in --dump.")] = False,
    json_: Json = False,
) -> None:
    """Run a study on integers, layer by layer.

    Prints overflows, accuracy, energy and latency; with --json as figures. --dump writes [network] to DIR,
    with DIR/manifest.json, and a [twin] to DIR/twin.
    """
    from addersim.cli.terminal import print_paths, print_sides
    from addersim.report.figures import with_layers

    chosen = read_study(study, settings)
    if dump is not None:
        from addersim.interchange.golden_vectors import require_free

        require_free(dump, overwrite)  # before the work
    outcome = _run(chosen, threads, json_)
    if dump is not None:
        _dump(outcome, dump, dump_images, overwrite)
    if json_:
        print_json(with_layers(outcome))
    else:
        print_sides(outcome)
        if explain:
            print_paths(outcome)
        if dump is not None:
            print(f"golden vectors: {dump / 'manifest.json'}")


@app.command()
def compare(
    study: StudyFile,
    settings: Settings = [],  # noqa: B006
    threads: Threads = 1,
    arrays: Annotated[
        bool,
        typer.Option("--arrays", help="Price arrays of shifters and XNOR gates too, at equal elements, area, power."),
    ] = False,
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


@app.command()
def report(
    study: StudyFile,
    out: Annotated[Path, typer.Option(help="Folder for index.html, the CSV files and the study.")],
    settings: Settings = [],  # noqa: B006
    threads: Threads = 1,
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


app.command()(sweep)
app.command()(search)
app.command()(widths)


@app.command("list")
def list_(
    shelf: Annotated[
        str | None,
        typer.Argument(metavar="[SHELF]", help="costs, hardware, dataflows, ops, models, studies or recipes."),
    ] = None,
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Show this one in full.")] = None,
    json_: Json = False,
) -> None:
    """Show the shelves, or what is on them.

    Without SHELF the shelves, without NAME what is on one and its source, else one thing in full.
    """
    from addersim.cli.listing import SHELVES, entries, entry, shelves
    from addersim.cli.terminal import print_entries, print_entry

    if shelf is not None and name is not None:
        full = entry(shelf, name)
        print_json(full) if json_ else print_entry(full)
        return
    found = shelves() if shelf is None else entries(shelf)
    if json_:
        print_json(found)
    else:
        print_entries(found, "addersim list SHELF [NAME]" if shelf is None else f"{shelf}: {SHELVES[shelf]}")


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


@contextmanager
def _resumable(checkpoint: Path) -> Iterator[None]:
    """Say on Ctrl-C whether there is something to go on with."""
    try:
        yield
    except KeyboardInterrupt:
        kept = "; --resume goes on after the last whole epoch" if checkpoint.exists() else " in the first epoch"
        _fail(f"stopped{kept}", 130)


def main() -> None:
    """Entry point of the command ``addersim``."""
    try:
        code = app(standalone_mode=False)
    except InputError as error:
        _fail(str(error))
    except ModuleNotFoundError as error:
        if error.name not in EXTRAS:
            raise
        _fail(f"this needs {error.name}, which is not installed: pip install 'addersim[{EXTRAS[error.name]}]'")
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except BrokenPipeError:
        raise SystemExit(0) from None
    except Exception as error:
        if not hasattr(error, "format_message"):  # anything but a usage error is our own mistake
            raise
        _fail(error.format_message())
    raise SystemExit(code if isinstance(code, int) else 0)


def _fail(message: str, code: int = 2) -> NoReturn:
    print(f"addersim: {' '.join(message.split())}", file=sys.stderr)
    raise SystemExit(code)
