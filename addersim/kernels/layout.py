"""A layer as ext/layer.h wants it: the words of its plan beside the laid-out arrays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from addersim.arithmetic.datapath import Datapath
from addersim.arithmetic.fixed import Ints, Overflow
from addersim.errors import InputError
from addersim.kernels import _native, finishing, lanes
from addersim.kernels.dispatch import prove
from addersim.kernels.finishing import Finish
from addersim.kernels.isa import InstructionSet
from addersim.kernels.panels import LANE_BYTES, Panels, panels
from addersim.kernels.plan import LayerPlan
from addersim.kernels.theorems import Path, Proof, magnitude, rounding_terms

MAX_LEVELS, MAX_TREE_INPUTS = 12, 1 << 12
NO_REGISTER = [0, 0, 0, 0]
SATURATES, WRAPS, TOP_ONLY = range(3)  # lane_register.way
SLACK = 64  # bytes of a cache line, and behind the weights that a vector may touch


def pack(plan: LayerPlan, isa: InstructionSet, finish: Finish, initial_k: Ints, proof: Proof) -> _native.Layer:
    """Return the layer for the C core; ``initial_k`` is what the accumulators start at."""
    laid = panels(plan, proof.path, isa.vector_bytes)
    in_lanes = proof.path in LANE_BYTES
    stage = finish.wide() if in_lanes else finish
    words = _words(plan, proof, initial_k, laid, stage)
    if len(words) != _native.PLAN_WORDS:
        raise AssertionError(f"layer_plan has {_native.PLAN_WORDS} words, not {len(words)}")
    return _native.Layer(
        isa.name,
        np.array(words, np.int64),
        _aligned(laid.w.reshape(-1).view(np.uint8)),
        np.ascontiguousarray(laid.at, np.int32),
        np.zeros(1, np.int32) if laid.sums is None else laid.sums,
        finishing.panels(stage.rows_k, plan.window.groups, isa.vector_bytes // 4, plan.low),
        np.ascontiguousarray(initial_k, np.int64),
        stage.numbers_k,
    )


def pack_stage(finish: Finish, isa: InstructionSet, channels: int, low: int) -> _native.Layer:
    """Return an output stage without a layer for the C core."""
    head = [int(Path.PRODUCT16), channels, channels, 1, channels, *[0] * 10, *NO_REGISTER, *[0] * 7, *finish.words]
    words = np.zeros(_native.PLAN_WORDS, np.int64)
    words[: len(head)] = head
    rows = finishing.panels(finish.rows_k, 1, isa.vector_bytes // 4, low)
    nothing = np.zeros(SLACK, np.uint8), np.zeros((1, 3), np.int32), np.zeros(1, np.int32)
    return _native.Layer(isa.name, words, *nothing, rows, np.zeros(channels, np.int64), finish.numbers_k)


def _aligned(w: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a copy that begins at a cache line, with room behind it."""
    room = np.zeros(w.size + 2 * SLACK, np.uint8)
    first = -room.ctypes.data % SLACK
    room[first : first + w.size] = w
    return room[first : first + w.size + SLACK]


def proof_of(plan: LayerPlan, initial_k: Ints) -> Proof:
    """Return the loop for a layer and why it is exact.

    Raises
    ------
    InputError
        If the datapath's tree is larger than the C core's.
    """
    if plan.datapath.tree_inputs > MAX_TREE_INPUTS:
        raise InputError(
            f"tree_inputs = {plan.datapath.tree_inputs}: the native core sums up to {MAX_TREE_INPUTS} at once"
        )
    return prove(plan.datapath, plan.w_krsc, initial_k, plan.window.groups)


def _words(plan: LayerPlan, proof: Proof, initial_k: Ints, laid: Panels, finish: Finish) -> list[int]:
    """Return the words of ``layer_plan``, in its order."""
    d, window, (K, R, S, C) = plan.datapath, plan.window, plan.w_krsc.shape
    up = d.kind == "multiplier" or d.sign == "positive"
    in_lanes = proof.path in LANE_BYTES
    settles = not in_lanes and (not up or proof.may_overflow or bool(np.any(initial_k)))
    registers = _lane_registers(d, plan.w_krsc, initial_k) if in_lanes else {}
    head = [int(proof.path), C, K // window.groups, window.groups, laid.channels, *window.stride, *window.padding]
    head += [laid.least, plan.pad_code - laid.least, len(laid.at), R * S, 1 if up else -1, settles]
    head += registers.get("accumulator", NO_REGISTER) if in_lanes else _accumulator(d, proof)
    return [*head, *_segment(d, proof.path), *finish.words, *_lane_datapath(d, registers)]


def _accumulator(d: Datapath, proof: Proof) -> list[int]:
    """Return active, way, low, high of the register behind a sum of 32 bits."""
    form, limit = d.accumulator.format, 1 << 31
    wraps = proof.may_overflow and d.accumulator.overflow == Overflow.WRAP
    return [proof.may_overflow, WRAPS if wraps else SATURATES, max(form.min, -limit), min(form.max, limit - 1)]


def _segment(d: Datapath, path: Path) -> list[int]:
    """Return steps per tree sum, its largest value, the largest behind the cut, and the cut's rounding."""
    if path != Path.SEGMENT8:
        return [0] * 7
    top = (1 << 31) - 1
    caps = [d.tree_inputs // 8, min(top, magnitude(d.tree[-1].format, d))]
    if d.cut is None:
        return [*caps, top, 0, 0, 0, 0]
    shift, half, odd = rounding_terms(d.cut.shift, d.cut.rounding, negative=d.sign == "negative")
    return [*caps, min(top, magnitude(d.cut.format, d)), shift, half, 0, odd]


def _lane_datapath(d: Datapath, registers: dict[str, list[int]]) -> list[int]:
    cut = finishing.rounding_words(d.cut.shift, d.cut.rounding) if d.cut else (0, 0, 0, 0)
    head = [d.kind == "adder", d.sign == "negative", d.tree_inputs, len(d.tree), d.cut is not None, *cut]
    names = ["difference", "leaf", "cut", *(f"tree{i}" for i in range(MAX_LEVELS))]
    return head + [word for name in names for word in registers.get(name, NO_REGISTER)]


def _lane_registers(d: Datapath, w_krsc: Ints, initial_k: Ints) -> dict[str, list[int]]:
    front, back = lanes.walk(d, w_krsc, initial_k)
    passed = {**front.passed, **back.passed}
    return {
        name: [1, WRAPS if p.register.overflow == Overflow.WRAP else TOP_ONLY if p.top_only else SATURATES,
               p.register.format.min, p.register.format.max]
        for name, p in passed.items()
        if p.missed
    }  # fmt: skip
