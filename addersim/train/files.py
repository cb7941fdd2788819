"""What a training run writes: a checkpoint per epoch, the table of epochs, the weights and their card."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors.torch import save
from torch import Tensor

from addersim.errors import InputError
from addersim.files import PARTIAL, check_version, write_atomically
from addersim.nn.pickles import read_pickle
from addersim.train.recipe import Recipe

FORMAT_VERSION = 1  # of checkpoints; one without it is of version 1


@dataclass(frozen=True)
class Epoch:
    """One row of the table of epochs; ``validation_percent`` is None when no images are held out.

    ``loss`` is the mean of what was minimised; with a teacher this includes the teacher's terms.
    """

    epoch: int
    learning_rate: float
    loss: float
    train_percent: float
    validation_percent: float | None
    seconds: float


def check_folder(checkpoint: Path, resume: bool, overwrite: bool) -> None:
    """Refuse to overwrite an earlier run unasked; remove what a killed run left half-written."""
    if resume and overwrite:
        raise InputError("resume and overwrite: expected one of them")
    if checkpoint.exists() and not (resume or overwrite):
        raise InputError(
            f"{checkpoint}: of an earlier run; expected --resume to go on with it, or --overwrite to start anew"
        )
    for partial in checkpoint.parent.glob(f".*.*{PARTIAL}"):
        partial.unlink(missing_ok=True)


def write_epochs(file: Path, history: Sequence[Epoch]) -> None:
    """Write the table of epochs as CSV."""
    text = io.StringIO()
    rows = csv.DictWriter(text, [f.name for f in fields(Epoch)], lineterminator="\n")
    rows.writeheader()
    rows.writerows(asdict(row) for row in history)
    write_atomically(file, text.getvalue(), durable=True)


def write_weights(file: Path, state: Mapping[str, Tensor]) -> None:
    """Write a state dict as safetensors, without the batch counters, which inference does not need."""
    kept = {k: v.detach().contiguous() for k, v in state.items() if not k.endswith("num_batches_tracked")}
    write_atomically(file, save(kept), durable=True)


def write_card(file: Path, card: Mapping[str, Any]) -> None:
    """Write a JSON card."""
    write_atomically(file, json.dumps(card, indent=2) + "\n", durable=True)


def write_checkpoint(file: Path, recipe: Recipe, state: Mapping[str, Any], history: Sequence[Epoch]) -> None:
    """Write all that a run needs to go on: tensors, numbers and strings only, no code."""
    history_rows = [asdict(row) for row in history]
    content = {**state, "format": FORMAT_VERSION, "recipe": recipe.model_dump(), "history": history_rows}
    buffer = io.BytesIO()  # a full disk is then an OSError; torch's own writer raises anything
    torch.save(content, buffer)
    write_atomically(file, buffer.getbuffer(), durable=True)


def read_checkpoint(file: Path, recipe: Recipe) -> tuple[dict[str, Any], list[Epoch]]:
    """Return what :func:`write_checkpoint` wrote; InputError if it is broken or of another recipe."""
    found = read_pickle(file)
    content = found if isinstance(found, dict) else {}
    check_version(file, "checkpoint format", content.get("format", 1), FORMAT_VERSION)  # first: its keys may be others
    if not {"state_dict", "optimiser", "recipe", "history"} <= content.keys():
        raise InputError(f"{file}: not a checkpoint of a training run")
    theirs = _recipe(content["recipe"], file)
    for key, ours in recipe.model_dump().items():
        if theirs[key] != ours:
            raise InputError(f"{file}: made with {key} = {theirs[key]!r}, the recipe says {ours!r}")
    return content, _history(content["history"], file)


def _recipe(content: Any, file: Path) -> dict[str, Any]:
    """Return a checkpoint's recipe; keys younger than the file take their defaults."""
    try:
        return Recipe.model_validate(content).model_dump()
    except ValidationError:
        raise InputError(f"{file}: its recipe is not one of this version") from None


def _history(content: Any, file: Path) -> list[Epoch]:
    try:
        history = [Epoch(**row) for row in content]
    except TypeError:
        raise InputError(f"{file}: its table of epochs is not one of this version") from None
    if [row.epoch for row in history] != list(range(len(history))):
        raise InputError(f"{file}: its table of epochs has gaps")
    return history
