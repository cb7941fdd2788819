"""The fixed tiling, in closed form: operands that do not fit pass by; every function broadcasts over NumPy arrays.

Inputs and weights of a layer that both fit their memories cross into them once. If one does not fit, it passes by
once, part by part, while the other is there. If neither does, one of them stays part by part and the other passes by
once for each part: the one of the two ways that lets fewer bits cross. Nothing crosses more often than the memory
inside, or the array, reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from addersim.placement import Layer, Placed, without_pinned
from addersim.stores import Store, levels
from addersim.tiling import Crossing, Tiles, crossing, one_group


def crossing_words(
    words: tuple[Any, Any], bits: tuple[Any, Any], room_bits: tuple[Any, Any], reads: tuple[Any, Any]
) -> tuple[Any, Any]:
    """Return the words of inputs and weights of one group that cross into a level.

    Parameters
    ----------
    words, bits
        Distinct words, and their width.
    room_bits
        Room for each at this level.
    reads
        Words that the level inside reads; at least ``words``.

    Examples
    --------
    >>> tuple(map(int, crossing_words((100, 60), (8, 8), (800, 100), (900, 600))))
    (100, 60)
    >>> tuple(map(int, crossing_words((100, 60), (8, 8), (400, 240), (900, 600))))
    (100, 120)
    """
    (inputs, weights), (i_bits, w_bits) = words, bits
    i_parts, w_parts = (-(-n * b // np.maximum(r, 1)) for n, b, r in zip(words, bits, room_bits, strict=True))
    i_again, w_again = np.minimum(inputs * w_parts, reads[0]), np.minimum(weights * i_parts, reads[1])
    both = (i_parts > 1) & (w_parts > 1)
    keep_weights = i_again * i_bits + weights * w_bits <= inputs * i_bits + w_again * w_bits
    return np.where(both & keep_weights, i_again, inputs), np.where(both & ~keep_weights, w_again, weights)


def pass_by(layer: Layer, stores: Sequence[Store]) -> tuple[Placed, ...]:
    """Return what crosses the boundary of every level, from DRAM inward, with the fixed tiling.

    A memory that holds n operands gives each 1/n of its room. Partial sums stay in the memory next to the array.
    ``tile_bits`` of the stores and the array's reads may be arrays that broadcast against each other.
    """
    group, groups = one_group(layer.nest), layer.nest.N * layer.nest.groups
    once = crossing(group, Tiles(group.K, group.C, group.P, group.Q))
    words, bits = (int(once.inputs), int(once.weights)), (layer.widths.inputs, layer.widths.weights)
    reads = layer.array.inputs // groups, layer.array.weights // groups
    found = []
    for level in reversed(levels(stores)):
        held = {role: store.tile_bits // len(store.holds) for store in level for role in store.holds}
        room = (held.get("inputs", words[0] * bits[0]), held.get("weights", words[1] * bits[1]))
        inputs, weights = crossing_words(words, bits, room, reads)
        reads = inputs if "inputs" in held else reads[0], weights if "weights" in held else reads[1]
        found.append(Placed(level, None, Crossing(groups * inputs, groups * weights, layer.nest.outputs, 0)))
    return tuple(replace(one, crossing=without_pinned(layer, one.stores, stores, one.crossing)) for one in found[::-1])
