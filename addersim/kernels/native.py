"""The twins of :mod:`addersim.kernels.reference` on the compiled core: same signatures, same bits.

Python checks shapes and widths, allocates, and picks the loop; C fills.
"""

from __future__ import annotations

import sys
from functools import partial

import numpy as np
from numpy.typing import NDArray

from addersim.datapath import EVENTS, Datapath, Stage, leaf_range
from addersim.errors import InputError
from addersim.fixed import IntFormat, Ints, Overflow, Rounding
from addersim.kernels import _native, fused, pointwise
from addersim.kernels.plan import (
    AddPlan,
    AddRunner,
    LayerPlan,
    LayerRunner,
    StagePlan,
    StageRunner,
    add_by_parts,
    run_by_parts,
    stage_by_parts,
)
from addersim.kernels.reference import Events, add, max_pool, sum_pool
from addersim.kernels.toggles import toggles
from addersim.loops import Window

__all__ = [
    "add",
    "convolve",
    "finish",
    "layer",
    "max_pool",
    "output_stage",
    "path_taken",
    "residual",
    "scale",
    "sum_pool",
    "toggles",
]

RUNNING = "running sum; exact since no register can overflow (bound over all operands of the format)"
STEPWISE = "step by step in the hardware's order"
MAX_TREE_INPUTS, MAX_LEVELS = 1 << 12, 12


def layer(plan: LayerPlan) -> LayerRunner:
    """Return a function that runs the layer: in one pass where that is provably exact, else part by part."""
    nothing = np.zeros_like(plan.bias_k)
    no_overflow = path_taken(plan.datapath, plan.window, plan.w_krsc, nothing) == RUNNING
    packed = fused.pack(plan, no_overflow)
    if packed is None:
        return partial(run_by_parts, sys.modules[__name__], plan)
    return partial(fused.run, packed)


