"""Train one model by one recipe: SGD, cosine learning rate, adaptive adder gradients, checkpoints."""

from __future__ import annotations

import datetime
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from addersim.errors import InputError
from addersim.nn.batch_norm import reestimate_batch_norm
from addersim.nn.catalogue import model_card
from addersim.nn.gradient import scale_adder_gradients
from addersim.nn.models import build_model
from addersim.train.batches import batches, normalise
from addersim.train.data import Dataset, load_dataset
from addersim.train.files import (
    Epoch,
    read_checkpoint,
    write_card,
    write_checkpoint,
    write_epochs,
    write_weights,
)
from addersim.train.progress import Ticker, ticker
from addersim.train.recipe import Recipe
from addersim.train.task import TASKS, Task

CHECKPOINT = "checkpoint.pt"


@dataclass(frozen=True)
class Result:
    """Where a run left its weights and card, its table of epochs, and its accuracy in percent.

    The accuracy is on the test images, or on the held-out ones if the recipe holds any out. For a data set with
    labels per pixel it is the mean IoU; ``metric`` says which.
    """

    weights: Path
    card: Path
    history: tuple[Epoch, ...]
    accuracy_percent: float
    metric: str = TASKS["classification"].metric


@dataclass(frozen=True)
class _Run:
    """What stays the same from epoch to epoch; the model and the optimiser change inside."""

    recipe: Recipe
    dataset: Dataset
    model: nn.Module
    optimiser: torch.optim.SGD
    train: tuple[Tensor, Tensor]
    held_out: tuple[Tensor, Tensor]

    @property
    def task(self) -> Task:
        return TASKS[self.dataset.card.task]


def train(
    recipe: Recipe,
    out: str | Path,
    data: str | Path | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
    command: str | None = None,
) -> Result:
    """Train a model and write ``<model>-<dataset>.safetensors``, its JSON card, and ``epochs.csv``.

    Parameters
    ----------
    recipe
        See :class:`addersim.train.recipe.Recipe`. The same recipe and torch version give the same weights.
    out
        Folder for the results. ``checkpoint.pt`` in it is replaced after every epoch.
    data
        Folder of the data set, see :func:`addersim.train.data.load_dataset`.
    resume
        Go on after the last finished epoch in ``out``; the result is that of an uninterrupted run.
    overwrite
        Start anew although ``out`` holds a checkpoint, which is then deleted.
    progress
        Show a progress bar with images per second and the time left, and a line per epoch.
    command
        What the card says made the weights.

    Returns
    -------
    Result

    Raises
    ------
    InputError
        If the data cannot be used, model and data do not fit, ``out`` holds another recipe's checkpoint, or
        one although neither ``resume`` nor ``overwrite`` is given.
    """
    folder, checkpoint = Path(out), Path(out) / CHECKPOINT
    _check_folder(checkpoint, resume, overwrite)
    dataset = load_dataset(recipe.dataset, data)
    with _threads(recipe.threads):
        run = _start(recipe, dataset)
        history = _resume(run, checkpoint) if resume else []
        if overwrite:
            checkpoint.unlink(missing_ok=True)  # else a resume before the first epoch is over would find it
        with ticker(progress, recipe.epochs, _batches_per_epoch(run), len(history)) as (tick, tell):
            for epoch in range(len(history), recipe.epochs):
                history.append(_epoch(run, epoch, tick))
                write_checkpoint(checkpoint, recipe, _state(run), history)
                write_epochs(folder / "epochs.csv", history)
                tell(_said(history[-1], recipe.epochs, run.task))
        return _finish(run, folder, history, command)


def _check_folder(checkpoint: Path, resume: bool, overwrite: bool) -> None:
    """Refuse to overwrite an earlier run unasked."""
    if resume and overwrite:
        raise InputError("resume and overwrite: expected one of them")
    if checkpoint.exists() and not (resume or overwrite):
        raise InputError(
            f"{checkpoint}: of an earlier run; expected --resume to go on with it, or --overwrite to start anew"
        )


def _said(row: Epoch, epochs: int, task: Task) -> str:
    held_out = "" if row.validation_percent is None else f", {row.validation_percent:.2f} % of the held-out ones"
    merit = f"{row.train_percent:.2f} % {task.meaning.format('training images')}{held_out}"
    return f"epoch {row.epoch + 1}/{epochs}: loss {row.loss:.4f}, {merit}, {row.seconds:g} s"


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _start(recipe: Recipe, dataset: Dataset) -> _Run:
    """Return a run before its first epoch, with weights drawn from the recipe's seed."""
    card = dataset.card
    wanted = model_card(recipe.model)
    if (wanted.input_shape, wanted.task) != (card.input_shape, card.task):
        raise InputError(
            f"{recipe.model} takes {wanted.input_shape} for {wanted.task}, "
            f"{card.name} is {card.input_shape} for {card.task}"
        )
    kept = len(dataset.train_images) - recipe.validation_images
    if kept < 2:
        raise InputError(f"validation_images = {recipe.validation_images} leaves {kept} images to train on")
    images, labels = torch.from_numpy(dataset.train_images), torch.from_numpy(dataset.train_labels)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = build_model(recipe.model, card.classes)
    optimiser = torch.optim.SGD(
        model.parameters(), recipe.learning_rate, momentum=recipe.momentum, weight_decay=recipe.weight_decay
    )
    return _Run(recipe, dataset, model, optimiser, (images[:kept], labels[:kept]), (images[kept:], labels[kept:]))


