"""A training recipe: everything that decides the result, read from TOML."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from addersim.nn.catalogue import model_card
from addersim.quantization.settings import Quantization
from addersim.toml import Record, read
from addersim.train.datasets import FOLDER, dataset_card

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1)]


class Augmentation(Record):
    """Random changes of the training images: mirrored left to right, moved by up to so many pixels, mixed.

    With ``mix`` every image is a mixture with another of its batch, at shares drawn evenly; labels mean nothing then,
    so a teacher's answers have to be all that is learned.
    """

    flip: bool = False
    shift_pixels: Annotated[int, Field(ge=0, le=16)] = 0
    mix: bool = False


class Member(Record):
    """A further network of a teacher's ensemble: a model, and a file of its weights or the name of shipped ones."""

    model: str
    weights: str


class Teacher(Record):
    """The network that a run learns from beside the labels: see :mod:`addersim.train.distillation`.

    ``model`` is by default the convolution twin of the recipe's, ``weights`` a file (from where the command runs) or
    the name of shipped weights; ``pkkd`` trains the teacher along and starts it anew where there are none. Weight
    and temperature are of the teacher's answers, ``feature_weight`` is of the layers' kernels, or, with ``blocks``, of
    the outputs of the residual blocks of a network on integers and its teacher. Their defaults are ours, of no paper.

    With an ``ensemble`` the answers are the mean of the teacher's probabilities and its members'; features are the
    teacher's alone. All of them see the data set's images, normalised as its card says.
    """

    model: str | None = None
    weights: str | None = None
    method: Literal["logits", "pkkd", "blocks"] = "logits"
    temperature: Positive = 4.0
    weight: Annotated[float, Field(ge=0, le=1)] = 0.5
    feature_weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.1
    ensemble: Annotated[tuple[Member, ...], Field(strict=False)] = ()  # TOML has lists, no tuples


class FineTuning(Quantization):
    """Quantisation-aware training: the arguments of :func:`addersim.quantize`, and how the network starts.

    ``calibration_images`` training images, drawn by the recipe's seed, decide the steps. ``learned_steps``,
    ``gradient`` and ``statistics`` are those of :class:`addersim.train.qat.IntegerModule`; running statistics begin
    with those of ``statistics_images`` images, changed as in training.
    """

    calibration_images: Annotated[int, Field(ge=1)] = 200
    learned_steps: bool = False
    gradient: Literal["adder", "sign"] = "adder"
    statistics: Literal["batch", "running", "fixed"] = "batch"
    statistics_images: Annotated[int, Field(ge=2)] = 1000


