"""Train one model by one recipe: SGD, cosine learning rate, adaptive adder gradients, checkpoints."""

from __future__ import annotations

import datetime
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from addersim.errors import InputError
from addersim.network.quantized import QuantizedNetwork
from addersim.nn.batch_norm import reestimate_batch_norm
from addersim.nn.catalogue import model_card
from addersim.simulation.simulate import simulate
from addersim.train.batches import batches, normalise
from addersim.train.curves import write_curves
from addersim.train.data import load_dataset
from addersim.train.datasets import Dataset
from addersim.train.files import Epoch, check_folder, write_card, write_checkpoint, write_epochs, write_weights
from addersim.train.finite import first_not_finite, first_not_finite_parameter
from addersim.train.optimiser import learning_rate, set_learning_rate
from addersim.train.processes import joined, threads
from addersim.train.progress import Ticker, said, ticker
from addersim.train.qat import IntegerModule
from addersim.train.recipe import Recipe
from addersim.train.run import Run, labels_of, resume_run, start, state
from addersim.train.task import TASKS
from addersim.weights.shipped import CARD_VERSION

CHECKPOINT = "checkpoint.pt"
LONG_EPOCH_S = 10  # after epochs of this length the figure is drawn at once, else at the end


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
    """Train a model and write ``<model>-<dataset>.safetensors``, its JSON card, ``epochs.csv`` and ``curves.svg``.

    With ``quantization`` in the recipe, the network of integers is ``<model>-<dataset>-<bits>bit.safetensors``
    (:meth:`addersim.QuantizedNetwork.load`), the card is about it, and the weights beside it are those from which the
    integers were made.

    Under ``torchrun`` several processes share every batch, and the first of them alone writes; running statistics of
    batch norms are those of each process's part, and averaged at the end of an epoch.

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
        If the data cannot be used, model and data or teacher do not fit, ``out`` holds another recipe's
        checkpoint, or one although neither ``resume`` nor ``overwrite`` is given; or if the loss or a weight stops
        being finite: the checkpoint is then that of the last epoch that was good, and the message names the layer.
    """
    folder, checkpoint = Path(out), Path(out) / CHECKPOINT
    check_folder(checkpoint, resume, overwrite)
    with joined() as processes, threads(recipe.threads):
        with processes.first_alone():
            dataset = load_dataset(recipe.dataset, data, model_card(recipe.model).input_shape)
        run = start(recipe, dataset, processes)
        history = resume_run(run, checkpoint) if resume else []
        if overwrite and processes.first:
            checkpoint.unlink(missing_ok=True)  # else a resume before the first epoch is over would find it
        shown = progress and processes.first
        with ticker(shown, recipe.epochs, _batches_per_epoch(run), len(history)) as (tick, tell):
            for epoch in range(len(history), recipe.epochs):
                history.append(_epoch(run, epoch, tick))
                if processes.first:
                    _write_epoch(run, folder, history)
                tell(said(history[-1], recipe.epochs, run.task))
        return _finish(run, folder, history, command)


def _write_epoch(run: Run, folder: Path, history: Sequence[Epoch]) -> None:
    write_checkpoint(folder / CHECKPOINT, run.recipe, state(run), history)
    write_epochs(folder / "epochs.csv", history)
    if history[-1].seconds >= LONG_EPOCH_S:
        write_curves(folder / "curves.svg", history, run.task.merit)


def _batches_per_epoch(run: Run) -> int:
    return max(1, len(run.train[0]) // run.recipe.batch_size)


def _epoch(run: Run, epoch: int, tick: Ticker) -> Epoch:
    """Train one epoch. Its random numbers depend on seed and epoch only, which makes resuming exact."""
    started, recipe, processes = time.perf_counter(), run.recipe, run.processes
    rate = learning_rate(recipe, epoch)
    set_learning_rate(run.optimiser, rate)
    generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + epoch)
    run.model.train()
    loss_sum, seen, tally = 0.0, 0, torch.zeros(1, dtype=torch.int64)
    how, card, part = recipe.augmentation, run.dataset.card, (processes.rank, processes.count)
    for images, labels in batches(*run.train, recipe.batch_size, how, card, generator, run.task.augmented, part):
        if recipe.schedule == "batch":
            set_learning_rate(run.optimiser, learning_rate(recipe, epoch + seen / len(run.train[0])))
        loss, counted = _gradients(run, images, labels)
        if not math.isfinite(loss):
            where = first_not_finite(run.model, images) or "the loss itself, or another process's part of it,"
            raise _stopped(run, f"the loss became {loss}", epoch, f"{where} is the first that is not finite")
        run.optimiser.step()
        size = len(labels) * processes.count
        loss_sum, seen, tally = loss_sum + loss * size, seen + size, tally + counted
        tick(size)
    processes.average(run.statistics)
    _reestimate(run)
    if (bad := first_not_finite_parameter(run.model)) is not None:
        raise _stopped(run, "the network stopped being finite", epoch, f"{bad} is not finite after the last step")
    held_out = merit_percent(run.model, *run.held_out, run.dataset) if len(run.held_out[0]) else None
    seconds = round(time.perf_counter() - started, 1)
    return Epoch(epoch, rate, loss_sum / seen, run.task.percent(tally), held_out, seconds)


