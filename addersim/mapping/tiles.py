"""Tiling: which part of a layer a memory holds at a time, in which order the parts follow, what crosses for it.

A memory holds one tile of each of its operands: Nt images of a batch, Kt output channels, Ct input channels, Pt x Qt
output pixels, the kernel whole. Loops over the tiles of N, K, C, P and Q surround it, in some order, and an operand's
tile is fetched whenever one of its own indices has changed since the step before:

- weights have the indices k and c, inputs n, c, p and q, outputs n, k, p and q;
- a tile of partial sums is written when it leaves, and read when it comes back;
- a tile of inputs is the pixels that its windows meet: rows shared with the neighbouring tile are fetched again,
  padding is not, nor are rows and columns that a stride steps over.

**Which sizes.** Let a loop of D steps be cut into tiles of t. The order and the trip counts ceil(D / t) fix how often
each tile is visited, so words of weights and outputs depend on t through the trip count alone (tiles of any size sum
to D), and every tile needs room that does not fall when t grows. A larger t of the same trip count never helps:
for N, K and C the smallest t of each trip count will do, at most 2 sqrt(D) of them. For P and Q the same holds as long
as a boundary between tiles always costs the same overlap; it costs less where padding clips the window or a dilated
kernel leaves holes. There, a size is kept as well if fewer words cross with it than with every smaller one.

The array that runs the tiles (:mod:`addersim.mapping.array_runs`) may be better filled by a larger tile of the same
trip count, which is not searched: for ResNet-20 on 12 x 10 elements all sizes together save up to 0.7 % of the cycles.

**Which orders.** Of the loops of more than one step, the innermost moves exactly one operand not at all (C outputs, K
inputs, N, P and Q weights). The other two change their tiles in every step, wherever the loops outside are put: so
three orders, one per operand that stays, are all there is. Putting a loop between N, P and Q gains nothing, as they
belong to the same operands.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from math import prod
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from addersim.hardware.machine import Role
from addersim.network.loops import LoopNest

Numbers: TypeAlias = NDArray[np.int64]
AXES = "NKCPQ"
INDICES: dict[Role, str] = {"inputs": "NCPQ", "weights": "KC", "outputs": "NKPQ"}
ORDERS: dict[Role, str] = {"outputs": "NPQKC", "weights": "KCNPQ", "inputs": "NPQCK"}


@dataclass(frozen=True)
class Tiles:
    """Tile sizes, single ones or arrays that broadcast against each other, and the order of the loops around them."""

    K: Any
    C: Any
    P: Any
    Q: Any
    order: str = ORDERS["outputs"]
    N: Any = 1

    @property
    def stays(self) -> Role:
        """The operand that the innermost loop leaves in place."""
        return next(role for role, indices in INDICES.items() if self.order[-1] not in indices)

    def trips(self, nest: LoopNest) -> dict[str, Any]:
        """Return the steps of each loop over the tiles of one group."""
        return {axis: -(-getattr(nest, axis) // getattr(self, axis)) for axis in AXES}


@dataclass(frozen=True)
class Crossing:
    """Words between a memory and the one outside it, each field an array if the tiles are.

    ``outputs`` are written once; ``sums`` are partial sums, as many written as read back.
    """

    inputs: Any
    weights: Any
    outputs: Any
    sums: Any

    def __add__(self, other: Crossing) -> Crossing:
        return Crossing(
            self.inputs + other.inputs,
            self.weights + other.weights,
            self.outputs + other.outputs,
            self.sums + other.sums,
        )

    def times(self, count: int) -> Crossing:
        """Return the words of ``count`` such layers."""
        return Crossing(self.inputs * count, self.weights * count, self.outputs * count, self.sums * count)


def group_of_batch(nest: LoopNest) -> LoopNest:
    """Return the loops of one group of all images; groups share nothing and follow one another."""
    return replace(nest, K=nest.K // nest.groups, C=nest.C // nest.groups, groups=1)


def repeats(role: Role, order: str, trips: dict[str, Any]) -> Any:
    """Return how often each tile of an operand is fetched.

    The product of the trips of all loops that do not belong to the operand and stand outside its innermost loop
    of more than one step.
    """
    result: Any = np.int64(1)
    turning: Any = np.bool_(False)
    for axis in reversed(order):
        steps = trips[axis]
        if np.size(steps) == 1 and steps == 1:
            continue
        if axis in INDICES[role]:
            turning = turning | (np.asarray(steps) > 1)
        else:
            result = result * np.where(turning, steps, 1)
    return result


def crossing(nest: LoopNest, tiles: Tiles) -> Crossing:
    """Return the words that one group moves into and out of a memory that holds ``tiles``.

    A sum over all tiles of words x :func:`repeats`. Words of inputs are the product of channels, rows and columns
    met, each summed over its own tiles.
    """
    trips = tiles.trips(nest)
    rows, columns = (met(axis, nest, getattr(tiles, "PQ"[axis]))[0] for axis in (0, 1))
    outputs = nest.outputs
    return Crossing(
        repeats("inputs", tiles.order, trips) * nest.N * nest.C * rows * columns,
        repeats("weights", tiles.order, trips) * (nest.K * nest.C * nest.R * nest.S),
        outputs,
        (repeats("outputs", tiles.order, trips) - 1) * outputs,
    )


@lru_cache(maxsize=32)
def crossings(nest: LoopNest, space: LoopNest) -> Crossing:
    """Return :func:`crossing` for all candidates of ``space``, with an axis of the orders in front."""
    tiles = candidates(space)
    found = [crossing(nest, replace(tiles, order=order)) for order in ORDERS.values()]
    words = {name: [getattr(one, name) for one in found] for name in ("inputs", "weights", "sums")}
    axes = np.ones((1,) * len(AXES), np.int64)
    stacked = {name: np.stack(np.broadcast_arrays(*(axes * one for one in of))) for name, of in words.items()}
    return Crossing(outputs=nest.outputs, **stacked)


def room(nest: LoopNest, tiles: Tiles) -> dict[Role, Any]:
    """Return the words of the largest tile of each operand."""
    N, K, C, P, Q = (np.minimum(getattr(tiles, axis), getattr(nest, axis)) for axis in AXES)
    rows, columns = met(0, nest, tiles.P)[1], met(1, nest, tiles.Q)[1]
    return {"inputs": N * C * rows * columns, "weights": K * C * (nest.R * nest.S), "outputs": N * K * P * Q}


def met(axis: int, nest: LoopNest, tile: Any) -> tuple[Any, Any]:
    """Return the input rows (axis 0) or columns (axis 1) that tiles of output ones meet: their sum, their largest."""
    total, taps, extent = ((nest.P, nest.R, nest.H), (nest.Q, nest.S, nest.W))[axis]
    key = total, taps, extent, nest.stride[axis], nest.padding[axis], nest.dilation[axis]
    sums, largest = _met_table(*key)
    index = np.minimum(tile, total)
    return sums[index], largest[index]


@lru_cache(maxsize=4096)
def _met_table(total: int, taps: int, extent: int, stride: int, padding: int, dilation: int) -> tuple[Numbers, Numbers]:
    """Return sum and largest of the rows met, indexed by the tile's size."""
    rows = np.arange(total)[:, None] * stride + np.arange(taps) * dilation - padding
    inside = (rows >= 0) & (rows < extent)
    touched = np.zeros((total, extent), bool)
    touched[np.nonzero(inside)[0], rows[inside]] = True
    sums, largest = np.zeros(total + 1, np.int64), np.zeros(total + 1, np.int64)
    for tile in range(1, total + 1):
        counts = np.logical_or.reduceat(touched, np.arange(0, total, tile), axis=0).sum(axis=1)
        sums[tile], largest[tile] = counts.sum(), counts.max()
    return sums, largest


