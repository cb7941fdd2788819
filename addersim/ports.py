"""Accesses and cycles at the ports of memories; every function broadcasts over NumPy arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def accesses(bits: Any, word_bits: Any) -> Any:
    """Return the accesses of ``word_bits`` that one word of ``bits`` takes.

    ``1 / (word_bits // bits)``: words are packed and none straddles two accesses; a word wider than an access takes
    ``ceil(bits / word_bits)``.

    Examples
    --------
    >>> float(accesses(8, 64)), float(accesses(24, 64)), float(accesses(24, 16))
    (0.125, 0.5, 2.0)
    """
    packed = np.maximum(word_bits // np.asarray(bits), 1)
    return -(-np.asarray(bits) // word_bits) / packed


def layer_cycles(busy: Any, hidden: Sequence[Any], waiting: Sequence[Any]) -> Any:
    """Return the cycles of a layer: the longest of ``busy`` and of all ``hidden`` ones, and all ``waiting`` ones.

    Parameters
    ----------
    busy
        Cycles of the array and the vector lanes.
    hidden
        Cycles of each memory's port that run beside the array: its own accesses, and transfers into memories that are
        double buffered.
    waiting
        Cycles of transfers into each memory that is not, for which the array waits.

    Examples
    --------
    >>> int(layer_cycles(100, [80, 120], [7])), layer_cycles(100, [np.array([80, 120])], [7]).tolist()
    (127, [107, 127])
    """
    return np.maximum.reduce(np.broadcast_arrays(busy, *hidden)) + sum(waiting)
