"""Training: the recipe of the AdderNet paper, data sets, checkpoints, resume, progress."""

from __future__ import annotations

from typing import TYPE_CHECKING

from addersim.shelf import lazy

if TYPE_CHECKING:
    from addersim.train import qat as qat
    from addersim.train.data import load_dataset as load_dataset
    from addersim.train.loop import train as train
    from addersim.train.recipe import Recipe as Recipe
    from addersim.train.recipe import read_recipe as read_recipe

_NAMES = {
    "": "qat",
    "data": "load_dataset",
    "loop": "train",
    "recipe": "Recipe read_recipe",
}
__all__ = sorted(name for names in _NAMES.values() for name in names.split())
if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(__name__, _NAMES)
