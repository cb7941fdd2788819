"""A progress bar for a training run: epoch, images per second, time left; and a line per epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from addersim.train.files import Epoch
from addersim.train.task import Task

Ticker = Callable[[int], None]
Teller = Callable[[str], None]


@contextmanager
def ticker(shown: bool, epochs: int, batches: int, done: int) -> Iterator[tuple[Ticker, Teller]]:
    """Yield a function to call with the number of images after every batch, and one that prints a line.

    Parameters
    ----------
    shown
        False: the functions do nothing.
    epochs, batches
        How many epochs there are in all, and batches in each.
    done
        Epochs that an earlier run has finished.
    """
    if not shown:
        yield lambda _images: None, lambda _line: None
        return
    columns = (
        TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
        BarColumn(),
        TextColumn("{task.fields[rate]} images/s"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        total = epochs * batches
        task = bar.add_task("train", total=total, completed=done * batches, epoch=done, epochs=epochs, rate="-")

        def tick(images: int) -> None:
            step = bar.tasks[0]
            rate = f"{step.speed * images:.0f}" if step.speed else "-"
            epoch = min(epochs, int(step.completed) // batches + 1)
            bar.update(task, advance=1, rate=rate, epoch=epoch)

        yield tick, lambda line: bar.console.print(line, highlight=False, markup=False, soft_wrap=True)


def said(row: Epoch, epochs: int, task: Task) -> str:
    """Return the line about a finished epoch."""
    held_out = "" if row.validation_percent is None else f", {row.validation_percent:.2f} % of the held-out ones"
    merit = f"{row.train_percent:.2f} % {task.meaning.format('training images')}{held_out}"
    return f"epoch {row.epoch + 1}/{epochs}: loss {row.loss:.4f}, {merit}, {row.seconds:g} s"
