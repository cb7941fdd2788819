"""What a training run writes: a checkpoint per epoch, the table of epochs, the weights and their card."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from addersim.errors import InputError
from addersim.nn.pickles import read_pickle
from addersim.train.recipe import Recipe


@dataclass(frozen=True)
class Epoch:
    """One row of the table of epochs; ``validation_percent`` is None when no images are held out."""

    epoch: int
    learning_rate: float
    loss: float
    train_percent: float
    validation_percent: float | None
    seconds: float


def write_whole(file: Path, write: Callable[[Path], object]) -> None:
    """Call ``write`` with a temporary name, then rename: readers see the old file or the new one."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        write(partial)
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)


def write_epochs(file: Path, history: Sequence[Epoch]) -> None:
    """Write the table of epochs as CSV."""
    text = io.StringIO()
    rows = csv.DictWriter(text, [f.name for f in fields(Epoch)], lineterminator="\n")
    rows.writeheader()
    rows.writerows(asdict(row) for row in history)
    write_whole(file, lambda partial: partial.write_text(text.getvalue(), encoding="utf-8"))


def write_weights(file: Path, state: Mapping[str, Tensor]) -> None:
    """Write a state dict as safetensors, without the batch counters, which inference does not need."""
    kept = {k: v.detach().contiguous() for k, v in state.items() if not k.endswith("num_batches_tracked")}
    write_whole(file, lambda partial: partial.write_bytes(save(kept)))  # save_file makes it private


def write_card(file: Path, card: Mapping[str, Any]) -> None:
    """Write a JSON card."""
    write_whole(file, lambda partial: partial.write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8"))


def write_checkpoint(file: Path, recipe: Recipe, state: Mapping[str, Any], history: Sequence[Epoch]) -> None:
    """Write all that a run needs to go on: tensors, numbers and strings only, no code."""
    content = {**state, "recipe": recipe.model_dump(), "history": [asdict(row) for row in history]}
    write_whole(file, lambda partial: torch.save(content, partial))


def read_checkpoint(file: Path, recipe: Recipe) -> tuple[dict[str, Any], list[Epoch]]:
    """Return what :func:`write_checkpoint` wrote; InputError if it is broken or of another recipe."""
    content = read_pickle(file)
    if not isinstance(content, dict) or not {"state_dict", "optimiser", "recipe", "history"} <= content.keys():
        raise InputError(f"{file}: not a checkpoint of a training run")
    theirs = Recipe.model_validate(content["recipe"]).model_dump()  # keys younger than the file: their defaults
    for key, ours in recipe.model_dump().items():
        if theirs[key] != ours:
            raise InputError(f"{file}: made with {key} = {theirs[key]!r}, the recipe says {ours!r}")
    return content, [Epoch(**row) for row in content["history"]]