def _gradients(run: Run, images: Tensor, labels: Tensor) -> tuple[float, Tensor]:
    """Leave the batch's gradients in the parameters; return its mean loss and the task's tally.

    The images are this process's part of the batch; gradients, loss and tally are of the whole one.
    """
    run.optimiser.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=run.recipe.precision == "bfloat16"):
        logits = run.model(images)
        loss = run.loss(images, logits, labels)
    loss.backward()  # type: ignore[no-untyped-call]
    tally = run.task.tally(logits.detach(), labels).to(loss.dtype)
    loss = loss.detach()
    run.processes.average([*(p.grad for p in run.parameters if p.grad is not None), loss, tally])
    return loss.item(), (tally * run.processes.count).round().to(torch.int64)


def _stopped(run: Run, what: str, epoch: int, where: str) -> InputError:
    """Return the error that ends a run whose numbers are no longer finite."""
    kept = f"the checkpoint is that of epoch {epoch - 1}" if epoch else "there is no checkpoint yet"
    return InputError(f"{what} in epoch {epoch}: {where}; lower learning_rate = {run.recipe.learning_rate}; {kept}")


def _reestimate(run: Run) -> None:
    """Take the batch norms' means and variances anew from the first ``batch_norm_images`` training images.

    These are changed at random as in training, where the weights have learned to go with such statistics: those of
    the images as they are cost a CNN on CIFAR-10 three points.
    """
    count, how, card = run.recipe.batch_norm_images, run.recipe.augmentation, run.dataset.card
    generator = torch.Generator().manual_seed(run.recipe.seed)
    parts = zip(*(torch.split(part[:count], 500) for part in run.train), strict=True)
    if count:
        changed = (run.task.augmented(images, labels, how, generator)[0] for images, labels in parts)
        reestimate_batch_norm(run.model, (normalise(images, card) for images in changed))


def merit_percent(model: nn.Module, images: Tensor, labels: Tensor, dataset: Dataset, size: int = 500) -> float:
    """Return the figure of merit of the data set's task on uint8 images, the model in evaluation mode."""
    model.eval()
    task, tally = TASKS[dataset.card.task], torch.zeros(1, dtype=torch.int64)
    with torch.inference_mode():
        for x, y in zip(torch.split(images, size), torch.split(labels, size), strict=True):
            tally = tally + task.tally(model(normalise(x, dataset.card)), y)
    return task.percent(tally)


def simulated_percent(qnet: QuantizedNetwork, images: Tensor, labels: Tensor, dataset: Dataset) -> float:
    """Return the figure of merit of a network of integers, from :func:`addersim.simulate`, on uint8 images."""
    task, tally = TASKS[dataset.card.task], torch.zeros(1, dtype=torch.int64)
    for x, y in zip(torch.split(images, 500), torch.split(labels, 500), strict=True):
        logits = simulate(qnet, normalise(x, dataset.card).numpy()).logits
        tally = tally + task.tally(torch.from_numpy(logits), y)
    return task.percent(tally)


def _finish(run: Run, folder: Path, history: Sequence[Epoch], command: str | None) -> Result:
    """Measure once, on the test images unless some were held out, and write weights and card."""
    dataset, stem = run.dataset, f"{run.recipe.model}-{run.recipe.dataset}"
    test = torch.from_numpy(dataset.test_images), labels_of(dataset.test_labels)
    held_out_only = run.recipe.validation_images and not run.recipe.test_at_end
    on, measured = ("validation", run.held_out) if held_out_only else ("test", test)
    floats, model, qnet = folder / f"{stem}.safetensors", run.model, None
    if isinstance(model, IntegerModule) and run.recipe.quantization is not None:
        qnet, stem = model.export(), f"{stem}-{run.recipe.quantization.bits}bit"
        model, merit = model.module, simulated_percent(qnet, *measured, dataset)
    else:
        merit = merit_percent(model, *measured, dataset)
    weights, card = folder / f"{stem}.safetensors", folder / f"{stem}.json"
    result = Result(weights, card, tuple(history), merit, run.task.metric)
    if not run.processes.first:
        return result
    write_weights(floats, model.state_dict())
    if qnet is not None:
        qnet.save(weights)
    write_curves(folder / "curves.svg", history, run.task.merit)
    facts = {
        run.task.metric: merit,
        "measured_on": f"{len(measured[0])} {on} images, {'float32' if qnet is None else 'integers'}",
        "command": command or f"addersim train {stem}.toml --out {folder.name}",
        "seconds": round(sum(row.seconds for row in history)),
    }
    write_card(card, _card(run) | facts)
    return result


def _card(run: Run) -> dict[str, Any]:
    """Return what is known of the weights before they are measured."""
    card = run.dataset.card
    return {
        "format": CARD_VERSION,
        "model": run.recipe.model,
        "dataset": run.recipe.dataset,
        "mean": list(card.mean),
        "std": list(card.std),
        **({"classes": list(card.class_names)} if card.class_names else {}),
        "licence": f"weights: BSD-3-Clause; data: {card.licence}",
        "date": datetime.date.today().isoformat(),
        "torch": torch.__version__,
        "recipe": run.recipe.model_dump(),
    }
