"""One run between its epochs: model, teacher, optimiser and data, made from a recipe or from a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from addersim.errors import InputError
from addersim.nn.catalogue import model_card
from addersim.nn.checkpoint import load_checkpoint
from addersim.nn.models import build_model
from addersim.train.batches import augment, normalise
from addersim.train.datasets import Dataset, DatasetCard
from addersim.train.distillation import KernelDistiller, LogitsDistiller, build_distiller
from addersim.train.files import Epoch, read_checkpoint
from addersim.train.optimiser import optimiser_of, set_weight_gradient
from addersim.train.processes import Processes
from addersim.train.qat import IntegerModule
from addersim.train.recipe import Recipe
from addersim.train.task import TASKS, Task
from addersim.weights.shipped import weights_file


@dataclass(frozen=True)
class Run:
    """What stays the same from epoch to epoch; model, distiller and optimiser change inside."""

    recipe: Recipe
    dataset: Dataset
    processes: Processes
    model: nn.Module
    distiller: LogitsDistiller | KernelDistiller | None
    optimiser: torch.optim.Optimizer
    train: tuple[Tensor, Tensor]
    held_out: tuple[Tensor, Tensor]

    @property
    def task(self) -> Task:
        """What the data set's labels are for."""
        return TASKS[self.dataset.card.task]

    @property
    def parameters(self) -> list[nn.Parameter]:
        """What the optimiser moves."""
        return [p for group in self.optimiser.param_groups for p in group["params"]]

    @property
    def statistics(self) -> list[Tensor]:
        """The running means and variances of all batch norms that see training batches."""
        networks = [self.model, *([self.distiller] if isinstance(self.distiller, KernelDistiller) else [])]
        return [b for m in networks for b in m.buffers() if b.is_floating_point()]

    def loss(self, images: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        """Return what is minimised: the task's loss, or with a teacher's help the distiller's."""
        if self.distiller is None:
            return self.task.loss(logits, labels)
        loss: Tensor = self.distiller(images, logits, labels)
        return loss


def start(recipe: Recipe, dataset: Dataset, processes: Processes) -> Run:
    """Return a run before its first epoch, with the recipe's ``start``, or weights drawn from its seed."""
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
    if (size := min(recipe.batch_size, kept)) % processes.count:
        raise InputError(f"batches of {size} images do not divide into {processes.count} processes")
    if recipe.teacher is not None and card.task != "classification":
        raise InputError(f"teacher: {card.name} is for {card.task}, teachers know classification only")
    images, labels = torch.from_numpy(dataset.train_images), labels_of(dataset.train_labels)
    model = _model(recipe, card, images[:kept])
    set_weight_gradient(recipe, model)
    distiller = build_distiller(recipe, card, model)
    learned = [p for p in distiller.parameters() if p.requires_grad] if distiller is not None else []
    halves = (images[:kept], labels[:kept]), (images[kept:], labels[kept:])
    return Run(recipe, dataset, processes, model, distiller, optimiser_of(recipe, model, learned), *halves)


def _model(recipe: Recipe, card: DatasetCard, images: Tensor) -> nn.Module:
    """Return the model before its first epoch; on integers, calibrated on some of ``images``, if that is wanted.

    Raises
    ------
    InputError
        If the weights to start from do not fit, or the network cannot be quantised.
    """
    if recipe.start is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            return build_model(recipe.model, card.classes)
    model = load_checkpoint(recipe.model, weights_file(recipe.start))
    if (classes := model(torch.zeros(1, *card.input_shape)).shape[1]) != card.classes:
        raise InputError(f"start: {recipe.start} has {classes} classes, {card.name} has {card.classes}")
    if (how := recipe.quantization) is None:
        return model
    chosen = np.random.default_rng(recipe.seed).permutation(len(images))[: how.calibration_images]
    seen = augment(images[: how.statistics_images], recipe.augmentation, torch.Generator().manual_seed(recipe.seed))
    settings = how.model_dump(exclude={"calibration_images", "statistics_images"})
    module = IntegerModule(model, normalise(images[chosen], card).numpy(), **settings)
    if how.statistics == "running":
        module.centre(normalise(seen, card).numpy())
    return module


def labels_of(labels: NDArray[np.unsignedinteger[Any]]) -> Tensor:
    """Return labels as torch takes them: one per image as int64; maps stay bytes, of which there are many."""
    return torch.from_numpy(labels if labels.dtype == np.uint8 else labels.astype(np.int64))


def state(run: Run) -> dict[str, Any]:
    """Return what a checkpoint holds of a run beside recipe and history."""
    taught = {} if run.distiller is None else {"distiller": run.distiller.state_dict()}
    names = list(run.dataset.card.class_names)
    return {"state_dict": run.model.state_dict(), "optimiser": run.optimiser.state_dict(), "classes": names, **taught}


def resume_run(run: Run, file: Path) -> list[Epoch]:
    """Put a run where the checkpoint left it; return the epochs done. No file: start anew."""
    if not file.exists():
        return []
    saved, history = read_checkpoint(file, run.recipe)
    if (names := list(saved.get("classes", []))) != list(run.dataset.card.class_names):
        raise InputError(f"{file}: made with the classes {names}, the data have {list(run.dataset.card.class_names)}")
    try:
        run.model.load_state_dict(saved["state_dict"])
        run.optimiser.load_state_dict(saved["optimiser"])
        if run.distiller is not None:
            run.distiller.load_state_dict(saved["distiller"])
    except (KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{file}: does not fit the recipe's model ({' '.join(str(error).split())[:100]})") from None
    return history
