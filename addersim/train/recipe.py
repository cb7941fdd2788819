"""A training recipe: everything that decides the result, read from TOML."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from addersim.nn.catalogue import model_card
from addersim.toml import Record, read
from addersim.train.datasets import dataset_card

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1)]


class Augmentation(Record):
    """Random changes of the training images: mirrored left to right, moved by up to so many pixels."""

    flip: bool = False
    shift_pixels: Annotated[int, Field(ge=0, le=16)] = 0


class Recipe(Record):
    """One training run. The defaults are those of the published AdderNet code (huawei-noah/AdderNet main.py).

    ``eta`` scales the gradients of adder layers (:func:`addersim.nn.adaptive_rate`) and does nothing
    in a network without them. The last ``validation_images`` training images are held out and measured after
    every epoch: such a run looks at the test images only with ``test_at_end``, and then once.

    ``batch_norm_images``: before a measurement, means and variances of the batch norms are taken anew from so
    many training images, since running ones lag behind the drifting weights of adder layers; 0 keeps them.
    """

    model: str
    dataset: str
    epochs: Annotated[int, Field(ge=1)]
    batch_size: Annotated[int, Field(ge=2)] = 256
    learning_rate: Positive = 0.1
    momentum: Share = 0.9
    weight_decay: Share = 5e-4
    eta: Positive = 0.2
    augmentation: Augmentation = Augmentation()
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    validation_images: Annotated[int, Field(ge=0)] = 0
    test_at_end: bool = False
    batch_norm_images: Annotated[int, Field(ge=0)] = 0
    threads: Annotated[int, Field(ge=1)] = 1


def read_recipe(file: str | Path) -> Recipe:
    """Return the recipe in a TOML file.

    Raises
    ------
    InputError
        If the file is missing or not TOML, a key is unknown (the message has the nearest), a value has the
        wrong type or range, or the model or data set does not exist.
    """
    recipe = read(Recipe, file)
    model_card(recipe.model)
    dataset_card(recipe.dataset)
    return recipe
