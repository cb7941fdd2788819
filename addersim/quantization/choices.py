"""Choices: what :func:`addersim.quantize` is told, checked, and which width that gives a layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Integral
from typing import Annotated, Literal

from pydantic import Field

from addersim.arithmetic.datapath import Datapath
from addersim.arithmetic.output_stage import STYLES, Style
from addersim.errors import InputError, nearest
from addersim.quantization.ranges import RULES, RangeRule
from addersim.toml import Record

END_BITS = 8  # first and last layer
Correction = Literal["none", "mean", "least_squares", "batch_norm"]
CORRECTIONS: tuple[Correction, ...] = ("none", "mean", "least_squares", "batch_norm")
Steps = Literal["free", "power_of_two"]
STEPS: tuple[Steps, ...] = ("free", "power_of_two")
Positive = Annotated[int, Field(ge=1)]


class Quantization(Record):
    """The arguments of :func:`addersim.quantize`; ``bits`` leaves the first and the last layer at 8."""

    bits: Annotated[int, Field(ge=2, le=16)] = 8
    residual_bits: Annotated[int, Field(ge=2, le=16)] = 8
    range: RangeRule = "mse"
    quantile: Annotated[float, Field(gt=0, le=1)] = 0.9997
    output_stage: Style = "multiplier_shift"
    multiplier_bits: Annotated[int, Field(ge=3, le=16)] = 8
    correction: Correction = "none"
    weight_bits: Annotated[int, Field(ge=2, le=16)] | None = None
    layer_bits: dict[str, Annotated[int, Field(ge=2, le=16)]] = Field(default_factory=dict)
    steps: Steps = "free"
    groups: Positive = 1


@dataclass(frozen=True)
class Choices:
    """The arguments of :func:`addersim.quantize`, which documents them."""

    bits: int = 8
    residual_bits: int = 8
    range: RangeRule = "mse"
    quantile: float = 0.9997
    output_stage: Style = "multiplier_shift"
    multiplier_bits: int = 8
    datapath: Datapath | None = None
    correction: Correction = "none"
    weight_bits: int | None = None
    layer_bits: Mapping[str, int] = field(default_factory=dict)
    steps: Steps = "free"
    groups: int = 1

    def __post_init__(self) -> None:
        named = {f"layer_bits of {name!r}": bits for name, bits in self.layer_bits.items()}
        if self.weight_bits is not None:
            named["weight_bits"] = self.weight_bits
        for name, value in {"bits": self.bits, "residual_bits": self.residual_bits, **named}.items():
            if not isinstance(value, Integral):
                raise InputError(f"{name} = {value!r}, expected a whole number from 2 to 16")
            if not 2 <= value <= 16:
                raise InputError(f"{name} = {value} is out of range, expected 2 to 16")
        if self.weight_bits is not None and self.weight_bits > self.bits:
            raise InputError(
                f"weight_bits = {self.weight_bits} is more than bits = {self.bits}: an adder layer's weights have "
                "the step of its inputs or a coarser one"
            )
        if not 3 <= self.multiplier_bits <= 16:
            raise InputError(f"multiplier_bits = {self.multiplier_bits} is out of range, expected 3 to 16")
        if self.groups < 1:
            raise InputError(f"groups = {self.groups} is out of range, expected 1 or more")
        named_choices: dict[str, tuple[str, tuple[str, ...]]] = {
            "range": (self.range, RULES),
            "output_stage": (self.output_stage, STYLES),
            "correction": (self.correction, CORRECTIONS),
            "steps": (self.steps, STEPS),
        }
        for name, (chosen, known) in named_choices.items():
            if chosen not in known:
                raise InputError(f"{name} = {chosen!r}{nearest(chosen, known)}")
        if not 0 < self.quantile <= 1:
            raise InputError(f"quantile = {self.quantile} is out of range, expected above 0 and up to 1")
        if self.datapath is not None and self.datapath.kind != "adder":
            raise InputError("datapath: expected an adder datapath, which every adder layer then takes")

    def input_bits(self, layer: str) -> int:
        """Return the width of the inputs of a layer that is neither first nor last."""
        return self.layer_bits.get(layer, self.bits)

    def weights(self, layer: str) -> int:
        """Return the width of its weights."""
        return self.layer_bits.get(layer, self.weight_bits or self.bits)
