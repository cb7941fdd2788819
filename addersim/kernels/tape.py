"""Tape: the calls of the core that a network makes for images of one shape, written down to be made again at once.

While a tape records, the functions of :mod:`addersim.kernels.native` take their results' memory from it and leave
their calls with it, unmade. What works in NumPy, or reads memory that is not the tape's and so was filled in NumPy,
cannot be repeated from a tape: :class:`Unrecordable`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from addersim.kernels import _native

P = ParamSpec("P")
Result = TypeVar("Result")
Found = tuple[int, int, tuple[int, int], tuple[int, ...] | None]  # saturated, overflows, accumulator's ends, events
UNMADE: Found = 0, 0, (0, 0), None
ALIGNED = 64  # bytes: one vector


class Unrecordable(Exception):
    """A layer is not run by the core alone."""


@dataclass
class Tape:
    """Steps so far, and blocks of memory; a block serves again when nothing that lies in it is needed any more."""

    steps: list[_native.Step] = field(default_factory=list)
    blocks: list[NDArray[np.uint8]] = field(default_factory=list)
    idle: list[NDArray[np.uint8]] = field(default_factory=list)

    @property
    def size_bytes(self) -> int:
        """All memory of the tape."""
        return sum(block.size for block in self.blocks)

    def empty(self, shape: tuple[int, ...], word: DTypeLike) -> NDArray[Any]:
        """Return an array in the smallest idle block that holds it, or in a new one."""
        dtype = np.dtype(word)
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        fitting = [i for i, block in enumerate(self.idle) if block.size >= size]
        if fitting:
            block = self.idle.pop(min(fitting, key=lambda i: self.idle[i].size))
        else:
            block = np.empty(-(-max(size, 1) // ALIGNED) * ALIGNED, np.uint8)
            self.blocks.append(block)
        return block[:size].view(dtype).reshape(shape)

    def keep(self, needed: Iterable[NDArray[Any]]) -> None:
        """Make every block idle in which none of the arrays lies."""
        arrays = list(needed)
        self.idle = [b for b in self.blocks if not any(np.may_share_memory(b, array) for array in arrays)]

    def owns(self, array: NDArray[Any]) -> bool:
        """Return whether the array lies in the tape's memory."""
        return not array.size or any(np.may_share_memory(block, array) for block in self.blocks)

    def append(self, step: _native.Step, inputs: Iterable[NDArray[Any]]) -> None:
        """Write a call down.

        Raises
        ------
        Unrecordable
            If an input is not in the tape's memory.
        """
        if not all(map(self.owns, inputs)):
            raise Unrecordable
        self.steps.append(step)


_RECORDING: ContextVar[Tape | None] = ContextVar("addersim_tape", default=None)


@contextmanager
def recording() -> Iterator[Tape]:
    """Write down, instead of making, the calls of this thread; they go to the tape that this yields."""
    tape = Tape()
    token = _RECORDING.set(tape)
    try:
        yield tape
    finally:
        _RECORDING.reset(token)


def unrecorded(function: Callable[P, Result]) -> Callable[P, Result]:
    """Return a function that works in NumPy, which no tape can hold."""

    def run(*args: P.args, **kwargs: P.kwargs) -> Result:
        if _RECORDING.get() is not None:
            raise Unrecordable
        return function(*args, **kwargs)

    return run


def empty(shape: tuple[int, ...], word: DTypeLike) -> NDArray[Any]:
    """Return memory for a result."""
    tape = _RECORDING.get()
    return np.empty(shape, word) if tape is None else tape.empty(shape, word)


def made(step: _native.Step, *inputs: NDArray[Any]) -> Found:
    """Make a call of the core that reads ``inputs``, or write it down; return what it found."""
    tape = _RECORDING.get()
    if tape is None:
        found: Found = step.run()
        return found
    tape.append(step, inputs)
    return UNMADE
