"""Runs: what an array does for a layer that is cut into tiles, each run as a layer of its own.

The array fills and drains for every tile, and what it reads again, keeps in scratchpads or adds up, it does within one
tile only. So cycles and words are sums over the tiles of what the dataflow makes of each: tiles of full size in the
middle, smaller ones at the ends of N, K, C, P and Q. What a dataflow counts does not depend on padding, so the tiles
of an axis are of two sizes at most.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from functools import lru_cache, partial
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from addersim.errors import InputError
from addersim.mapping.dataflows import Dataflow, Schedule
from addersim.mapping.tiles import AXES, candidates
from addersim.network.loops import LoopNest

Pieces: TypeAlias = tuple[tuple[LoopNest, int], ...]  # tiles as layers of their own, and how often each occurs
Numbers: TypeAlias = NDArray[np.float64]
COUNTED = tuple(field.name for field in fields(Schedule) if field.name != "utilisation")


@dataclass(frozen=True)
class Array:
    """A dataflow on an array of one size.

    Attributes
    ----------
    words
        Words in the scratchpads of an element, by the dataflow's parameters.
    pipeline_stages
        A run ends ``pipeline_stages - 1`` cycles after its last tap has entered.
    """

    dataflow: Dataflow
    rows: int
    cols: int
    words: tuple[tuple[str, int], ...] = ()
    pipeline_stages: int = 1

    def schedule(self, nest: LoopNest) -> Schedule:
        """Return what the dataflow makes of a layer."""
        return partial(self.dataflow, **dict(self.words))(nest, self.rows, self.cols)

    def run(self, pieces: Pieces) -> Schedule:
        """Return the sums over all pieces, one run after the other, but for the end of the last one's pipeline."""
        total = dict.fromkeys(COUNTED, 0)
        for nest, times in pieces:
            one = self.schedule(nest)
            for name in COUNTED:
                total[name] += times * getattr(one, name)
        runs, taps = sum(times for _, times in pieces), sum(nest.taps * times for nest, times in pieces)
        total["cycles"] += (runs - 1) * (self.pipeline_stages - 1)
        return Schedule(utilisation=taps / (total["cycles"] * self.rows * self.cols), **total)


@lru_cache(maxsize=32)
def sums(array: Array, nest: LoopNest, space: LoopNest, names: tuple[str, ...]) -> dict[str, Numbers]:
    """Return fields of the schedule, summed over the tiles of ``nest``, for all candidates of ``space``.

    Each is an array along N, K, C, P and Q; ``cycles`` hold the ends of all pipelines. The dataflow sees every
    combination of sizes that tiles have once; then, one axis after the other, a matrix of how often a candidate has
    which size adds them up. Floats hold the sums exactly up to 2^53.

    Raises
    ------
    InputError
        If the dataflow does not broadcast over arrays in the loops.
    """
    axes = [_sizes(getattr(nest, axis), getattr(candidates(space), axis).ravel()) for axis in AXES]
    grid: Any = np.ix_(*(sizes for sizes, _ in axes))
    try:
        one = array.schedule(replace(nest, **dict(zip(AXES, grid, strict=True))))
    except (TypeError, ValueError) as error:
        raise InputError(f"this tiling needs a dataflow that broadcasts over arrays: {error}") from None
    shape, found = np.broadcast_shapes(*(side.shape for side in grid)), {}
    for name in names:
        value = getattr(one, name) + (array.pipeline_stages - 1) * (name == "cycles")
        value = np.broadcast_to(np.asarray(value, np.float64), shape)
        for _, often in axes:
            value = np.tensordot(value, often, (0, 1))  # the axis goes to the end: after all five they are in order
        found[name] = value
    return found


def _sizes(total: int, tiles: NDArray[np.int64]) -> tuple[NDArray[np.int64], Numbers]:
    """Return the sizes that tiles of an axis have, and how often each candidate (rows) has each of them (columns)."""
    tiles = np.minimum(tiles, total)
    rest = total % tiles
    sizes = np.unique(np.concatenate((tiles, rest[rest > 0])))
    full, last = (sizes == tiles[:, None]), (sizes == rest[:, None])
    return sizes, full * (total // tiles)[:, None] + last * 1.0


def merged(pieces: Iterable[tuple[LoopNest, int]]) -> Pieces:
    """Return pieces without their images and padding, of which a dataflow knows nothing, equal ones together."""
    found: dict[LoopNest, int] = {}
    for nest, times in pieces:
        bare = replace(nest, H=1, W=1, padding=(0, 0))
        found[bare] = found.get(bare, 0) + times
    return tuple(found.items())
