"""Runs: what an array does for a layer that is cut into tiles, each run as a layer of its own.

The array fills and drains for every tile, and what it reads again, keeps in scratchpads or adds up, it does within one
tile only. So cycles and words are sums over the tiles of what the dataflow makes of each: tiles of full size in the
middle, smaller ones at the ends of N, K, C, P and Q. What a dataflow counts does not depend on padding, so the tiles
of an axis are of two kinds at most, and the sum over all tiles is one over 2^5 blocks of equal ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from functools import lru_cache, partial
from itertools import product
from typing import Any, TypeAlias

import numpy as np

from addersim.dataflows import Dataflow, Schedule
from addersim.loops import LoopNest
from addersim.tiling import AXES, Tiles, candidates

Pieces: TypeAlias = tuple[tuple[LoopNest, int], ...]  # tiles as layers of their own, and how often each occurs
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


@lru_cache(maxsize=256)
def sums(array: Array, nest: LoopNest, space: LoopNest, names: tuple[str, ...]) -> dict[str, Any]:
    """Return fields of the schedule, summed over the tiles of ``nest``, for all candidates of ``space``.

    Each is an array along N, K, C, P and Q; ``cycles`` hold the ends of all pipelines.
    """
    found: dict[str, Any] = dict.fromkeys(names, 0)
    for block, times in _blocks(nest, candidates(space)):
        one = array.schedule(block)
        for name in names:
            value = getattr(one, name) + (array.pipeline_stages - 1) * (name == "cycles")
            found[name] = found[name] + times * value
    return found


def _blocks(nest: LoopNest, tiles: Tiles) -> Iterator[tuple[LoopNest, Any]]:
    """Yield the tiles that are full, and those that are not, along each axis, and how many there are."""
    sides: list[list[tuple[Any, Any]]] = []
    for axis in AXES:
        total = getattr(nest, axis)
        size = np.minimum(getattr(tiles, axis), total)
        rest = total % size
        sides.append([(size, total // size), (np.maximum(rest, 1), rest > 0)])
    for block in product(*([side for side in sides_of if np.any(side[1])] for sides_of in sides)):
        times: Any = np.int64(1)
        for _, count in block:
            times = times * count
        yield replace(nest, **{axis: size for axis, (size, _) in zip(AXES, block, strict=True)}), times


def merged(pieces: Iterable[tuple[LoopNest, int]]) -> Pieces:
    """Return pieces without their images and padding, of which a dataflow knows nothing, equal ones together."""
    found: dict[LoopNest, int] = {}
    for nest, times in pieces:
        bare = replace(nest, H=1, W=1, padding=(0, 0))
        found[bare] = found.get(bare, 0) + times
    return tuple(found.items())
