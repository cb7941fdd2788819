"""The shelf of operations: one file per layer kind, which says everything about itself.

To add one, put a file here that subclasses :class:`Op` and ends in ``OPS.add(kind, Kind())``. The tests
that iterate over the shelf then apply to it: shapes, float maths against torch, integers of both kernel
modules, save and load. Nobody else compares names of operations: who has to know what an operation is asks for its
``role``, its ``window`` or its ``pad_code``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType, ModuleType
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from addersim.arithmetic.datapath import Kind
from addersim.arithmetic.fixed import Ints
from addersim.arithmetic.primitives import Count, Name, Part, Primitive
from addersim.arithmetic.window import Window
from addersim.errors import InputError
from addersim.network.graph import Network
from addersim.network.loops import LoopNest
from addersim.network.node import EdgeFormat, Formats, Node, Shape
from addersim.shelf import Shelf

Role = Literal["input", "layer", "add", "norm", "rectifier", "join", "sum", "move", "stage"]
FUSED: frozenset[Role] = frozenset({"norm", "rectifier", "add"})  # with the layer in front, channel by channel
Floats: TypeAlias = NDArray[np.floating[Any]]
Arguments: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class Edge:
    """In an operation's arguments: the tensor that another node makes, and its shape without N."""

    name: str
    shape: Shape


NOTHING: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True)
class Imported:
    """What an operation makes of its ATen arguments: the edges it reads, its attributes and parameters.

    ``kind`` names another operation that says the same, where there is one.
    """

    inputs: tuple[str, ...]
    attrs: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    kind: str | None = None


class Facts(NamedTuple):
    """What one layer's integers went through.

    Attributes
    ----------
    events
        Outputs whose register overflowed, once or more, per datapath stage.
    stage_overflows
        Values of t or p outside their registers (they wrapped).
    saturated
        Outputs that met the clamp; the rectifier's lower end is not counted.
    accumulator
        Least and largest final accumulator, or ``None`` for a layer without one.
    path
        How the kernel computed it, and the theorem that makes that exact.
    """

    events: Mapping[str, int] = NOTHING
    stage_overflows: int = 0
    saturated: int = 0
    accumulator: tuple[int, int] | None = None
    path: str = ""

    def merged(self, other: Facts) -> Facts:
        """Return the facts of both batches together."""
        events = self.events
        if any(other.events.values()) or not events:
            events = {k: events.get(k, 0) + other.events.get(k, 0) for k in {**events, **other.events}}
        both = [a for a in (self.accumulator, other.accumulator) if a is not None]
        return Facts(
            events,
            self.stage_overflows + other.stage_overflows,
            self.saturated + other.saturated,
            (min(a[0] for a in both), max(a[1] for a in both)) if both else None,
            self.path or other.path,
        )


Runner: TypeAlias = Callable[..., tuple[Ints, Facts]]


class Op:
    """Contract of an operation; what a kind does not have keeps the default given here.

    Attributes
    ----------
    kind
        Its name on the shelf and in a :class:`~addersim.network.node.Node`.
    aten
        Names of the ATen or custom operators it imports.
    array
        Which processing elements run its loop nest, or ``None``.
    role
        What it is to quantisation and training:

        - ``"input"``: the images;
        - ``"layer"``: taps on an array, then an output stage, with batch norm and rectifier behind it;
        - ``"add"``: a residual addition of two products, with one rounding;
        - ``"norm"``: a gain and an offset per channel; alone it becomes an output stage without a layer;
        - ``"rectifier"``: the clamp of the output stage in front; alone it moves codes;
        - ``"join"``: edges side by side in one format;
        - ``"sum"``: exact sums of codes, in a wider format (:meth:`out_format`);
        - ``"move"``: selects, compares or moves codes of one format;
        - ``"stage"``: an output stage without a layer, which only networks of integers have.
    """

    kind: ClassVar[str]
    aten: ClassVar[tuple[str, ...]] = ()
    array: ClassVar[Kind | None] = None
    role: ClassVar[Role] = "move"

    def from_aten(self, arguments: Arguments) -> Imported:
        """Return edges, attributes and parameters for the operator's arguments by name."""
        raise ValueError(f"{self.kind} is not imported from torch")

    def shape(self, node: Node, *shapes: Shape) -> Shape:
        """Return the output's shape without N; by default the first input's."""
        return shapes[0]

    def float_run(self, node: Node, *xs: Floats) -> Floats:
        """Return the operation's real-valued result; arrays are channels-last."""
        raise ValueError(f"{self.kind} has no float form")

    def fixed_run(self, node: Node, formats: Formats, kernels: ModuleType, *xs: Ints) -> tuple[Ints, Facts]:
        """Return the integers of the output edge; ``formats`` are those of the inputs, then the output's."""
        raise ValueError(f"{self.kind} has no integer form")

    def prepared(self, node: Node, formats: Formats, kernels: ModuleType) -> Runner:
        """Return :meth:`fixed_run` with all but the images bound; work that every batch shares is done here."""
        return partial(self.fixed_run, node, formats, kernels)

    def out_format(self, node: Node, x: EdgeFormat, shape: Shape) -> EdgeFormat:
        """Return the exact output format, given the input's format and shape; by default the same codes."""
        return x

    def torch_run(self, node: Node, *xs: Any) -> Any:
        """Return what :meth:`float_run` computes, of torch tensors N C H W, with a gradient; not asked of layers."""
        raise InputError(f"{self.kind} {node.name!r}: cannot be trained on integers")

    def window(self, node: Node) -> Window | None:
        """Return the sliding window, or ``None``."""
        return None

    def pad_code(self, node: Node, x: EdgeFormat) -> int | None:
        """Return the code of a padded pixel, given the input's format; ``None`` where no code is padded."""
        return None

    def constants(self, node: Node, *shapes: Shape) -> Mapping[str, Ints]:
        """Return the constants that hardware needs beside the node's parameters, by names that end in their axes."""
        return {}

    def loops(self, node: Node, shapes: tuple[Shape, ...], out: Shape) -> LoopNest | None:
        """Return the loop nest over one image, or ``None``."""
        return None

    def primitives(self, node: Node, network: Network, array: Kind | None) -> list[Count]:
        """Return the primitives that one image costs; ``array`` overrides the kind of tap."""
        return []

    def examples(self) -> Iterable[tuple[Node, tuple[Shape, ...]]]:
        """Yield small float nodes and their input shapes, for the tests."""
        return ()


def counts(node: Node, part: Part, times: int, *primitives: tuple[Name, int] | tuple[Name, int, int]) -> list[Count]:
    """Return one integer Count per (name, bits[, other_bits]), each ``times`` times, without empty ones."""
    return [Count(node.name, part, Primitive(p[0], *p[1:]), times) for p in primitives if times]


def float_counts(node: Node, part: Part, times: int, *names: Name) -> list[Count]:
    """Return one fp32 Count per name, each ``times`` times, without empty ones."""
    return [
        Count(node.name, part, Primitive(name, 32, 32 if name == "multiply" else 0, floating=True), times)
        for name in names
        if times
    ]


def pair(value: Any) -> tuple[int, int]:
    """Return (vertical, horizontal) from the one or two integers that torch takes."""
    values = [int(v) for v in value] if isinstance(value, list | tuple) else [int(value)]
    return (values[0], values[-1])


def words(shape: Shape) -> int:
    """Return the number of words of one image's tensor."""
    return math.prod(shape)


OPS: Shelf[Op] = Shelf("operation", "addersim.network.ops", "addersim.ops")
