"""The twins of :mod:`addersim.kernels.reference` on the compiled core: same signatures, same bits.

Python checks shapes and widths, allocates, and picks the loop; C fills.
"""

from __future__ import annotations

import sys
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from addersim.arithmetic.datapath import EVENTS, Datapath, Register
from addersim.arithmetic.fixed import IntFormat, Ints, Overflow, Rounding
from addersim.arithmetic.output_stage import OutputStage
from addersim.arithmetic.window import Window
from addersim.errors import InputError
from addersim.kernels import _native, finishing, layout, pointwise, reference
from addersim.kernels.dispatch import prove
from addersim.kernels.isa import InstructionSet, instruction_set
from addersim.kernels.plan import (
    NO_EVENTS,
    AddPlan,
    AddRunner,
    LayerPlan,
    LayerResult,
    LayerRunner,
    StagePlan,
    StageRunner,
    add_by_parts,
    run_by_parts,
    split_bias,
    stage_by_parts,
)
from addersim.kernels.reference import Events, add
from addersim.kernels.tape import empty, made, unrecorded
from addersim.kernels.theorems import LOOPS, Proof
from addersim.kernels.toggles import toggles

__all__ = [
    "add",
    "convolve",
    "finish",
    "flatten",
    "layer",
    "max_pool",
    "output_stage",
    "path_taken",
    "quantise",
    "residual",
    "scale",
    "sum_pool",
    "toggles",
]


OPERAND = IntFormat(32, True)
MOST_WORDS = 1 << 29  # of four bytes, that a window may span


def layer(plan: LayerPlan) -> LayerRunner:
    """Return a function that runs the layer in one call of the core, whatever its datapath."""
    if not _in_reach(plan):
        return unrecorded(partial(run_by_parts, sys.modules[__name__], plan))
    K = len(plan.w_krsc)
    split = split_bias(plan.datapath, plan.bias_k)
    initial_k, bias_k = (np.broadcast_to(np.asarray(v, np.int64), (K,)) for v in split)
    proof, isa = layout.proof_of(plan, initial_k), instruction_set()
    numbers = bias_k, plan.multiplier_k, plan.offset_k, plan.shift_k
    ends = proof.least_k, proof.most_k
    finish = finishing.finish(plan.stage, numbers, (plan.low, plan.high), ends, negate=plan.datapath.negates)
    packed = layout.pack(plan, isa, finish, initial_k, proof)
    return _runner(packed, plan, finish.word, _path(proof, isa))


def _in_reach(plan: LayerPlan) -> bool:
    """Check a layer's shapes and codes, and return whether the core's 32-bit operands hold its inputs.

    Raises
    ------
    InputError
        If weights, window and groups do not fit together, or padded pixels have no code.
    """
    (K, R, S, _), window, x = plan.w_krsc.shape, plan.window, plan.datapath.x
    if (R, S) != (window.R, window.S) or K % window.groups or not plan.w_krsc.size:
        raise InputError(
            f"weights of shape {plan.w_krsc.shape}, {window.groups} groups, window {window.R} x {window.S}"
        )
    if any(window.padding) and not x.holds(plan.pad_code, plan.pad_code):
        raise InputError(f"padded pixels hold {plan.pad_code}, the input's format is {x}")
    return OPERAND.holds(x.min, x.max)


def _path(proof: Proof, isa: InstructionSet) -> str:
    return f"{LOOPS[proof.path]} ({isa.name}): {proof.theorem}"


def _pixel_words(plan: LayerPlan) -> int:
    """Return the words of a pixel in the core's copy, filled up to vectors or trees, or a few more."""
    return plan.window.groups * (int(plan.w_krsc.shape[3]) + max(8, plan.datapath.tree_inputs))


def _runner(packed: _native.Layer, plan: LayerPlan, word: np.dtype[Any], path: str) -> LayerRunner:
    """Return the function that runs a packed layer; what it needs to know of an input's shape is worked out once."""
    y_shape = lru_cache(64)(partial(_output_shape, plan.window, plan.w_krsc.shape, _pixel_words(plan)))

    def run(x_nhwc: Ints) -> LayerResult:
        y = empty(y_shape(x_nhwc.shape), word)
        if not y.size:
            return LayerResult(y, NO_EVENTS, 0, 0, None, path)
        try:
            step = packed.run(x_nhwc, y)
        except (BufferError, ValueError):  # not words as they lie in C
            x_nhwc = finishing.as_words(x_nhwc)
            step = packed.run(x_nhwc, y)
        saturated, overflows, extremes, events = made(step, x_nhwc)
        named = NO_EVENTS if events is None else dict(zip(EVENTS, events, strict=True))
        return LayerResult(y, named, overflows, saturated, extremes, path)

    return run


def _output_shape(
    window: Window, w_shape: tuple[int, ...], pixel_words: int, x_shape: tuple[int, ...]
) -> tuple[int, ...]:
    """Return (N, P, Q, K), after checking everything that the core relies on."""
    (N, H, W, channels), K = x_shape, w_shape[0]
    P, Q = window.out_size(H, W)
    if channels != w_shape[3] * window.groups or P < 1 or Q < 1:
        raise InputError(
            f"input of {H} x {W} x {channels}, expected {w_shape[3] * window.groups} channels "
            f"and room for a window of {window.R} x {window.S}"
        )
    rows = (window.R - 1) * window.dilation[0] + 1
    if rows * (W + 2 * window.padding[1]) * pixel_words >= MOST_WORDS:
        raise InputError(f"a window of {rows} rows of {W} x {channels} words is more than the core takes")
    return N, P, Q, K


