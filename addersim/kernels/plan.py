"""LayerPlan: everything that one layer's integers depend on, and its result, shared by both kernel modules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import NamedTuple, TypeAlias

import numpy as np

from addersim.arithmetic.datapath import EVENTS, Datapath
from addersim.arithmetic.fixed import IntFormat, Ints, Overflow, wrap
from addersim.arithmetic.output_stage import OutputStage
from addersim.arithmetic.window import Window


@dataclass(frozen=True, eq=False)
class LayerPlan:
    """A layer with its output stage.

    Attributes
    ----------
    w_krsc, bias_k, multiplier_k, offset_k, shift_k
        Weights, and B_k, M_k, A_k, n_k of the output stage.
    pad_code
        The integer of a padded pixel.
    low, high
        The clamp of the output; ``low`` is the zero point where a rectifier ends the layer.
    """

    w_krsc: Ints
    bias_k: Ints
    multiplier_k: Ints
    offset_k: Ints
    shift_k: Ints
    datapath: Datapath
    stage: OutputStage
    window: Window
    pad_code: int
    low: int
    high: int


@dataclass(frozen=True, eq=False)
class StagePlan:
    """An output stage without a layer: B_k, M_k, A_k, n_k on words of format ``x``."""

    bias_k: Ints
    multiplier_k: Ints
    offset_k: Ints
    shift_k: Ints
    x: IntFormat
    stage: OutputStage
    low: int
    high: int


@dataclass(frozen=True, eq=False)
class AddPlan:
    """The end of a residual addition: two products of formats ``p`` and ``q`` with their shifts."""

    p_shift_k: Ints
    q_shift_k: Ints
    shift_k: Ints
    p: IntFormat
    q: IntFormat
    stage: OutputStage
    low: int
    high: int


class LayerResult(NamedTuple):
    """Codes of a layer's edge (or p, where its stage does not finish), channels last, and what they went through."""

    y_npqk: Ints
    events: Mapping[str, int]
    stage_overflows: int
    saturated: int
    accumulator: tuple[int, int] | None
    path: str


LayerRunner: TypeAlias = Callable[[Ints], LayerResult]
StageRunner: TypeAlias = Callable[[Ints], tuple[Ints, int, int]]
AddRunner: TypeAlias = Callable[[Ints, Ints], tuple[Ints, int, int]]


def split_bias(datapath: Datapath, bias_k: Ints) -> tuple[Ints, Ints]:
    """Return what the accumulators start at, and the bias that is left for the output stage.

    A register that wraps is loaded with the bias cut to its width: modulo ``2**bits`` nothing is lost by that.
    """
    nothing = np.zeros_like(bias_k)
    if not datapath.preload_bias:
        return nothing, bias_k
    start_k, register = bias_k if datapath.negates else -bias_k, datapath.accumulator
    return (wrap(start_k, register.format) if register.overflow == Overflow.WRAP else start_k), nothing


def run_by_parts(kernels: ModuleType, plan: LayerPlan, x_nhwc: Ints) -> LayerResult:
    """Return ``finish(scale(convolve(x)))`` by the kernels of a module: right for every datapath."""
    datapath, stage = plan.datapath, plan.stage
    initial_k, bias_k = split_bias(datapath, plan.bias_k)
    acc, events = kernels.convolve(x_nhwc, plan.w_krsc, initial_k, datapath, plan.window, plan.pad_code)
    registers = stage.centred, stage.product
    y, overflows = kernels.scale(acc, bias_k, plan.multiplier_k, plan.offset_k, *registers, datapath.negates)
    saturated = 0
    if stage.finish:
        y, saturated = kernels.finish(y, plan.shift_k, stage.rounding, plan.low, plan.high, stage.relu)
    extremes = (int(acc.min()), int(acc.max())) if acc.size else None
    path = kernels.path_taken(datapath, plan.window, plan.w_krsc, initial_k)
    return LayerResult(y, events, overflows, saturated, extremes, path)


def stage_by_parts(kernels: ModuleType, plan: StagePlan, x: Ints) -> tuple[Ints, int, int]:
    """Return (codes or p, overflows, saturated) of an output stage, part by part."""
    stage = plan.stage
    numbers = plan.bias_k, plan.multiplier_k, plan.offset_k
    y, overflows = kernels.scale(x, *numbers, stage.centred, stage.product, False)
    if not stage.finish:
        return y, overflows, 0
    y, saturated = kernels.finish(y, plan.shift_k, stage.rounding, plan.low, plan.high, stage.relu)
    return y, overflows, saturated


def add_by_parts(kernels: ModuleType, plan: AddPlan, p: Ints, q: Ints) -> tuple[Ints, int, int]:
    """Return (codes, overflows, saturated) of a residual addition, part by part."""
    stage = plan.stage
    total, overflows = kernels.add(p, q, plan.p_shift_k, plan.q_shift_k, stage.product)
    y, saturated = kernels.finish(total, plan.shift_k, stage.rounding, plan.low, plan.high, stage.relu)
    return y, overflows, saturated


NO_EVENTS = dict.fromkeys(EVENTS, 0)
