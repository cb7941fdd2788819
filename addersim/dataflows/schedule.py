"""Schedule: cycles and buffer traffic of one layer on one array; the shelf of dataflows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from addersim.loops import LoopNest
from addersim.shelf import Shelf


@dataclass(frozen=True)
class Schedule:
    """What a dataflow makes of one layer; traffic in words, to and from the on-chip buffers.

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
    """

    cycles: int
    utilisation: float
    input_reads: int
    weight_reads: int
    output_writes: int
    output_reads: int


Dataflow: TypeAlias = Callable[[LoopNest, int, int], Schedule]
DATAFLOWS: Shelf[Dataflow] = Shelf("dataflow", "addersim.dataflows")


def load_dataflow(dataflow: str | Dataflow) -> tuple[str, Dataflow]:
    """Return name and function of a dataflow, given its shelf name or the function itself."""
    if isinstance(dataflow, str):
        return dataflow, DATAFLOWS[dataflow]
    return str(getattr(dataflow, "__name__", dataflow)), dataflow


def folds(total: Any, size: Any) -> Any:
    """Return ``ceil(total / size)``: how many times an array side is filled."""
    return -(-total // size)
