"""Quantization: what :func:`addersim.quantize` is told, checked once, and which width that gives a layer."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, TypedDict

from pydantic import BeforeValidator, Field, SkipValidation, model_validator

from addersim.arithmetic.datapath import Datapath
from addersim.arithmetic.output_stage import Style
from addersim.quantization.ranges import RangeRule
from addersim.toml import Record, from_values

END_BITS = 8  # first and last layer
Correction = Literal["none", "mean", "least_squares", "batch_norm"]
Steps = Literal["free", "power_of_two"]
Positive = Annotated[int, Field(ge=1)]
Bits = Annotated[int, Field(ge=2, le=16)]


def _adder_datapath(value: Any) -> Any:
    if value is not None and not (isinstance(value, Datapath) and value.kind == "adder"):
        raise ValueError("datapath: expected an adder datapath, which every adder layer then takes")
    return value


AdderDatapath = Annotated[SkipValidation[Datapath | None], BeforeValidator(_adder_datapath)]


class Quantization(Record):
    """The settings of :func:`addersim.quantize`, which documents them; ``datapath`` is not in files."""

    bits: Bits = 8
    residual_bits: Bits = 8
    range: RangeRule = "mse"
    quantile: Annotated[float, Field(gt=0, le=1)] = 0.9997
    output_stage: Style = "multiplier_shift"
    multiplier_bits: Annotated[int, Field(ge=3, le=16)] = 8
    correction: Correction = "none"
    weight_bits: Bits | None = None
    layer_bits: dict[str, Bits] = Field(default_factory=dict)
    steps: Steps = "free"
    groups: Positive = 1
    datapath: AdderDatapath = Field(default=None, exclude=True)

    @model_validator(mode="after")
    def _weights_are_no_wider(self) -> Quantization:
        if self.weight_bits is not None and self.weight_bits > self.bits:
            raise ValueError(
                f"weight_bits = {self.weight_bits} is more than bits = {self.bits}: an adder layer's weights have "
                "the step of its inputs or a coarser one"
            )
        return self

    def input_bits(self, layer: str) -> int:
        """Return the width of the inputs of a layer that is neither first nor last."""
        return self.layer_bits.get(layer, self.bits)

    def weights(self, layer: str) -> int:
        """Return the width of its weights."""
        return self.layer_bits.get(layer, self.weight_bits or self.bits)


class Settings(TypedDict, total=False):
    """The keywords of :func:`addersim.quantize` for type checkers: those of :class:`Quantization` but ``bits``."""

    residual_bits: int
    range: RangeRule
    quantile: float
    output_stage: Style
    multiplier_bits: int
    correction: Correction
    weight_bits: int | None
    layer_bits: Mapping[str, int] | None
    steps: Steps
    groups: int
    datapath: Datapath | None


def settings_of(given: Mapping[str, Any]) -> Quantization:
    """Return the settings that keywords of :func:`addersim.quantize` make.

    Raises
    ------
    InputError
        If a keyword is unknown or a value out of range.
    """
    return from_values(Quantization, {**given, "layer_bits": given.get("layer_bits") or {}}, "quantize")


def signature_of(function: Callable[..., Any]) -> inspect.Signature:
    """Return the signature of a function of ``**settings``, with each of them by name and with its default."""
    *named, _keywords = inspect.signature(function).parameters.values()
    fields = {name: field for name, field in Quantization.model_fields.items() if name in Settings.__annotations__}
    keywords = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=field.get_default(call_default_factory=True))
        for name, field in fields.items()
    ]
    return inspect.signature(function).replace(parameters=[*named, *keywords])
