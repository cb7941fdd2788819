"""Training: the recipe of the AdderNet paper, data sets, checkpoints, resume, progress."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from addersim.train.data import load_dataset
    from addersim.train.loop import train
    from addersim.train.recipe import Recipe, read_recipe

_HOME = {"Recipe": "recipe", "load_dataset": "data", "read_recipe": "recipe", "train": "loop"}
__all__ = ["Recipe", "load_dataset", "read_recipe", "train"]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