def convolve(
    x_nhwc: Ints, w_krsc: Ints, initial_k: Ints, datapath: Datapath, window: Window, pad_code: int
) -> tuple[Ints, Events]:
    """See :func:`addersim.kernels.reference.convolve`, which defines the result."""
    K, _, _, C = w_krsc.shape
    channels = x_nhwc.shape[3]
    if channels != C * window.groups or K % window.groups or len(initial_k) != K:
        raise InputError(
            f"convolve: input of {channels} channels, weights for {C * window.groups}, {window.groups} groups, K = {K}"
        )
    if x_nhwc.size and not datapath.x.holds(int(x_nhwc.min()), int(x_nhwc.max())):
        raise InputError(f"convolve: x holds {x_nhwc.min()} to {x_nhwc.max()}, its format is {datapath.x}")
    nothing, stage = np.zeros(K, np.int64), OutputStage(IntFormat(1, True), IntFormat(1, True))
    plan = LayerPlan(w_krsc, nothing, nothing, nothing, nothing, datapath, stage, window, pad_code, low=0, high=0)
    if not _in_reach(plan):
        return reference.convolve(x_nhwc, w_krsc, initial_k, datapath, window, pad_code)
    initial_k = np.asarray(initial_k, np.int64)
    proof, isa, finish = layout.proof_of(plan, initial_k), instruction_set(), finishing.raw(K)
    packed = layout.pack(plan, isa, finish, initial_k, proof)
    result = _runner(packed, plan, finish.word, "")(x_nhwc)
    return result.y_npqk, dict(result.events)


def path_taken(datapath: Datapath, window: Window, w_krsc: Ints, initial_k: Ints) -> str:
    """Return which loop :func:`convolve` runs, and the theorem that makes it exact."""
    if not OPERAND.holds(datapath.x.min, datapath.x.max):
        return reference.path_taken(datapath, window, w_krsc, initial_k)
    return _path(prove(datapath, w_krsc, initial_k, window.groups), instruction_set())


def output_stage(plan: StagePlan) -> StageRunner:
    """Return a function that runs an output stage: in one pass where nothing can overflow, else part by part."""
    return pointwise.stage(plan, instruction_set()) or unrecorded(partial(stage_by_parts, sys.modules[__name__], plan))


def residual(plan: AddPlan) -> AddRunner:
    """Return a function that ends a residual addition: in one pass where 32 bits hold it, else part by part."""
    return pointwise.residual(plan, instruction_set().name) or unrecorded(
        partial(add_by_parts, sys.modules[__name__], plan)
    )


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
    registers = [np.array(_register(Register(form, Overflow.WRAP)), np.int32) for form in (centred, product)]
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


def _register(register: Register) -> list[int]:
    return [register.format.bits, register.format.signed, register.overflow == Overflow.SATURATE]


def quantise(x_nchw: NDArray[Any], step: float, zero_point: int, form: IntFormat) -> tuple[Ints, int]:
    """See :func:`addersim.kernels.reference.quantise`, which defines the result."""
    if form.bits > 31 or x_nchw.ndim < 2:
        return reference.quantise(x_nchw, step, zero_point, form)
    real = np.float32 if x_nchw.dtype.itemsize <= 4 else np.float64
    x = np.ascontiguousarray(x_nchw, real)
    N, C, *image = x.shape
    y = np.empty((N, *image, C), finishing.word_for(form.min, form.max))
    pixels = int(np.prod(image, dtype=np.int64))
    return y, _native.quantise(x, pixels, step, zero_point, form.min, form.max, y) if y.size else 0


def max_pool(x_nhwc: Ints, window: Window) -> Ints:
    """See :func:`addersim.kernels.reference.max_pool`, which defines the result."""
    x = finishing.as_words(x_nhwc)
    shape, y_shape = _pool_shape(x.shape, window)
    y = empty(y_shape, x.dtype)
    if y.size:
        made(_native.max_pool(shape, x, y), x)
    return y


def flatten(x_nhwc: Ints) -> Ints:
    """See :func:`addersim.kernels.reference.flatten`, which defines the result."""
    x = finishing.as_words(x_nhwc)
    N, H, W, C = x.shape
    y = empty((N, C * H * W), x.dtype)
    if y.size:
        made(_native.flatten(x, y), x)
    return y


def sum_pool(x_nhwc: Ints, window: Window, pad_code: int, factor_pq: Ints) -> Ints:
    """See :func:`addersim.kernels.reference.sum_pool`, which defines the result."""
    x = finishing.as_words(x_nhwc)
    shape, y_shape = _pool_shape(x.shape, window)
    factor_pq = np.ascontiguousarray(np.broadcast_to(factor_pq, y_shape[1:3]), np.int64)
    reach = max(-np.iinfo(x.dtype).min, np.iinfo(x.dtype).max, abs(pad_code)) * window.R * window.S
    wide = reach * int(np.abs(factor_pq).max(initial=1)) >= 1 << 31
    y = empty(y_shape, np.int64 if wide else np.int32)
    if y.size:
        made(_native.sum_pool(shape, x, pad_code, factor_pq, y), x)
    return y


def _pool_shape(x_shape: tuple[int, ...], window: Window) -> tuple[Ints, tuple[int, ...]]:
    """Return the words of ``pool_shape`` in ext/images.h, and the shape of the result."""
    N, H, W, C = x_shape
    P, Q = window.out_size(H, W)
    words = (N, H, W, C, P, Q, window.R, window.S, *window.stride, *window.padding, *window.dilation)
    return np.array(words, np.int64), (N, max(P, 0), max(Q, 0), C)
