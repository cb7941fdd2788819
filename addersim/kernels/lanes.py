"""Step-by-step emulation: which registers can be missed, and how wide a lane must be to hold what happens."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from addersim.arithmetic.datapath import Datapath, Register
from addersim.arithmetic.fixed import Ints, Overflow
from addersim.kernels.theorems import Path, difference_range


class Passed(NamedTuple):
    """A register that values went through, whether some may miss it, and whether only at its top."""

    register: Register
    missed: bool
    top_only: bool


@dataclass(eq=False)
class Walk:
    """Intervals through the stages of a datapath, for every x of its format and the weights given.

    Attributes
    ----------
    passed
        The registers by name.
    reach
        The largest magnitude of any intermediate.
    """

    reach: int = 0
    passed: dict[str, Passed] = field(default_factory=dict)

    def through(self, name: str, register: Register, low: int, high: int) -> tuple[int, int]:
        """Return the range behind a register that values between ``low`` and ``high`` enter."""
        form = register.format
        missed = not form.holds(low, high)
        self.passed[name] = Passed(register, missed, low >= form.min)
        self.reach = max(self.reach, -low, high)
        if not missed:
            return low, high
        self.reach = max(self.reach, max(-low, high) + 2 * max(-form.min, form.max) + 1)
        if register.overflow == Overflow.WRAP:
            return form.min, form.max
        return min(max(low, form.min), form.max), min(max(high, form.min), form.max)


def walk(d: Datapath, w_krsc: Ints, initial_k: Ints) -> tuple[Walk, Walk]:
    """Return the walk to the accumulator, and the accumulator's own."""
    front, back = Walk(), Walk()
    low, high = _leaves(d, w_krsc, front)
    low, high = min(low, 0), max(high, 0)  # leaves beyond C are 0
    nodes = d.tree_inputs
    for i, register in enumerate(d.tree):
        cut = front.through(f"tree{i}", register, 2 * low, 2 * high)
        passing = (low, high) if nodes % 2 else cut  # an odd last node meets no register
        low, high, nodes = min(cut[0], passing[0]), max(cut[1], passing[1]), (nodes + 1) // 2
    if d.cut is not None:
        front.reach = max(front.reach, max(-low, high) + (1 << d.cut.shift))
        low, high = (low >> d.cut.shift) - 1, (high >> d.cut.shift) + 1
        low, high = front.through("cut", Register(d.cut.format, d.cut.overflow), low, high)
    steps = w_krsc.shape[1] * w_krsc.shape[2] * -(-w_krsc.shape[3] // d.tree_inputs)
    start = (int(initial_k.min()), int(initial_k.max())) if initial_k.size else (0, 0)
    low, high = min(low, 0), max(high, 0)
    form = d.accumulator.format
    sums = start[0] + low * steps, start[1] + high * steps
    if not form.holds(*sums):  # the register's own range, and one term more
        sums = max(sums[0], min(form.min, start[0]) + low), min(sums[1], max(form.max, start[1]) + high)
    back.through("accumulator", d.accumulator, *sums)
    return front, back


def _leaves(d: Datapath, w_krsc: Ints, walked: Walk) -> tuple[int, int]:
    ends = (int(w_krsc.min()), int(w_krsc.max())) if w_krsc.size else (0, 0)
    walked.reach = max(-d.x.min, d.x.max, *(abs(v) << d.weight_shift for v in ends))
    if d.difference is None:
        corners = [x * w for x in (d.x.min, d.x.max) for w in ends]
        return walked.through("leaf", d.leaf, min(corners), max(corners))
    low, high = walked.through("difference", d.difference, *difference_range(d, w_krsc))
    walked.reach = max(walked.reach, -low, high)
    top = max(-low, high)
    return walked.through("leaf", d.leaf, *((0, top) if d.sign == "positive" else (-top, 0)))


def narrowest(d: Datapath, w_krsc: Ints, initial_k: Ints) -> Path:
    """Return the narrowest lanes in which nothing is lost that the hardware keeps."""
    front, back = walk(d, w_krsc, initial_k)
    if back.reach >= 1 << 31 or front.reach >= 1 << 31:
        return Path.LANES64
    return Path.LANES16 if front.reach < 1 << 15 else Path.LANES32
