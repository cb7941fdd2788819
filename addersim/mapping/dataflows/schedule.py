"""Schedule: cycles and buffer traffic of one layer on one array; the shelf of dataflows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from addersim.network.loops import LoopNest
from addersim.shelf import Shelf


@dataclass(frozen=True)
class Schedule:
    """What a dataflow makes of one layer; traffic in words, to and from what feeds the array.

    Attributes
    ----------
    cycles
        From the first word that enters the array to the last one that leaves it.
    utilisation
        ``taps / (cycles * rows * cols)``.
    input_reads, weight_reads
        Operand words read. A padded pixel counts as a read although an address generator may make it up.
    output_writes, output_reads
        Accumulator words: partial sums that leave the array are written, and read when they go on.
    input_hops, weight_hops, sum_hops
        Words handed from an element to its neighbour; they pass idle elements of the array as well. Where words go
        from the buffer to elements all over the array, one for each of these.
    input_pad_reads, input_pad_writes, weight_pad_reads, weight_pad_writes, sum_pad_reads, sum_pad_writes
        Words read from and written to the scratchpads inside all elements; 0 in dataflows whose elements
        have the registers of their datapath only.
    """

    cycles: int
    utilisation: float
    input_reads: int
    weight_reads: int
    output_writes: int
    output_reads: int
    input_hops: int = 0
    weight_hops: int = 0
    sum_hops: int = 0
    input_pad_reads: int = 0
    input_pad_writes: int = 0
    weight_pad_reads: int = 0
    weight_pad_writes: int = 0
    sum_pad_reads: int = 0
    sum_pad_writes: int = 0


Dataflow: TypeAlias = Callable[[LoopNest, int, int], Schedule]
DATAFLOWS: Shelf[Dataflow] = Shelf("dataflow", "addersim.mapping.dataflows", "addersim.dataflows")


def load_dataflow(dataflow: str | Dataflow) -> tuple[str, Dataflow]:
    """Return name and function of a dataflow, given its shelf name or the function itself."""
    if isinstance(dataflow, str):
        return dataflow, DATAFLOWS[dataflow]
    return str(getattr(dataflow, "__name__", dataflow)), dataflow


def folds(total: Any, size: Any) -> Any:
    """Return ``ceil(total / size)``: how many times an array side is filled."""
    return -(-total // size)


def steps_to_the_end(total: Any, size: Any) -> Any:
    """Return how far ``total`` words move that fill a side of ``size`` again and again and all go to its end.

    A word at place i moves ``size - 1 - i``; the last fold may be ragged.
    """
    full = folds(total, size) - 1
    last = total - full * size
    return full * (size * (size - 1) // 2) + last * (size - 1) - last * (last - 1) // 2


def steps_from_the_start(total: Any, size: Any) -> Any:
    """Return how far they move if each goes from the side's start to its place: i for place i."""
    full = folds(total, size) - 1
    last = total - full * size
    return full * (size * (size - 1) // 2) + last * (last - 1) // 2
