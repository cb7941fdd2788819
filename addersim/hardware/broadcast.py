"""Formulas that hold for one number and for many: Python numbers in, Python numbers out; arrays on axes of their own.

A grid of machines has an axis per field that varies; an array has length 1 on the axes it does not depend on. NumPy
broadcasts such arrays against each other, so that a term is computed once per combination of what it depends on.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Box: TypeAlias = tuple[slice, ...]


def plain(value: Any) -> Any:
    """Return a Python number for a NumPy scalar or an array without axes, and any other array as it is.

    Examples
    --------
    >>> plain(np.maximum(3, 4)), plain(np.maximum([3, 5], 4)).tolist()
    (4, [4, 5])
    """
    return (
        value.item() if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and not value.ndim) else value
    )


def occurs(value: Any) -> bool:
    """Return whether a number, or any of an array, is not zero."""
    return bool(value.any() if isinstance(value, np.ndarray) else value)


def each(function: Callable[..., float], *values: Any) -> NDArray[np.float64]:
    """Return ``function`` of every combination that occurs in the broadcast values, each called once.

    For laws that look up neighbouring rows in a table, which no formula does for many numbers at once.

    Examples
    --------
    >>> each(lambda size, word: size / word, np.array([[8], [16]]), np.array([1, 2])).tolist()
    [[8.0, 4.0], [16.0, 8.0]]
    """
    arrays = np.broadcast_arrays(*values)
    found: dict[tuple[Any, ...], float] = {}
    flat = list(zip(*(array.ravel().tolist() for array in arrays), strict=True))
    for arguments in flat:
        if arguments not in found:
            found[arguments] = function(*arguments)
    return np.array([found[arguments] for arguments in flat], float).reshape(arrays[0].shape)


def distinct(*values: Any) -> tuple[list[tuple[Any, ...]], NDArray[np.intp]]:
    """Return the combinations that occur in the broadcast values, in lexicographic order, and which is where.

    Examples
    --------
    >>> rows, which = distinct(np.array([[8], [16]]), np.array([1, 2, 1]))
    >>> rows, which.tolist()
    ([(8, 1), (8, 2), (16, 1), (16, 2)], [[0, 1, 0], [2, 3, 2]])
    """
    arrays = np.broadcast_arrays(*values)
    which = np.zeros(arrays[0].size, np.intp)
    for array in arrays:
        known, code = np.unique(array, return_inverse=True)
        _, which = np.unique(which * len(known) + code.ravel(), return_inverse=True)
    _, first = np.unique(which, return_index=True)
    rows = [tuple(array.ravel()[at].item() for array in arrays) for at in first]
    return rows, which.reshape(arrays[0].shape)


def cut(value: Any, box: Box) -> Any:
    """Return the part of an array in ``box``, with what does not vary along an axis as it is."""
    if not np.ndim(value):
        return value
    return value[tuple(side if n > 1 else slice(None) for n, side in zip(value.shape, box, strict=True))]


def boxes(shape: tuple[int, ...], size: int) -> Iterator[Box]:
    """Yield slices that cut a grid into boxes of up to ``size`` points: whole last axes, part of one, one of the first.

    Examples
    --------
    >>> [[(side.start, side.stop) for side in box] for box in boxes((2, 3, 2), 5)]
    [[(0, 1), (0, 2), (0, 2)], [(0, 1), (2, 3), (0, 2)], [(1, 2), (0, 2), (0, 2)], [(1, 2), (2, 3), (0, 2)]]
    """
    sides = []
    for axis, length in enumerate(shape):
        step = min(length, max(1, size // math.prod(shape[axis + 1 :])))
        sides.append([slice(start, min(start + step, length)) for start in range(0, length, step)])
    yield from itertools.product(*sides)
