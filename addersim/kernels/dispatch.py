"""prove: the loop that computes a datapath exactly, the fastest one that a theorem allows."""

from __future__ import annotations

import numpy as np

from addersim.arithmetic.datapath import Datapath
from addersim.arithmetic.fixed import Ints
from addersim.kernels import lanes
from addersim.kernels.theorems import STEPWISE, Proof, adder, multiplier


def prove(datapath: Datapath, w_krsc: Ints, initial_k: Ints, groups: int = 1) -> Proof:
    """Return the fastest loop that is exact for every input of the format ``datapath.x``.

    Parameters
    ----------
    w_krsc
        The layer's weights: bounds are taken over them, not over their format.
    initial_k
        What the accumulators start at.
    groups
        Groups of channels.
    """
    fast = (adder if datapath.kind == "adder" else multiplier)(datapath, w_krsc, initial_k)
    if fast is not None and not _idle(w_krsc, groups):
        return fast
    form = datapath.accumulator.format
    ends = np.full((2, len(w_krsc)), [[form.min], [form.max]])
    least_k, most_k = (fast.least_k, fast.most_k) if fast else ends
    return Proof(lanes.narrowest(datapath, w_krsc, initial_k), STEPWISE, least_k, most_k, fast is None)


def _idle(w_krsc: Ints, groups: int) -> bool:
    """Whether groups have so few channels (depthwise) that panels of them would mostly hold nothing."""
    return w_krsc.shape[3] < 3 and len(w_krsc) < 3 * groups
