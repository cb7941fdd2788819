"""EdgeFormat, Tensor, Node: one layer of a network and the edge that it makes.

A node's name is also the name of the tensor it makes. Shapes leave out the image axis N and are
``(C, H, W)`` or ``(C,)``; arrays on edges are N H W C inside the simulator and N C H W in public.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from addersim.arithmetic.datapath import Datapath
from addersim.arithmetic.fixed import IntFormat
from addersim.arithmetic.output_stage import OutputStage
from addersim.errors import InputError

Shape = tuple[int, ...]


@dataclass(frozen=True)
class EdgeFormat:
    """The integers of one edge: real value = ``(code - zero_point) * step``.

    Examples
    --------
    >>> EdgeFormat(8, signed=False, step=0.5, zero_point=0).range
    (0.0, 127.5)
    """

    bits: int
    signed: bool
    step: float
    zero_point: int = 0

    def __post_init__(self) -> None:
        if not (self.step > 0 and np.isfinite(self.step)):
            raise InputError(f"step = {self.step} is not a positive number")
        if not self.format.holds(self.zero_point, self.zero_point):
            raise InputError(f"zero_point = {self.zero_point} has no code in {self.format}")

    @property
    def format(self) -> IntFormat:
        """The word that carries a code."""
        return IntFormat(self.bits, self.signed)

    @property
    def range(self) -> tuple[float, float]:
        """The real values of the least and the largest code."""
        low, high = self.format.min, self.format.max
        return (low - self.zero_point) * self.step, (high - self.zero_point) * self.step

    def quantise(self, values: NDArray[Any]) -> NDArray[np.int64]:
        """Return ``clamp(rint(values / step) + zero_point)``; ties to even, in float64."""
        codes = np.array(values, np.float64)
        codes /= self.step
        np.rint(codes, out=codes)
        codes += self.zero_point
        return np.asarray(np.clip(codes, self.format.min, self.format.max, out=codes), np.int64)

    def real(self, codes: NDArray[Any]) -> NDArray[np.float64]:
        """Return ``(codes - zero_point) * step``."""
        return (np.asarray(codes, np.float64) - self.zero_point) * self.step


@dataclass(frozen=True)
class Tensor:
    """One edge: its shape without N, and its format once the network is quantised."""

    shape: Shape
    format: EdgeFormat | None = None

    @property
    def integers(self) -> EdgeFormat:
        """The format of an edge that carries integers.

        Raises
        ------
        InputError
            If it carries floats.
        """
        if self.format is None:
            raise InputError("an edge has no integer format: quantise the network first")
        return self.format


Formats: TypeAlias = tuple[EdgeFormat, ...]  # of the edges that a node reads, and of its own, last


@dataclass(frozen=True, eq=False)
class Node:
    """One layer: ``kind`` names the operation on the shelf ``addersim.ops``."""

    name: str
    kind: str
    inputs: tuple[str, ...] = ()
    attrs: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    datapath: Datapath | None = None
    stage: OutputStage | None = None

    @property
    def path(self) -> Datapath:
        """The datapath of a layer on integers; InputError if it has none."""
        if self.datapath is None:
            raise InputError(f"layer {self.name!r} has no datapath: quantise the network first")
        return self.datapath

    @property
    def output_stage(self) -> OutputStage:
        """The output stage of a layer on integers; InputError if it has none."""
        if self.stage is None:
            raise InputError(f"layer {self.name!r} has no output stage: quantise the network first")
        return self.stage

    @property
    def unrounded(self) -> bool:
        """Whether the edge carries the product p of the output stage, which a residual addition rounds."""
        return self.stage is not None and not self.stage.finish

    @property
    def codes_per_step_k(self) -> NDArray[np.float64]:
        """How much finer than a step the edge's codes are: an unrounded product p is ``p / 2**n_k`` steps."""
        return 2.0 ** self.params["shift_k"] if self.unrounded else np.ones(1)