class Recipe(Record):
    """One training run. The defaults are those of the published AdderNet code (huawei-noah/AdderNet main.py).

    ``dataset`` is a published one or ``folder``, see :func:`addersim.train.data.load_dataset`.

    ``eta`` scales the gradients of adder layers (:func:`addersim.nn.adaptive_rate`) and does nothing
    in a network without them. With ``adder_rate = "global"`` gradients of adder layers are not scaled; instead
    their learning rate is ``adder_rate_factor`` times that of the other layers. ``eta_others`` scales the gradients of
    all other parameters, each tensor's, in the way of ``eta``: on few bits those of the first layers are thousands of
    times those of the last. ``optimiser = "adam"`` brings every parameter's gradient to one size by itself, so it goes
    with ``adder_rate = "global"``; ``momentum`` is its first beta, the second is 0.99. ``weight_gradient`` is the
    full-precision one or that of the sign. Both are for the paper's ablation (Chen et al., CVPR 2020).

    The last ``validation_images`` training images are held out and measured after every epoch: such a run looks
    at the test images only with ``test_at_end``, and then once.

    ``precision = "bfloat16"`` lets convolutions and linear layers multiply in bfloat16 (torch.autocast), which halves
    the time of a CNN on a processor that has such instructions; weights, adder layers, batch norms and every
    measurement stay in float32.

    ``start`` is the network to go on from instead of a freshly drawn one: a file of weights (from where the command
    runs) or the name of shipped ones. With a table ``quantization`` the network runs on integers from the first batch
    on. The learning rate follows its cosine from epoch to epoch, or with ``schedule = "batch"`` from batch to batch,
    down to 0, which suits runs of few epochs; there it can rise evenly from 0 for ``warmup_epochs``.

    ``batch_norm_images``: before a measurement, means and variances of the batch norms are taken anew from so
    many training images, augmented as in training, since running ones lag behind the drifting weights of adder
    layers; 0 keeps them.
    """

    model: str
    dataset: str
    epochs: Annotated[int, Field(ge=1)]
    batch_size: Annotated[int, Field(ge=2)] = 256
    learning_rate: Positive = 0.1
    momentum: Share = 0.9
    weight_decay: Share = 5e-4
    eta: Positive = 0.2
    eta_others: Positive | None = None
    weight_gradient: Literal["full", "sign"] = "full"
    adder_rate: Literal["adaptive", "global"] = "adaptive"
    adder_rate_factor: Positive = 100.0
    optimiser: Literal["sgd", "adam"] = "sgd"
    precision: Literal["float32", "bfloat16"] = "float32"
    schedule: Literal["epoch", "batch"] = "epoch"
    warmup_epochs: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    start: str | None = None
    quantization: FineTuning | None = None
    teacher: Teacher | None = None
    augmentation: Augmentation = Augmentation()
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    validation_images: Annotated[int, Field(ge=0)] = 0
    test_at_end: bool = False
    batch_norm_images: Annotated[int, Field(ge=0)] = 0
    threads: Annotated[int, Field(ge=1)] = 1

    @field_validator("teacher", mode="before")
    @classmethod
    def _weights_alone(cls, value: Any) -> Any:
        """Let ``teacher = "FILE"`` stand for ``teacher = { weights = "FILE" }``."""
        return {"weights": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _fits_itself(self) -> Recipe:
        """Refuse keys that contradict each other."""
        if self.optimiser == "adam" and (self.adder_rate == "adaptive" or self.eta_others is not None):
            raise ValueError('optimiser "adam" scales gradients itself: expected adder_rate = "global", no eta_others')
        if self.warmup_epochs and self.schedule == "epoch":
            raise ValueError('warmup_epochs: expected schedule = "batch", which changes the rate within an epoch')
        if self.augmentation.mix and (self.teacher is None or self.teacher.weight < 1):
            raise ValueError("augmentation.mix leaves no labels: expected a teacher of weight = 1")
        if self.teacher is not None and self.teacher.method == "blocks" and self.quantization is None:
            raise ValueError('teacher.method "blocks" is for networks on integers: expected a table quantization')
        if self.teacher is not None and self.teacher.method == "pkkd" and self.teacher.ensemble:
            raise ValueError('teacher.ensemble: expected method "logits" or "blocks", whose teachers do not change')
        return self

    @model_validator(mode="after")
    def _fits_integers(self) -> Recipe:
        """Refuse what goes together with no integers."""
        if self.quantization is None:
            return self
        if self.start is None:
            raise ValueError("quantization fine-tunes a trained network: expected start, a file or shipped weights")
        taught = self.teacher is not None and self.teacher.method == "pkkd"
        for wrong, key, why in (
            (self.batch_norm_images > 0, "batch_norm_images", "batch norms keep their statistics"),
            (self.weight_gradient != "full", "weight_gradient", "expected quantization.gradient"),
            (self.precision != "float32", "precision", "there are integers instead of floats"),
            (taught, "teacher.method", 'expected "logits" or "blocks"'),
        ):
            if wrong:
                raise ValueError(f"{key} does not go with quantization: {why}")
        return self


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
    if recipe.teacher is not None:
        for name in filter(None, (recipe.teacher.model, *(member.model for member in recipe.teacher.ensemble))):
            model_card(name)
    if recipe.dataset != FOLDER:
        dataset_card(recipe.dataset)
    return recipe
