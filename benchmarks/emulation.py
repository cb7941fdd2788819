"""Datapaths that no theorem makes fast: the hardware's order step by step, and requantised tree sums."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from timing import interleave

from addersim.arithmetic.datapath import Datapath, Register, TreeCut, exact_datapath, with_accumulator
from addersim.arithmetic.fixed import IntFormat, Overflow, Rounding
from addersim.arithmetic.output_stage import OutputStage
from addersim.arithmetic.window import Window
from addersim.kernels import native
from addersim.kernels.plan import LayerPlan

U8, S8, U16 = IntFormat(8, False), IntFormat(8, True), IntFormat(16, False)
DEPTH = 9 * 64
TREE = exact_datapath("adder", U8, U8, DEPTH, tree_inputs=8)
NARROW = tuple(Register(IntFormat(bits, False), Overflow.SATURATE) for bits in (8, 9, 10))
DATAPATHS: dict[str, tuple[Datapath, str]] = {
    "8-leaf tree, saturating nodes of 8, 9, 10 bits": (replace(TREE, tree=NARROW), ">= 10"),
    "8-leaf tree, saturating nodes of 8 bits": (replace(TREE, tree=(NARROW[0],) * 3), ">= 10"),
    "saturating accumulator of 12 bits": (with_accumulator(exact_datapath("adder", U8, U8, DEPTH), 12), ">= 8"),
    "the same behind a saturating difference": (
        replace(
            with_accumulator(exact_datapath("adder", U8, U8, DEPTH), 12),
            difference=Register(IntFormat(8, True), Overflow.SATURATE),
        ),
        ">= 8",
    ),
    "saturating accumulator of products, 18 bits": (
        with_accumulator(exact_datapath("multiplier", U8, S8, DEPTH), 18),
        ">= 8",
    ),
    "16-bit products, accumulator of 36 bits": (
        with_accumulator(exact_datapath("multiplier", U16, U16, DEPTH), 36),
        "",
    ),
    "requantised sums of 8 (half_even, 9 bits)": (
        replace(TREE, cut=TreeCut(2, Rounding.HALF_EVEN, IntFormat(9, False))),
        ">= 15",
    ),
    "requantised sums of 16 (half_up, 9 bits)": (
        replace(
            exact_datapath("adder", U8, U8, DEPTH, tree_inputs=16),
            cut=TreeCut(2, Rounding.HALF_UP, IntFormat(9, False)),
        ),
        ">= 15",
    ),
}


def race(rounds: int) -> None:
    """Print G taps/s of every datapath on 64 channels, 16 x 16 pixels, 3 x 3 taps."""
    print("\nexact datapaths that clip: G taps/s (asked), and the loop that ran")
    rng = np.random.default_rng(0)
    for name, (datapath, asked) in DATAPATHS.items():
        w = rng.integers(datapath.w.min, datapath.w.max, (64, 3, 3, 64), endpoint=True)
        x = rng.integers(0, datapath.x.max, (1, 16, 16, 64), endpoint=True)
        nothing, stage = np.zeros(64, np.int64), OutputStage(IntFormat(40, True), IntFormat(50, True))
        window = Window(3, 3, padding=(1, 1))
        plan = LayerPlan(w, nothing, nothing + 1, nothing, nothing + 4, datapath, stage, window, 0, 0, 255)
        run = native.layer(plan)
        codes = x.astype(np.uint8 if datapath.x.bits == 8 else np.uint16)
        times = interleave({name: lambda run=run, codes=codes: run(codes)}, rounds)  # type: ignore[misc]
        rate = 1e-9 * 64 * 16 * 16 * DEPTH / np.median(times[name])
        print(f"  {name:48s} {rate:6.1f} {asked:6s} {run(codes).path.split(':')[0]}")
