"""Row stationary, after Eyeriss: an element slides one filter row along one input row.

Source: Chen, Emer, Sze, ISCA 2016, and Chen, Krishna, Emer, Sze, IEEE JSSC 52(1), 2017; the letters below are
theirs. Element (i, j) of a *set* of R x P elements keeps row i of its filters and gets input row
``j * stride + i * dilation``; the sums of a column are added up from element to element and make output
row j. How layers of other shapes than the array come on it, in closed form:

- A set wider than the array is cut into strips of ``cols`` output rows, one taller than it into folds of
  ``rows`` filter rows. A smaller one leaves room for ``(rows // R) * (cols // P)`` sets, at least 1.
- These places go to strips first; the rest is split evenly, r sets with other channels (their sums go on from set
  to set) and t sets with other filters.
- An element works on q channels and p filters in turn, as many as its scratchpads hold: q windows of the input row
  and one word more, which comes in meanwhile; p * q filter rows; p sums.
- Loops, outermost first: group, pass of p * t filters, pass of q * r channels, fold, [filter rows are loaded],
  image, round of strips. Sums go to the buffer and come back for the next pass or fold.

Inputs and filter rows go from the buffer to every element that needs them, sums from element to element: each such
way is a hop, of which the paper's analysis counts as many (accesses of the array).

An element does one tap per cycle. Loading and the skew between elements overlap with the pass before and are
not counted. The buffer reads an input word once for all elements and sets that need it in a pass, but again for
each strip. Filters and windows that exceed the scratchpads are counted as if one fitted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from addersim.mapping.dataflows.schedule import DATAFLOWS, Schedule, folds
from addersim.network.loops import LoopNest

EYERISS_WORDS = {"input_words": 12, "weight_words": 224, "sum_words": 24}  # of 16 bits, JSSC 2017


@dataclass(frozen=True)
class Mapping:
    """How a layer lies on the array; see the module for the letters.

    Attributes
    ----------
    strips, places, row_folds
        Strips, places for them, and folds of filter rows.
    set_filters, set_channels
        Filters and channels of the fullest set over all passes, ``ceil(K / t)`` and ``ceil(C / r)``.
    filters, channels
        p and q.
    """

    strips: Any
    places: Any
    row_folds: Any
    set_filters: Any
    set_channels: Any
    filters: Any
    channels: Any


def mapping(loops: LoopNest, rows: Any, cols: Any, input_words: int, weight_words: int, sum_words: int) -> Mapping:
    """Return how a layer lies on the array."""
    K, C = loops.K // loops.groups, loops.C // loops.groups
    sets = np.maximum(rows // loops.R, 1) * np.maximum(cols // loops.P, 1)
    strips = folds(loops.P, cols)
    places = np.minimum(strips, sets)
    spare = sets // places
    r = np.minimum(np.sqrt(spare).astype(np.int64), C)
    t = np.minimum(spare // r, K)
    r = np.minimum(spare // t, C)
    set_filters, set_channels = folds(K, t), folds(C, r)
    window = (loops.S - 1) * loops.dilation[1] + 1
    q = np.minimum(np.maximum((input_words - 1) // window, 1), set_channels)
    p = np.minimum(np.maximum(np.minimum(weight_words // (q * loops.S), sum_words), 1), set_filters)
    return Mapping(strips, places, folds(loops.R, rows), set_filters, set_channels, p, q)


def row_stationary(
    loops: LoopNest, rows: int, cols: int, input_words: int = 12, weight_words: int = 224, sum_words: int = 24
) -> Schedule:
    """Return ``cycles = groups * N * folds * rounds * ceil(K / t) * ceil(C / r) * S * Q`` and traffic.

    Parameters
    ----------
    input_words, weight_words, sum_words
        Words in the scratchpads of an element; by default those of the Eyeriss chip, :data:`EYERISS_WORDS`.
    """
    on = mapping(loops, rows, cols, input_words, weight_words, sum_words)
    rounds, images = folds(on.strips, on.places), loops.groups * loops.N
    cycles = images * on.row_folds * rounds * on.set_filters * on.set_channels * loops.S * loops.Q
    words = _words(loops, on, _rows(loops, rows, cols, on)) | {
        "weight_pad_writes": loops.weights * np.minimum(loops.P, on.places * cols)
    }
    words |= {"input_hops": words["input_pad_writes"], "weight_hops": words["weight_pad_writes"]}
    reads = dict.fromkeys(("input_pad_reads", "weight_pad_reads", "sum_pad_reads", "sum_pad_writes"), loops.taps)
    fields = {"cycles": cycles, "utilisation": loops.taps / (cycles * rows * cols), **words, **reads}
    return Schedule(
        **{name: np.asarray(value).tolist() if np.ndim(value) == 0 else value for name, value in fields.items()}
    )


def _words(loops: LoopNest, on: Mapping, rows_read: Any) -> dict[str, Any]:
    """Return the words at the array's edge, the sums handed on, and the inputs written to scratchpads."""
    C, K, images = loops.C // loops.groups, loops.K // loops.groups, loops.groups * loops.N
    row_words = _distinct(loops.Q, loops.S, loops.stride[1], loops.dilation[1])
    passes = folds(on.set_channels, on.channels)
    last_set = K - (folds(K, on.set_filters) - 1) * on.set_filters
    loads = (folds(K, on.set_filters) - 1) * folds(on.set_filters, on.filters) + folds(last_set, on.filters)
    return {
        "input_reads": images * folds(on.set_filters, on.filters) * C * rows_read * row_words,
        "weight_reads": loops.weights,
        "output_writes": loops.outputs * passes * on.row_folds,
        "output_reads": loops.outputs * (passes * on.row_folds - 1),
        "sum_hops": loops.outputs * passes * (loops.R * folds(C, on.set_channels) - on.row_folds),
        "input_pad_writes": images * loops.P * loops.R * C * row_words * loads,
    }


def _rows(loops: LoopNest, rows: Any, cols: Any, on: Mapping) -> Any:
    """Return the input rows that all strips and folds read, each counted in every strip and fold that needs it.

    The sum of :func:`_distinct` over strips and folds, which is a difference of products of sums.
    """
    common = np.gcd(loops.stride[0], loops.dilation[0])
    of_strips = _beyond(loops.P, cols, on.strips, loops.dilation[0] // common)
    of_folds = _beyond(loops.R, rows, on.row_folds, loops.stride[0] // common)
    return loops.P * loops.R - of_strips * of_folds


def _beyond(total: Any, size: Any, pieces: Any, limit: Any) -> Any:
    """Return the sum of ``max(piece - limit, 0)`` over pieces of ``size``, the last one ragged."""
    last = total - (pieces - 1) * size
    return (pieces - 1) * np.maximum(size - limit, 0) + np.maximum(last - limit, 0)


def _distinct(places: Any, taps: Any, stride: Any, dilation: Any) -> Any:
    """Return how many values ``j * stride + i * dilation`` takes for j < places, i < taps.

    With stride and dilation divided by their greatest common divisor, (j, i) and (j - dilation, i + stride)
    are the same value and no others are: pairs that have such a predecessor do not count.
    """
    common = np.gcd(stride, dilation)
    return places * taps - np.maximum(places - dilation // common, 0) * np.maximum(taps - stride // common, 0)


DATAFLOWS.add("row_stationary", row_stationary)
