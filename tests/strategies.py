"""Hypothesis strategies: datapaths with narrow registers everywhere, and layers for them."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import strategies as st

from addersim.arithmetic.datapath import Datapath, Register, TreeCut, leaf_range
from addersim.arithmetic.fixed import IntFormat, Overflow, Rounding
from addersim.arithmetic.window import Window

OVERFLOWS, ROUNDINGS = list(Overflow), list(Rounding)


def stages(draw, signed, kind="leaf"):
    form = IntFormat(draw(st.integers(2, 9)), signed)
    return Register(form, draw(st.sampled_from(OVERFLOWS)))


@st.composite
def datapaths(draw):
    """Any datapath: narrow registers everywhere, both signs, trees, cuts, orders."""
    kind = draw(st.sampled_from(["adder", "multiplier"]))
    sign = draw(st.sampled_from(["positive", "negative"])) if kind == "adder" else "positive"
    x, w = (IntFormat(draw(st.integers(2, 5)), draw(st.booleans())) for _ in range(2))
    signed = sign == "negative" or leaf_range(kind, x, w)[0] < 0
    tree_inputs = draw(st.integers(1, 5))
    cut = None
    if draw(st.booleans()):
        cut = TreeCut(
            draw(st.integers(0, 3)),
            draw(st.sampled_from(ROUNDINGS)),
            IntFormat(draw(st.integers(2, 6)), signed),
            draw(st.sampled_from(OVERFLOWS)),
        )
    return Datapath(
        kind=kind,
        x=x,
        w=w,
        difference=stages(draw, True) if kind == "adder" else None,
        leaf=stages(draw, signed),
        accumulator=stages(draw, signed or draw(st.booleans())),
        tree_inputs=tree_inputs,
        tree=tuple(stages(draw, signed) for _ in range((tree_inputs - 1).bit_length())),
        cut=cut,
        order=draw(st.sampled_from(["".join(p) for p in itertools.permutations("rsc")])),
        sign=sign,
        weight_shift=draw(st.integers(0, 1)) if kind == "adder" else 0,
    )


def small_window(draw, groups):
    """Return a window of a few taps, with steps, padding and holes of any kind."""
    return Window(
        draw(st.integers(1, 3)),
        draw(st.integers(1, 2)),
        (draw(st.integers(1, 2)), draw(st.integers(1, 2))),
        (draw(st.integers(0, 1)), draw(st.integers(0, 2))),
        (draw(st.integers(1, 2)), 1),
        groups,
    )


@st.composite
def layers(draw):
    """Operands, window and pad code of a small layer for the datapath."""
    datapath = draw(datapaths())
    groups = draw(st.sampled_from([1, 1, 2]))
    window = small_window(draw, groups)
    C, K = groups * draw(st.integers(1, 6)), groups * draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    x = rng.integers(datapath.x.min, datapath.x.max, (draw(st.integers(1, 2)), 5, 4, C), endpoint=True)
    w = rng.integers(datapath.w.min, datapath.w.max, (K, window.R, window.S, C // groups), endpoint=True)
    initial = rng.integers(-20, 20, K) * draw(st.sampled_from([0, 1]))
    pad = draw(st.integers(datapath.x.min, datapath.x.max))
    return x, w, initial, datapath, window, pad
