"""Weight stationary: an element keeps one weight while all output pixels stream past.

Rows hold taps of an output, columns output channels. The weights of a fold are shifted in from above,
``rows`` cycles; then pixel t meets element (i, j) in cycle ``rows + i + j + t``, its partial sum moves down
one row per cycle and leaves below row ``rows - 1``. The last of T pixels is out after
``2 rows + cols + T - 2`` cycles. Where an output has more taps than rows, its partial sum is written and
read again by the next fold. Folds follow each other without overlap and pass the whole array even where
they do not fill it. Groups run one after another.

SCALE-Sim 3 reports the number of the last cycle, counted from 0: one less than these cycles in every layer.
"""

from __future__ import annotations

from addersim.mapping.dataflows.schedule import DATAFLOWS, Schedule, folds, steps_from_the_start
from addersim.network.loops import LoopNest


def weight_stationary(loops: LoopNest, rows: int, cols: int) -> Schedule:
    """Return ``cycles = ceil(depth / rows) * ceil(K / cols) * (2 rows + cols + pixels - 2)`` and traffic.

    Per group of K / groups output channels: every weight is read once, every input tap once per column
    fold, every output written once per row fold and read again in all but the first. Weights hop down to
    their row, inputs right through all columns, sums down through all rows.
    """
    pixels, depth, groups = loops.pixels, loops.depth, loops.groups
    row_folds, col_folds = folds(depth, rows), folds(loops.K // groups, cols)
    cycles = groups * row_folds * col_folds * (2 * rows + cols + pixels - 2)
    return Schedule(
        cycles=cycles,
        utilisation=loops.taps / (cycles * rows * cols),
        input_reads=groups * pixels * depth * col_folds,
        weight_reads=loops.weights,
        output_writes=loops.outputs * row_folds,
        output_reads=loops.outputs * (row_folds - 1),
        input_hops=groups * pixels * depth * col_folds * (cols - 1),
        weight_hops=loops.K * steps_from_the_start(depth, rows),
        sum_hops=loops.outputs * row_folds * (rows - 1),
    )


DATAFLOWS.add("weight_stationary", weight_stationary)
