"""Input stationary: an element keeps one input word while the weights of all output channels stream past.

Rows hold taps of an output, columns output pixels: weight stationary with inputs and weights exchanged. The
inputs of a fold are shifted in from above, ``rows`` cycles; then the weights of output channel k meet element
(i, j) in cycle ``rows + i + j + k``, the partial sum moves down one row per cycle and leaves below row
``rows - 1``. The last of K channels is out after ``2 rows + cols + K - 2`` cycles. A word that several
pixels need is kept, and read, once for each of them. Where an output has more taps than rows, its partial sum
is written and read again by the next fold. Folds follow each other without overlap and pass the whole array
even where they do not fill it. Groups run one after another.
"""

from __future__ import annotations

from addersim.mapping.dataflows.schedule import DATAFLOWS, Schedule, folds, steps_from_the_start
from addersim.network.loops import LoopNest


def input_stationary(loops: LoopNest, rows: int, cols: int) -> Schedule:
    """Return ``cycles = ceil(depth / rows) * ceil(pixels / cols) * (2 rows + cols + K - 2)`` and traffic.

    Per group of K / groups output channels: every input tap is read once, every weight once per column
    fold, every output written once per row fold and read again in all but the first. Inputs hop down to
    their row, weights right through all columns, sums down through all rows.
    """
    pixels, depth, groups = loops.pixels, loops.depth, loops.groups
    row_folds, col_folds = folds(depth, rows), folds(pixels, cols)
    cycles = groups * row_folds * col_folds * (2 * rows + cols + loops.K // groups - 2)
    return Schedule(
        cycles=cycles,
        utilisation=loops.taps / (cycles * rows * cols),
        input_reads=groups * pixels * depth,
        weight_reads=loops.weights * col_folds,
        output_writes=loops.outputs * row_folds,
        output_reads=loops.outputs * (row_folds - 1),
        input_hops=groups * pixels * steps_from_the_start(depth, rows),
        weight_hops=loops.weights * col_folds * (cols - 1),
        sum_hops=loops.outputs * row_folds * (rows - 1),
    )


DATAFLOWS.add("input_stationary", input_stationary)