@lru_cache(maxsize=4096)
def sizes(total: int) -> Numbers:
    """Return the smallest tile of each trip count, ascending.

    Examples
    --------
    >>> sizes(16).tolist()
    [1, 2, 3, 4, 6, 8, 16]
    """
    tiles = np.arange(1, total + 1)
    trips = -(-total // tiles)
    return tiles[np.concatenate(([True], trips[1:] < trips[:-1]))]


@lru_cache(maxsize=4096)
def _pixel_sizes(axis: int, nest: LoopNest) -> Numbers:
    """Return the tiles of P or Q that can be best: :func:`sizes`, and larger ones that let fewer words cross."""
    total = (nest.P, nest.Q)[axis]
    tiles = np.arange(1, total + 1)
    trips, words = -(-total // tiles), met(axis, nest, tiles)[0]
    kept: list[int] = []
    for i in range(total):
        same = [k for k in kept if trips[k] == trips[i]]
        if all(words[i] < words[k] for k in same):
            kept.append(i)
    return tiles[kept]


@lru_cache(maxsize=1024)
def candidates(nest: LoopNest) -> Tiles:
    """Return all tile sizes that can be best, as arrays along five axes N, K, C, P, Q."""
    axes = sizes(nest.N), sizes(nest.K), sizes(nest.C), _pixel_sizes(0, nest), _pixel_sizes(1, nest)
    N, K, C, P, Q = (size.reshape([-1 if i == j else 1 for j in range(5)]) for i, size in enumerate(axes))
    return Tiles(K, C, P, Q, N=N)


def parts(nest: LoopNest, tiles: Tiles) -> Counter[LoopNest]:
    """Return the tiles of one group as layers of their own, and how often each occurs.

    A tile's padding and input are what is left of them: tiles at the edges differ from those inside.
    """
    found: Counter[LoopNest] = Counter()
    for (p, top, high), pn in _slices(0, nest, tiles.P).items():
        for (q, left, wide), qn in _slices(1, nest, tiles.Q).items():
            for (n, k, c), times in _blocks(nest, tiles).items():
                part = replace(nest, N=n, K=k, C=c, P=p, Q=q, H=high, W=wide, padding=(top, left))
                found[part] += pn * qn * times
    return found


def _blocks(nest: LoopNest, tiles: Tiles) -> Counter[tuple[int, ...]]:
    """Return how often each number of images, output channels and input channels occurs among the tiles."""
    lengths = [_lengths(getattr(nest, axis), getattr(tiles, axis)).items() for axis in "NKC"]
    return Counter({tuple(size for size, _ in block): prod(times for _, times in block) for block in product(*lengths)})


def _lengths(total: int, tile: int) -> Counter[int]:
    return Counter(min(tile, total - start) for start in range(0, total, tile))


def _slices(axis: int, nest: LoopNest, tile: int) -> Counter[tuple[int, int, int]]:
    """Return how often each (output rows, padding above, input rows) occurs among the tiles of an axis."""
    total, taps, extent = ((nest.P, nest.R, nest.H), (nest.Q, nest.S, nest.W))[axis]
    return Counter(_slice(axis, nest, start, min(tile, total - start), taps, extent) for start in range(0, total, tile))


def _slice(axis: int, nest: LoopNest, start: int, size: int, taps: int, extent: int) -> tuple[int, int, int]:
    stride, padding, dilation = nest.stride[axis], nest.padding[axis], nest.dilation[axis]
    first = start * stride - padding
    end = first + (size - 1) * stride + (taps - 1) * dilation + 1
    low, high = min(max(first, 0), extent), max(min(end, extent), 0)
    return size, low - first, max(high - low, 0)