def _state(run: _Run) -> dict[str, Any]:
    return {"state_dict": run.model.state_dict(), "optimiser": run.optimiser.state_dict()}


def _resume(run: _Run, file: Path) -> list[Epoch]:
    """Put model and optimiser where the checkpoint left them; return the epochs done. No file: start anew."""
    if not file.exists():
        return []
    state, history = read_checkpoint(file, run.recipe)
    run.model.load_state_dict(state["state_dict"])
    run.optimiser.load_state_dict(state["optimiser"])
    return history


def learning_rate(recipe: Recipe, epoch: int) -> float:
    """Return ``0.5 * learning_rate * (1 + cos(pi * epoch / epochs))``, as in huawei-noah/AdderNet main.py."""
    return 0.5 * recipe.learning_rate * (1 + math.cos(math.pi * epoch / recipe.epochs))


def _batches_per_epoch(run: _Run) -> int:
    return max(1, len(run.train[0]) // run.recipe.batch_size)


def _epoch(run: _Run, epoch: int, tick: Ticker) -> Epoch:
    """Train one epoch. Its random numbers depend on seed and epoch only, which makes resuming exact."""
    started, recipe = time.perf_counter(), run.recipe
    rate = learning_rate(recipe, epoch)
    for group in run.optimiser.param_groups:
        group["lr"] = rate
    generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + epoch)
    run.model.train()
    loss_sum, seen, tally = 0.0, 0, torch.zeros(1, dtype=torch.int64)
    how, card = recipe.augmentation, run.dataset.card
    for images, labels in batches(*run.train, recipe.batch_size, how, card, generator, run.task.augmented):
        loss, counted = _step(run, images, labels)
        loss_sum, seen, tally = loss_sum + loss * len(labels), seen + len(labels), tally + counted
        tick(len(labels))
    if not math.isfinite(loss_sum):
        raise InputError(f"the loss became {loss_sum} in epoch {epoch}; lower learning_rate = {recipe.learning_rate}")
    _reestimate(run)
    held_out = merit_percent(run.model, *run.held_out, run.dataset) if len(run.held_out[0]) else None
    seconds = round(time.perf_counter() - started, 1)
    return Epoch(epoch, rate, loss_sum / seen, run.task.percent(tally), held_out, seconds)


def _step(run: _Run, images: Tensor, labels: Tensor) -> tuple[float, Tensor]:
    """Do one optimiser step; return the mean loss and the task's tally."""
    run.optimiser.zero_grad()
    logits = run.model(images)
    loss = run.task.loss(logits, labels)
    loss.backward()  # type: ignore[no-untyped-call]
    scale_adder_gradients(run.model, run.recipe.eta)
    run.optimiser.step()
    return loss.item(), run.task.tally(logits.detach(), labels)


def _reestimate(run: _Run) -> None:
    """Take the batch norms' means and variances anew from the first ``batch_norm_images`` training images."""
    images = run.train[0][: run.recipe.batch_norm_images]
    if len(images):
        reestimate_batch_norm(run.model, (normalise(x, run.dataset.card) for x in torch.split(images, 500)))


def merit_percent(model: nn.Module, images: Tensor, labels: Tensor, dataset: Dataset, size: int = 500) -> float:
    """Return the figure of merit of the data set's task on uint8 images, the model in evaluation mode."""
    model.eval()
    task, tally = TASKS[dataset.card.task], torch.zeros(1, dtype=torch.int64)
    with torch.inference_mode():
        for x, y in zip(torch.split(images, size), torch.split(labels, size), strict=True):
            tally = tally + task.tally(model(normalise(x, dataset.card)), y)
    return task.percent(tally)


def _finish(run: _Run, folder: Path, history: Sequence[Epoch], command: str | None) -> Result:
    """Measure once, on the test images unless some were held out, and write weights and card."""
    dataset, stem = run.dataset, f"{run.recipe.model}-{run.recipe.dataset}"
    test = torch.from_numpy(dataset.test_images), torch.from_numpy(dataset.test_labels)
    held_out_only = run.recipe.validation_images and not run.recipe.test_at_end
    on, measured = ("validation", run.held_out) if held_out_only else ("test", test)
    merit = merit_percent(run.model, *measured, dataset)
    weights, card = folder / f"{stem}.safetensors", folder / f"{stem}.json"
    write_weights(weights, run.model.state_dict())
    facts = {
        run.task.metric: merit,
        "measured_on": f"{len(measured[0])} {on} images, float32",
        "command": command or f"addersim train {stem}.toml --out {folder.name}",
        "seconds": round(sum(row.seconds for row in history)),
    }
    write_card(card, _card(run) | facts)
    return Result(weights, card, tuple(history), merit, run.task.metric)


def _card(run: _Run) -> dict[str, Any]:
    """Return what is known of the weights before they are measured."""
    card = run.dataset.card
    return {
        "model": run.recipe.model,
        "dataset": run.recipe.dataset,
        "mean": list(card.mean),
        "std": list(card.std),
        "licence": f"weights: BSD-3-Clause; data: {card.licence}",
        "date": datetime.date.today().isoformat(),
        "torch": torch.__version__,
        "recipe": run.recipe.model_dump(),
    }
