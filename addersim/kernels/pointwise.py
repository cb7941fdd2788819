"""Output stages and residual additions on the native core, where it provably holds what they make."""

from __future__ import annotations

from functools import partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from addersim.arithmetic.fixed import IntFormat, Ints, Rounding
from addersim.errors import InputError
from addersim.kernels import _native, finishing, layout
from addersim.kernels.isa import InstructionSet
from addersim.kernels.plan import AddPlan, AddRunner, StagePlan, StageRunner
from addersim.kernels.tape import empty, made

WORD = IntFormat(32, True)
Packed: TypeAlias = tuple[_native.Layer, np.dtype[Any]]


def stage(plan: StagePlan, isa: InstructionSet) -> StageRunner | None:
    """Return a function that runs the stage, or ``None`` where 32 bits do not hold its input."""
    return partial(_run_stage, isa, plan, {}) if plan.x.bits <= 31 else None


def _run_stage(isa: InstructionSet, plan: StagePlan, known: dict[int, Packed], x: Ints) -> tuple[Ints, int, int]:
    channels = x.shape[-1]
    if channels not in known:  # parameters may be one number for all channels: only the data tell how many
        known[channels] = _packed(isa, plan, channels)
    layer, word = known[channels]
    y, x = empty(x.shape, word), finishing.as_words(x)
    if not y.size:
        return y, 0, 0
    saturated, overflows, *_ = made(layer.stage(x, y, x.size // channels), x)
    return y, overflows, saturated


def _packed(isa: InstructionSet, plan: StagePlan, channels: int) -> Packed:
    ends = np.full(channels, plan.x.min, np.int64), np.full(channels, plan.x.max, np.int64)
    b, m, a, n = (
        np.broadcast_to(v, (channels,)) for v in (plan.bias_k, plan.multiplier_k, plan.offset_k, plan.shift_k)
    )
    finish = finishing.finish(plan.stage, (b, m, a, n), (plan.low, plan.high), ends, negate=False)
    return layout.pack_stage(finish, isa, channels, plan.low), finish.word


def residual(plan: AddPlan, isa: str) -> AddRunner | None:
    """Return a function that adds, rounds and clamps, or ``None`` where 32 bits might not hold the sum."""
    own = plan.stage
    left = [plan.shift_k - shift for shift in (plan.p_shift_k, plan.q_shift_k)]
    if min(int(v.min()) for v in left) < 0 or np.any(np.minimum(*left)) or not WORD.holds(plan.low, plan.high):
        return None
    reach = sum(max(-form.min, form.max) << int(v.max()) for form, v in zip((plan.p, plan.q), left, strict=True))
    half = np.where(plan.shift_k > 0, 1 << np.maximum(plan.shift_k - 1, 0), 0)
    small = reach + int(half.max()) < 1 << 31 and own.product.holds(-reach, reach) and int(plan.shift_k.max()) < 31
    if own.rounding != Rounding.HALF_UP or not small:
        return None
    return partial(_run_residual, isa, plan, np.stack([*left, half, plan.shift_k]).astype(np.int32))


def _run_residual(isa: str, plan: AddPlan, found: NDArray[np.int32], p: Ints, q: Ints) -> tuple[Ints, int, int]:
    if p.shape != q.shape:
        raise InputError(f"residual addition of shapes {p.shape} and {q.shape}")
    y = empty(p.shape, finishing.word_for(plan.low, plan.high))
    channels = p.shape[-1]
    if not y.size:
        return y, 0, 0
    terms = [np.ascontiguousarray(v, np.int32).reshape(-1) for v in (p, q)]
    constants = np.ascontiguousarray(np.broadcast_to(found, (4, channels))).reshape(-1)
    clamp = plan.low, plan.high, plan.stage.relu
    pixels = p.size // channels
    saturated, *_ = made(_native.residual(isa, pixels, channels, *terms, constants, *clamp, y), *terms)
    return y, 0, saturated
