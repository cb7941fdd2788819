"""Output stationary: an element keeps one output and takes one tap per cycle.

Rows hold output pixels, columns output channels. Inputs enter the rows from the left and weights the
columns from above, each skewed by one cycle per row or column: element (i, j) does tap t in cycle
``i + j + t``. The last of ``depth`` taps is done after ``rows + cols + depth - 2`` cycles; then the sums
leave downwards, one row per cycle, ``rows`` more. Folds follow each other without overlap and pass the
whole array even where they do not fill it. Groups run one after another.

SCALE-Sim 3 has ``rows + cols + depth - 2`` per fold: the sums' way out is missing. Its maintainers confirm
``2 rows + cols + depth - 2`` (scalesim-project/scale-sim-v3, thread 4).
"""

from __future__ import annotations

from addersim.mapping.dataflows.schedule import DATAFLOWS, Schedule, folds, steps_to_the_end
from addersim.network.loops import LoopNest


def output_stationary(loops: LoopNest, rows: int, cols: int) -> Schedule:
    """Return ``cycles = ceil(pixels / rows) * ceil(K / cols) * (2 rows + cols + depth - 2)`` and traffic.

    Per group of K / groups output channels: every input tap is read once per column fold, every weight
    once per row fold, every output written once. Inputs hop right through all columns, weights down through
    all rows, sums down from their row.
    """
    pixels, depth, groups = loops.pixels, loops.depth, loops.groups
    row_folds, col_folds = folds(pixels, rows), folds(loops.K // groups, cols)
    cycles = groups * row_folds * col_folds * (2 * rows + cols + depth - 2)
    return Schedule(
        cycles=cycles,
        utilisation=loops.taps / (cycles * rows * cols),
        input_reads=groups * pixels * depth * col_folds,
        weight_reads=loops.weights * row_folds,
        output_writes=loops.outputs,
        output_reads=0,
        input_hops=groups * pixels * depth * col_folds * (cols - 1),
        weight_hops=loops.weights * row_folds * (rows - 1),
        sum_hops=loops.K * steps_to_the_end(pixels, rows),
    )


DATAFLOWS.add("output_stationary", output_stationary)
