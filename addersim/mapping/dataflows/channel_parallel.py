"""Channel parallel: every cycle does one kernel tap of ``rows`` input channels for ``cols`` output channels.

Published AdderNet accelerators on FPGAs are built like this (mqhuangGit/AdderNet-FPGA: 16 x 16 channels, an
adder tree over the input channels, one kernel tap per cycle). A pixel's ``rows`` input words go to all columns,
every element has its own weight, a tree (``tree_inputs`` of the machine) sums each column, and an accumulator
below it keeps the sum until the output is complete. Loops, outermost first: group, pixel, fold of output
channels, tap, fold of input channels. Nothing is skewed and nothing hops; the tree's registers are among
``pipeline_stages`` of the machine. A depthwise layer has one input channel per group and leaves most of the array
idle. Groups run one after another.
"""

from __future__ import annotations

from addersim.mapping.dataflows.schedule import DATAFLOWS, Schedule, folds
from addersim.network.loops import LoopNest


def channel_parallel(loops: LoopNest, rows: int, cols: int) -> Schedule:
    """Return ``cycles = groups * pixels * R * S * ceil(C / rows) * ceil(K / cols)`` and traffic.

    C and K are those of one group. Every input tap is read once per fold of output channels, every weight
    once per pixel, every output written once.
    """
    pixels, depth, groups = loops.pixels, loops.depth, loops.groups
    row_folds, col_folds = folds(loops.C // groups, rows), folds(loops.K // groups, cols)
    cycles = groups * pixels * loops.R * loops.S * row_folds * col_folds
    return Schedule(
        cycles=cycles,
        utilisation=loops.taps / (cycles * rows * cols),
        input_reads=groups * pixels * depth * col_folds,
        weight_reads=loops.weights * pixels,
        output_writes=loops.outputs,
        output_reads=0,
    )


DATAFLOWS.add("channel_parallel", channel_parallel)
