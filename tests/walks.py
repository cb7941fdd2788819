"""Dataflows and tilings walked cycle by cycle, element by element, word by word: what closed forms must equal."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache

import numpy as np

from addersim.arithmetic.window import Window
from addersim.mapping.tiles import INDICES, Tiles, group_of_batch
from addersim.network.loops import LoopNest


def layer(K: int, C: int, image: tuple[int, int], window: Window, N: int = 1) -> LoopNest:
    """Return the loops of a convolution."""
    P, Q = window.out_size(*image)
    steps = window.stride, window.padding, window.dilation
    return LoopNest(K, C, P, Q, window.R, window.S, *image, N, window.groups, *steps)


def one_group(nest: LoopNest) -> LoopNest:
    """Return the loops of one group of one image."""
    return replace(group_of_batch(nest), N=1)


@lru_cache
def walk_os_fold(rows: int, cols: int, depth: int, used_rows: int, used_cols: int) -> dict[str, int]:
    """Step an output-stationary array until it is empty; return cycles and hops of words that mean something.

    Operand t of row i enters column 0 in cycle i + t and moves right, that of column j enters row 0 in cycle
    j + t and moves down; an element that sees both does a tap. A column whose elements are all done shifts
    its sums down, one row per cycle.
    """
    right, down = np.full((rows, cols), -1), np.full((rows, cols), -1)
    taps, leaving = np.zeros((rows, cols), int), np.full(cols, rows)
    holding = np.zeros((rows, cols), bool)
    holding[:used_rows, :used_cols] = True
    found = Counter(cycles=0)
    for cycle in itertools.count():
        draining = (taps == depth).all(axis=0)
        found["sum_hops"] += int(holding[:-1, draining].sum())
        holding[1:, draining], holding[0, draining] = holding[:-1, draining].copy(), False
        leaving = np.where(draining, np.maximum(leaving - 1, 0), leaving)
        if (leaving == 0).all():
            return {**found, "cycles": cycle + 1}
        found["input_hops"] += int((right[:used_rows, :-1] >= 0).sum())
        found["weight_hops"] += int((down[:-1, :used_cols] >= 0).sum())
        right[:, 1:], down[1:, :] = right[:, :-1].copy(), down[:-1, :].copy()
        right[:, 0] = [cycle - i if 0 <= cycle - i < depth else -1 for i in range(rows)]
        down[0, :] = [cycle - j if 0 <= cycle - j < depth else -1 for j in range(cols)]
        meet = (right >= 0) & (right == down)
        assert not ((right >= 0) != (down >= 0)).any()  # operands of one tap arrive together
        taps += meet
    raise AssertionError


@lru_cache
def walk_stationary_fold(rows: int, cols: int, stream: int, used_rows: int, used_cols: int) -> Counter[str]:
    """Step an array that keeps one operand until it is empty; return cycles and hops of meaningful words.

    The operand that stays, weight or input, shifts in from above for ``rows`` cycles, that of the last row first.
    Word t of the other one enters row i, column 0, in cycle rows + i + t and moves right; the partial sum made
    with it moves down and leaves below the last row.
    """
    here, gone, found = np.full((rows, cols), -1), 0, Counter[str]()
    kept = np.zeros((rows, used_cols), bool)
    for cycle in itertools.count():
        t = cycle - rows
        if t < 0:
            found["kept_hops"] += int(kept[:-1].sum())
            kept[1:], kept[0] = kept[:-1].copy(), -t - 1 < used_rows
        found["streamed_hops"] += int((here[:used_rows, :-1] >= 0).sum())
        found["sum_hops"] += int((here[:-1, :used_cols] >= 0).sum())
        here[:, 1:] = here[:, :-1].copy()
        here[:, 0] = [t - i if 0 <= t - i < stream else -1 for i in range(rows)]
        gone += int((here[-1] >= 0).sum())
        if gone == stream * cols:
            assert kept[:used_rows].all()
            return found + Counter(cycles=cycle + 1)
    raise AssertionError


def pieces(total: int, size: int) -> list[int]:
    """Return the sizes of the folds of ``total`` things onto a side of ``size``."""
    return [min(size, total - start) for start in range(0, total, size)]


def walk_output_stationary(loops: LoopNest, rows: int, cols: int) -> Counter[str]:
    """Sum the folds over output pixels and channels."""
    found: Counter[str] = Counter()
    sides = pieces(loops.pixels, rows), pieces(loops.K // loops.groups, cols)
    for _, u, v in itertools.product(range(loops.groups), *sides):
        found.update(walk_os_fold(rows, cols, loops.depth, u, v))
        found.update(input_reads=u * loops.depth, weight_reads=v * loops.depth)
        found.update(output_writes=u * v, output_reads=0)
    return found


def walk_weight_stationary(loops: LoopNest, rows: int, cols: int) -> Counter[str]:
    """Sum the folds over taps and channels."""
    found: Counter[str] = Counter(output_reads=0)
    sides = enumerate(pieces(loops.depth, rows)), pieces(loops.K // loops.groups, cols)
    for _, (i, u), v in itertools.product(range(loops.groups), *sides):
        fold = walk_stationary_fold(rows, cols, loops.pixels, u, v)
        found.update(fold, input_reads=u * loops.pixels, weight_reads=u * v)
        found.update(weight_hops=fold["kept_hops"], input_hops=fold["streamed_hops"])
        found.update(output_writes=v * loops.pixels, output_reads=v * loops.pixels if i else 0)
    return found


def walk_input_stationary(loops: LoopNest, rows: int, cols: int) -> Counter[str]:
    """Sum the folds over taps and pixels."""
    found: Counter[str] = Counter(output_reads=0)
    channels = loops.K // loops.groups
    sides = enumerate(pieces(loops.depth, rows)), pieces(loops.pixels, cols)
    for _, (i, u), v in itertools.product(range(loops.groups), *sides):
        fold = walk_stationary_fold(rows, cols, channels, u, v)
        found.update(fold, input_reads=u * v, weight_reads=u * channels)
        found.update(input_hops=fold["kept_hops"], weight_hops=fold["streamed_hops"])
        found.update(output_writes=v * channels, output_reads=v * channels if i else 0)
    return found


def walk_channel_parallel(loops: LoopNest, rows: int, cols: int) -> Counter[str]:
    """Do one cycle after the other."""
    found: Counter[str] = Counter(output_reads=0)
    C, K = loops.C // loops.groups, loops.K // loops.groups
    for _, _, v in itertools.product(range(loops.groups), range(loops.pixels), pieces(K, cols)):
        for _, _, u in itertools.product(range(loops.R), range(loops.S), pieces(C, rows)):
            found.update(cycles=1, input_reads=u, weight_reads=u * v)
        found.update(output_writes=v)
    return found


def chunks(total: int, parts: int) -> list[list[int]]:
    """Return ``range(total)`` dealt to ``parts`` sets, the first ones full."""
    size = -(-total // parts)
    return [list(range(total))[i * size : (i + 1) * size] for i in range(parts)]


def walk_row_stationary(loops: LoopNest, rows: int, cols: int, pads: tuple[int, int, int]) -> Counter[str]:
    """Walk the passes of a row-stationary array element by element; ``pads`` are words for inputs, filters, sums."""
    K, C = loops.K // loops.groups, loops.C // loops.groups
    places, r, t = split(loops, rows, cols)
    filters, channels = chunks(K, t), chunks(C, r)
    q = min(max((pads[0] - 1) // ((loops.S - 1) * loops.dilation[1] + 1), 1), len(channels[0]))
    p = min(max(min(pads[1] // (q * loops.S), pads[2]), 1), len(filters[0]))
    folds = [list(range(loops.R))[i : i + rows] for i in range(0, loops.R, rows)]
    strips = [list(range(loops.P))[i : i + cols] for i in range(0, loops.P, cols)]
    found: Counter[str] = Counter()
    for _, at_k, (first, fold) in itertools.product(
        range(loops.groups),
        range(0, len(filters[0]), p),
        ((c == 0 and f == 0, (c, fold)) for c in range(0, len(channels[0]), q) for f, fold in enumerate(folds)),
    ):
        sets = [(k[at_k : at_k + p], c[fold[0] : fold[0] + q]) for k in filters for c in channels]
        found.update(walk_pass(loops, sets, fold[1], strips, places))
        outputs = sum(len(k[at_k : at_k + p]) for k in filters) * loops.pixels
        chain = sum(1 for c in channels if c) * len(fold[1])
        found.update(output_writes=outputs, output_reads=0 if first else outputs)
        found.update(sum_hops=outputs * (chain - 1))
    return found


def split(loops: LoopNest, rows: int, cols: int) -> tuple[int, int, int]:
    """Return places for strips, sets with other channels, sets with other filters."""
    sets = max(rows // loops.R, 1) * max(cols // loops.P, 1)
    places = min(-(-loops.P // cols), sets)
    r = min(next(n for n in itertools.count() if (n + 1) ** 2 > sets // places), loops.C // loops.groups)
    t = min(sets // places // r, loops.K // loops.groups)
    return places, min(sets // places // t, loops.C // loops.groups), t


def walk_pass(
    loops: LoopNest, sets: list[tuple[list[int], list[int]]], fold: list[int], strips: list[list[int]], places: int
) -> Counter[str]:
    """Walk one pass: filter rows are loaded, then image by image, round by round, every element does its taps."""
    found: Counter[str] = Counter(cycles=0)
    loaded: set[tuple[int, ...]] = set()
    kept: set[tuple[int, ...]] = set()
    for image, at in itertools.product(range(loops.N), range(0, len(strips), places)):
        longest = 0
        for place, strip in enumerate(strips[at : at + places]):
            needed: set[tuple[int, ...]] = set()
            for number, (j, p), i in itertools.product(range(len(sets)), enumerate(strip), fold):
                own: set[tuple[int, ...]] = set()
                steps = 0
                for k, c, q, s in steps_of(loops, *sets[number]):
                    y = p * loops.stride[0] + i * loops.dilation[0]
                    own.add((image, c, y, q * loops.stride[1] + s * loops.dilation[1]))
                    loaded.add((k, c, i, s))
                    kept.add((place, number, j, i, k, c, s))
                    steps += 1
                longest = max(longest, steps)
                needed |= own
                found.update(dict.fromkeys(("input_pad_reads", "weight_pad_reads", "sum_pad_reads"), steps))
                found.update(sum_pad_writes=steps, input_pad_writes=len(own), input_hops=len(own))
            found.update(input_reads=len(needed))
        found.update(cycles=longest)
    found.update(weight_reads=len(loaded), weight_pad_writes=len(kept), weight_hops=len(kept))
    return found


def steps_of(loops: LoopNest, filters: list[int], channels: list[int]) -> Iterator[tuple[int, int, int, int]]:
    """Yield the taps of one element."""
    return itertools.product(filters, channels, range(loops.Q), range(loops.S))


Walk = Callable[[LoopNest, int, int], Counter[str]]
WALKS: dict[str, Walk] = {
    "output_stationary": walk_output_stationary,
    "weight_stationary": walk_weight_stationary,
    "input_stationary": walk_input_stationary,
    "channel_parallel": walk_channel_parallel,
    "row_stationary": lambda loops, rows, cols: walk_row_stationary(loops, rows, cols, (12, 224, 24)),
}


def square_layer(
    K: int, C: int, H: int, R: int, stride: int = 1, padding: int = 0, dilation: int = 1, groups: int = 1
) -> LoopNest:
    window = Window(R, R, (stride,) * 2, (padding,) * 2, (dilation,) * 2, groups)
    P, Q = window.out_size(H, H - 1)
    return LoopNest(K, C, P, Q, R, R, H, H - 1, 1, groups, window.stride, window.padding, window.dilation)


LAYERS = {
    "plain": square_layer(4, 3, 6, 3),
    "padded": square_layer(3, 2, 5, 3, padding=1),
    "wide padding": square_layer(2, 2, 4, 5, padding=2),
    "strided": square_layer(3, 2, 7, 3, stride=2, padding=1),
    "pointwise, strided": square_layer(3, 4, 7, 1, stride=2),
    "dilated": square_layer(2, 2, 7, 3, padding=2, dilation=2),
    "grouped": square_layer(4, 4, 5, 3, padding=1, groups=2),
    "depthwise": square_layer(4, 4, 6, 3, stride=2, padding=1, groups=4),
    "linear": LoopNest(K=5, C=6),
}


def pixels(nest: LoopNest, p_tile: range, q_tile: range) -> set[tuple[int, int]]:
    """Return the input pixels that a tile of output pixels meets, one tap after the other."""
    found = set()
    for p, q, r, s in itertools.product(p_tile, q_tile, range(nest.R), range(nest.S)):
        h = p * nest.stride[0] + r * nest.dilation[0] - nest.padding[0]
        w = q * nest.stride[1] + s * nest.dilation[1] - nest.padding[1]
        if 0 <= h < nest.H and 0 <= w < nest.W:
            found.add((h, w))
    return found


def cut(total: int, tile: int) -> list[range]:
    return [range(start, min(start + tile, total)) for start in range(0, total, tile)]


def steps(nest: LoopNest, tiles: Tiles) -> Iterator[dict[str, range]]:
    """Yield the ranges of K, C, P and Q, and N if it is in the order, in every step of the loops around the tiles."""
    axes = [cut(getattr(nest, axis), getattr(tiles, axis)) for axis in tiles.order]
    for ranges in itertools.product(*axes):
        yield dict(zip(tiles.order, ranges, strict=True))


def words_of(nest: LoopNest, role: str, at: dict[str, range]) -> int:
    if role == "weights":
        return len(at["K"]) * len(at["C"]) * nest.R * nest.S
    images = len(at.get("N", [0]))
    if role == "inputs":
        return images * len(at["C"]) * len(pixels(nest, at["P"], at["Q"]))
    return images * len(at["K"]) * len(at["P"]) * len(at["Q"])


def walked(nest: LoopNest, tiles: Tiles) -> tuple[int, int, int, int]:
    """Return words of inputs, weights, outputs written, sums read: fetched whenever the tile of an operand changes."""
    moved, held, begun = Counter(), {}, set()
    for at in steps(nest, tiles):
        for role, indices in INDICES.items():
            index = tuple(at.get(axis) for axis in indices)
            if held.get(role) == index:
                continue
            held[role] = index
            words = words_of(nest, role, at)
            moved[role] += words
            if role == "outputs" and index in begun:
                moved["read back"] += words
            begun |= {index} if role == "outputs" else set()
    return moved["inputs"], moved["weights"], moved["outputs"], moved["read back"]


def every(nest: LoopNest) -> Iterator[tuple[int, int, int, int]]:
    return itertools.product(*(range(1, getattr(nest, axis) + 1) for axis in "KCPQ"))


RESNET18 = [  # H, R, C, K, stride, unpadded: the convolutions and the last layer of ResNet-18
    (224, 7, 3, 64, 2), *[(56, 3, 64, 64, 1)] * 4, (56, 3, 64, 128, 2), (28, 3, 128, 128, 1),
    (56, 1, 64, 128, 2),
    *[(28, 3, 128, 128, 1)] * 2, (28, 3, 128, 256, 2), (14, 3, 256, 256, 1), (28, 1, 128, 256, 2),
    *[(14, 3, 256, 256, 1)] * 2, (14, 3, 256, 512, 2), (7, 3, 512, 512, 1), (14, 1, 256, 512, 2),
    *[(7, 3, 512, 512, 1)] * 2, (1, 1, 512, 1000, 1),
]  # fmt: skip


def resnet18_layer(H: int, R: int, C: int, K: int, stride: int, scale_sim: bool) -> LoopNest:
    """Return a layer with the output size that is right, or the one that SCALE-Sim takes: ceil instead of floor."""
    P = (H - R) // stride + 1 if not scale_sim else -(-(H - R + stride) // stride)
    return LoopNest(K=K, C=C, P=P, Q=P, R=R, S=R, H=H, W=H, stride=(stride, stride))