def convolve(
    x_nhwc: Ints, w_krsc: Ints, initial_k: Ints, datapath: Datapath, window: Window, pad_code: int
) -> tuple[Ints, Events]:
    """See :func:`addersim.kernels.reference.convolve`, which defines the result."""
    (py, px), (K, R, S, C), groups = window.padding, w_krsc.shape, window.groups
    N, H, W, channels = x_nhwc.shape
    if channels != C * groups or K % groups or len(initial_k) != K or datapath.tree_inputs > MAX_TREE_INPUTS:
        raise InputError(f"convolve: input of {channels} channels, weights for {C * groups}, {groups} groups, K = {K}")
    P, Q = window.out_size(H, W)
    acc_npqk, events = np.empty((N, P, Q, K), np.int64), np.zeros(len(EVENTS), np.int64)
    if acc_npqk.size and w_krsc.size:
        padded = np.full((N, H + 2 * py, W + 2 * px, channels), pad_code, np.int32)
        padded[:, py : py + H, px : px + W] = x_nhwc
        sizes = (N, H + 2 * py, W + 2 * px, C, K // groups, P, Q, R, S, *window.stride, *window.dilation, groups)
        shape, flat = np.array(sizes, np.int64), acc_npqk.reshape(-1)
        initial = np.ascontiguousarray(initial_k, np.int64)
        if path_taken(datapath, window, w_krsc, initial_k) == RUNNING:
            w_grsck = w_krsc.reshape(groups, K // groups, R, S, C).transpose(0, 2, 3, 4, 1)
            negate = datapath.kind == "adder" and datapath.sign == "negative"
            w = np.ascontiguousarray(w_grsck, np.int32).reshape(-1)
            if datapath.kind == "adder":
                w = w << datapath.weight_shift
            _native.running(shape, datapath.kind == "adder", negate, padded.reshape(-1), w, initial, flat)
        else:
            w = np.ascontiguousarray(w_krsc, np.int32).reshape(-1)
            _native.stepwise(shape, _packed(datapath), padded.reshape(-1), w, initial, flat, events)
    return acc_npqk, dict(zip(EVENTS, events.tolist(), strict=True))


def output_stage(plan: StagePlan) -> StageRunner:
    """Return a function that runs an output stage: in one pass where nothing can overflow, else part by part."""
    return pointwise.stage(plan) or partial(stage_by_parts, sys.modules[__name__], plan)


def residual(plan: AddPlan) -> AddRunner:
    """Return a function that ends a residual addition: in one pass where 32 bits hold it, else part by part."""
    return pointwise.residual(plan) or partial(add_by_parts, sys.modules[__name__], plan)


def path_taken(datapath: Datapath, window: Window, w_krsc: Ints, initial_k: Ints) -> str:
    """Return which loop :func:`convolve` runs, and why that is exact.

    The plain sum is exact where the operands' formats alone prove that every register holds every value:
    leaf range times terms, plus the initial values, within each format, and within 31 bits.
    """
    depth = int(np.prod(w_krsc.shape[1:]))
    low, high = leaf_range(datapath.kind, datapath.x, datapath.w, datapath.weight_shift)
    if datapath.sign == "negative" and datapath.kind == "adder":
        low, high = -high, 0
    least, most = (int(initial_k.min()), int(initial_k.max())) if len(initial_k) else (0, 0)
    register = datapath.accumulator.format
    holds = (
        datapath.cut is None
        and (datapath.difference is None or datapath.difference.format.holds(-max(high, -low), max(high, -low)))
        and datapath.leaf.format.holds(low, high)
        and all(s.format.holds(low << (i + 1), high << (i + 1)) for i, s in enumerate(datapath.tree))
        and register.holds(least + min(0, low) * depth, most + max(0, high) * depth)
        and register.holds(least, most)
    )
    return RUNNING if holds and max(high, -low) * depth < 1 << 31 else STEPWISE


def scale(
    acc_npqk: Ints,
    bias_k: Ints,
    multiplier_k: Ints,
    offset_k: Ints,
    centred: IntFormat,
    product: IntFormat,
    negate: bool,
) -> tuple[Ints, int]:
    """See :func:`addersim.kernels.reference.scale`, which defines the result."""
    acc = np.ascontiguousarray(acc_npqk, np.int64)
    p = np.empty_like(acc)
    if not acc.size:
        return p, 0
    K = acc.shape[-1]
    parameters = [np.ascontiguousarray(np.broadcast_to(v, (K,)), np.int64) for v in (bias_k, multiplier_k, offset_k)]
    registers = [np.array(_register(Stage(form, Overflow.WRAP)), np.int32) for form in (centred, product)]
    return p, _native.scale(acc.reshape(-1, K), *parameters, *registers, negate, p.reshape(-1, K))


def finish(p_npqk: Ints, shift_k: Ints, rounding: Rounding, low: int, high: int, relu: bool) -> tuple[Ints, int]:
    """See :func:`addersim.kernels.reference.finish`, which defines the result."""
    p = np.ascontiguousarray(p_npqk, np.int64)
    y, K = np.empty_like(p), p.shape[-1]
    if not p.size:
        return y, 0
    shift = np.ascontiguousarray(np.broadcast_to(shift_k, (K,)), np.int64)
    mode = list(Rounding).index(rounding)
    return y, _native.finish(p.reshape(-1, K), shift, mode, low, high, relu, y.reshape(-1, K))


def _register(stage: Stage) -> list[int]:
    return [stage.format.bits, stage.format.signed, stage.overflow == Overflow.SATURATE]


def _packed(datapath: Datapath) -> NDArray[np.int32]:
    """Return the datapath as the int32 words of ``conv_datapath`` in ext/convolve.h."""
    cut, unused = datapath.cut, [1, 0, 0]
    modes = list(Rounding)
    head = [datapath.kind == "adder", datapath.sign == "negative", datapath.weight_shift, datapath.tree_inputs]
    head += [len(datapath.tree), cut is not None, cut.shift if cut else 0, modes.index(cut.rounding) if cut else 0]
    registers = [
        _register(datapath.difference) if datapath.difference else unused,
        _register(datapath.leaf),
        _register(Stage(cut.format, cut.overflow)) if cut else unused,
        _register(datapath.accumulator),
        *(_register(stage) for stage in datapath.tree),
        *[unused] * (MAX_LEVELS - len(datapath.tree)),
    ]
    words = [*head, *map(ord, datapath.order), *(word for register in registers for word in register)]
    assert len(words) == _native.DATAPATH_WORDS
    return np.array(words, np.int32)
