"""A training recipe: everything that decides the result, read from TOML."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from addersim.errors import InputError, nearest
from addersim.nn.catalogue import model_card
from addersim.train.datasets import dataset_card

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1)]


class Augmentation(BaseModel):
    """Random changes of the training images: mirrored left to right, moved by up to so many pixels."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    flip: bool = False
    shift_pixels: Annotated[int, Field(ge=0, le=16)] = 0


class Recipe(BaseModel):
    """One training run. The defaults are those of the published AdderNet code (huawei-noah/AdderNet main.py).

    ``eta`` scales the gradients of adder layers (:func:`addersim.nn.scale_adder_gradients`) and does nothing
    in a network without them. The last ``validation_images`` training images are held out: such a run reports
    its accuracy on them and never looks at the test images.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
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
    threads: Annotated[int, Field(ge=1)] = 1


def read_recipe(file: str | Path) -> Recipe:
    """Return the recipe in a TOML file.

    Raises
    ------
    InputError
        If the file is missing or not TOML, a key is unknown (the message has the nearest), a value has the
        wrong type or range, or the model or data set does not exist.
    """
    try:
        content = tomllib.loads(Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{file}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: not TOML: {error}") from None
    try:
        recipe = Recipe.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{file}: {_explain(error)}") from None
    model_card(recipe.model)
    dataset_card(recipe.dataset)
    return recipe


def _explain(error: ValidationError) -> str:
    """Return the first complaint as one line."""
    first = error.errors()[0]
    path = [str(part) for part in first["loc"]]
    if first["type"] == "extra_forbidden":
        fields = (Augmentation if path[0] == "augmentation" else Recipe).model_fields
        return f"unknown key {'.'.join(path)!r}{nearest(path[-1], fields)}"
    return f"{'.'.join(path)}: {first['msg']}"
