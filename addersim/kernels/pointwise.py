"""Output stages and residual additions in one pass of the native core, where 32 bits provably hold them."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from addersim.fixed import Ints, Rounding
from addersim.kernels import _native
from addersim.kernels.fused import Numbers, holds, instruction_set, numbers
from addersim.kernels.plan import AddPlan, AddRunner, StagePlan, StageRunner


def stage(plan: StagePlan) -> StageRunner | None:
    """Return a function that runs the stage, or ``None`` where a register could overflow or no fast loop runs."""
    isa, own = instruction_set(), plan.stage
    extremes = [np.array([end], np.int64) for end in (plan.x.min, plan.x.max)]
    if isa is None or plan.x.bits > 31 or (own.finish and own.rounding != Rounding.HALF_UP):
        return None
    parameters = plan.bias_k, plan.multiplier_k, plan.offset_k, plan.shift_k
    if not holds(extremes, *parameters[:3], own):
        return None
    return partial(_run_stage, isa[0], plan, numbers(extremes, *parameters, plan.low, plan.high))


def _run_stage(isa: str, plan: StagePlan, found: Numbers, x: Ints) -> tuple[Ints, int, int]:
    channels = x.shape[-1]
    y: Any = np.empty(x.shape, np.int64 if found.wide else np.int32)
    if not y.size:
        return y, 0, 0
    stage = np.ascontiguousarray(np.broadcast_to(found.stage, (5, channels))).reshape(-1)
    flags = (0, 0, plan.stage.finish, plan.stage.relu, plan.low, plan.high, found.wide)
    shape = np.array((0, 0, 0, 0, channels, 0, 0, 0, 0, 1, 0, *flags), np.int64)
    words = np.ascontiguousarray(x, np.int32).reshape(-1)
    out = y.reshape(-1).view(np.uint8)
    return y, 0, _native.stage_only(isa, shape, x.size // channels, words, stage, out)


def residual(plan: AddPlan) -> AddRunner | None:
    """Return a function that adds, rounds and clamps, or ``None`` where 32 bits might not hold the sum."""
    isa, own = instruction_set(), plan.stage
    left = [plan.shift_k - shift for shift in (plan.p_shift_k, plan.q_shift_k)]
    reach = sum(1 << (form.bits - 1 + int(v.max())) for form, v in zip((plan.p, plan.q), left, strict=True))
    half = np.where(plan.shift_k > 0, 1 << np.maximum(plan.shift_k - 1, 0), 0)
    small = reach + int(half.max()) < 1 << 31 and own.product.holds(-reach, reach) and int(plan.shift_k.max()) < 31
    if isa is None or own.rounding != Rounding.HALF_UP or not small or min(int(v.min()) for v in left) < 0:
        return None
    return partial(_run_residual, isa[0], plan, np.stack([*left, half, plan.shift_k]).astype(np.int32))


def _run_residual(isa: str, plan: AddPlan, found: NDArray[np.int32], p: Ints, q: Ints) -> tuple[Ints, int, int]:
    y: Any = np.empty(p.shape, np.int32)
    channels = p.shape[-1]
    if not y.size:
        return y, 0, 0
    terms = [np.ascontiguousarray(v, np.int32).reshape(-1) for v in (p, q)]
    constants = np.ascontiguousarray(np.broadcast_to(found, (4, channels))).reshape(-1)
    clamp = plan.low, plan.high, plan.stage.relu
    return y, 0, _native.residual(isa, p.size // channels, channels, *terms, constants, *clamp, y.reshape(-1))
