"""The command that trains a network by a recipe."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from addersim.cli.options import Json, fail, print_json

Data = Annotated[
    Path | None,
    typer.Option(
        envvar="ADDERSIM_DATA",
        help="Folder of the data set, or with train/CLASS/ and test/CLASS/ for dataset = 'folder'; "
        "without one a published set is downloaded.",
    ),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the checkpoint in --out, if there is one.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Start anew where --out holds a checkpoint.")]


def train(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="A recipe file, or the name of a shipped one.")],
    out: Annotated[Path, typer.Option(help="Folder for checkpoint, weights, card, epochs.csv and curves.svg.")],
    data: Data = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
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


@contextmanager
def _resumable(checkpoint: Path) -> Iterator[None]:
    """Say on Ctrl-C whether there is something to go on with."""
    try:
        yield
    except KeyboardInterrupt:
        kept = "; --resume goes on after the last whole epoch" if checkpoint.exists() else " in the first epoch"
        fail(f"stopped{kept}", 130)
