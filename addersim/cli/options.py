"""What several commands share: options, plug-ins, the study they read, the step at work, JSON, how they fail."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from addersim.shelf import load_plugin

if TYPE_CHECKING:
    from addersim.study.outcome import Progress
    from addersim.study.study import Study

StudyFile = Annotated[str, typer.Argument(metavar="STUDY", help="A study file, or the name of a shipped study.")]
Settings = Annotated[list[str], typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the study.")]
Json = Annotated[bool, typer.Option("--json", help="Print the figures as JSON, and nothing else.")]
Threads = Annotated[int, typer.Option(min=1, help="Threads of a simulation.")]


def _load(paths: list[str]) -> list[str]:
    for path in paths:
        load_plugin(path)
    return paths


Plugins = Annotated[
    list[str],
    typer.Option(
        "--plugin", metavar="FILE", callback=_load, help="A Python file with operations or dataflows of yours."
    ),
]


def read_study(study: str, settings: list[str]) -> Study:
    """Return the study a command names, with its ``--set`` keys."""
    from addersim.study.study import Study

    return Study.read(study, settings)


def print_json(value: Any) -> None:
    """Print a value as JSON; what is no number has to be ``None`` already."""
    print(json.dumps(value, indent=2, allow_nan=False))


@contextmanager
def steps(quiet: bool) -> Iterator[Progress]:
    """Yield a function that shows the step at work, with a spinner and the time, on standard error."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    screen = Console(stderr=True)
    with Progress(*columns, console=screen, transient=True, disable=quiet or not screen.is_terminal) as bar:
        task = bar.add_task("load", total=None)
        yield lambda step, done: bar.update(task, description=step, completed=done, total=1 if done else None)


def fail(message: str, code: int = 2) -> NoReturn:
    """End the command with one line on standard error."""
    print(f"addersim: {' '.join(message.split())}", file=sys.stderr)
    raise SystemExit(code)
