"""Step-by-step emulation: which registers can be missed, and how wide a lane must be to hold what happens."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from addersim.datapath import Datapath, Stage
from addersim.fixed import Ints, Overflow, Rounding
from addersim.kernels.theorems import Path, difference_range

@dataclass(eq=False)
class Walk:
    """Intervals through the stages of a datapath, for every x of its format and the weights given.

    Attributes
    ----------
    active
        Per register passed: the stage, and whether a value may miss it, at its top only or anyhow.
    reach
        The largest magnitude of any intermediate.
    """

    reach: int = 0
    active: dict[str, tuple[Stage, bool, bool]] = field(default_factory=dict)

    def through(self, name: str, stage: Stage, low: int, high: int) -> tuple[int, int]:
        """Return the range behind a register that values between ``low`` and ``high`` enter."""
        form = stage.format
        active = not form.holds(low, high)
        self.active[name] = stage, active, low >= form.min
        self.reach = max(self.reach, -low, high)
        if not active:
            return low, high
        self.reach = max(self.reach, max(-low, high) + 2 * max(-form.min, form.max) + 1)
        if stage.overflow == Overflow.WRAP:
            return form.min, form.max
        return min(max(low, form.min), form.max), min(max(high, form.min), form.max)


def walk(d: Datapath, w_krsc: Ints, initial_k: Ints) -> tuple[Walk, Walk]:
    """Return the walk to the accumulator, and the accumulator's own."""
    front, back = Walk(), Walk()
    low, high = _leaves(d, w_krsc, front)
    low, high = min(low, 0), max(high, 0)  # leaves beyond C are 0
    nodes = d.tree_inputs
    for i, stage in enumerate(d.tree):
        cut = front.through(f"tree{i}", stage, 2 * low, 2 * high)
        passing = (low, high) if nodes % 2 else cut  # an odd last node meets no register
        low, high, nodes = min(cut[0], passing[0]), max(cut[1], passing[1]), (nodes + 1) // 2
    if d.cut is not None:
        front.reach = max(front.reach, max(-low, high) + (1 << d.cut.shift))
        low, high = (low >> d.cut.shift) - 1, (high >> d.cut.shift) + 1
        low, high = front.through("cut", Stage(d.cut.format, d.cut.overflow), low, high)
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


def rounding_words(shift: int, rounding: Rounding) -> list[int]:
    """Return shift, half, below, odd of layer.h: ``(v + half + (below if v < 0) + (odd & v >> shift)) >> shift``."""
    unit, half, some = (1 << shift) - 1, (1 << shift) >> 1, int(shift > 0)
    terms = {
        Rounding.FLOOR: (0, 0, 0),
        Rounding.HALF_UP: (half, 0, 0),
        Rounding.HALF_EVEN: (half - some, 0, some),
        Rounding.HALF_AWAY: (half, -some, 0),
        Rounding.TO_ZERO: (0, unit, 0),
    }
    return [shift, *terms[rounding]]


def weights(d: Datapath, w_krsc: Ints, lanes: int) -> np.ndarray:
    """Return (blocks, steps * T, lanes): weights in the order of the steps, shifted; idle lanes and leaves hold 0."""
    K, R, S, C = w_krsc.shape
    T = d.tree_inputs
    groups = -(-C // T)
    w = np.zeros((-(-K // lanes) * lanes, R, S, groups * T), np.int64)
    w[:K, :, :, :C] = w_krsc
    w_krscT = (w << d.weight_shift).reshape(len(w), R, S, groups, T)
    ordered = w_krscT.transpose(0, *("rsc".index(letter) + 1 for letter in d.order), 4)
    return np.ascontiguousarray(ordered.reshape(-1, lanes, R * S * groups * T).transpose(0, 2, 1))


def taps(d: Datapath, w_krsc: Ints) -> np.ndarray:
    """Return (steps * T, 3): kernel row, kernel column, channel of every leaf in order; channel -1 beyond C."""
    _, R, S, C = w_krsc.shape
    T = d.tree_inputs
    size = {"r": R, "s": S, "c": -(-C // T)}
    index = np.indices([size[letter] for letter in d.order]).reshape(3, -1)
    r, s, c = (np.repeat(index[d.order.index(letter)], T) for letter in "rsc")
    channel = c * T + np.tile(np.arange(T), len(c) // T)
    return np.stack([r, s, np.where(channel < C, channel, -1)], axis=1)
