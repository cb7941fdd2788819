"""Concatenation of channels; the quantiser gives all inputs one format. Moves words, computes nothing."""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType
from typing import Any

import numpy as np

from addersim.arithmetic.fixed import Ints
from addersim.errors import InputError
from addersim.network.node import Formats, Node, Shape
from addersim.network.ops import OPS, Arguments, Facts, Floats, Imported, Op


class Concat(Op):
    """``torch.cat(tensors, dim=1)``."""

    kind = "concat"
    role = "join"
    aten = ("aten.cat.default",)

    def from_aten(self, arguments: Arguments) -> Imported:
        edges = arguments["tensors"]
        axes = len(edges[0].shape) + 1
        if arguments.get("dim", 0) % axes != 1:
            raise InputError("concatenation is supported along the channels only")
        return Imported(tuple(edge.name for edge in edges))

    def shape(self, node: Node, *shapes: Shape) -> Shape:
        if any(shape[1:] != shapes[0][1:] for shape in shapes):
            raise InputError(f"concatenation of images of sizes {sorted({shape[1:] for shape in shapes})}")
        return (sum(shape[0] for shape in shapes), *shapes[0][1:])

    def float_run(self, node: Node, *xs: Floats) -> Floats:
        return np.concatenate(xs, axis=-1)

    def torch_run(self, node: Node, *xs: Any) -> Any:
        import torch

        return torch.cat(xs, 1)

    def fixed_run(self, node: Node, formats: Formats, kernels: ModuleType, *xs: Ints) -> tuple[Ints, Facts]:
        return np.concatenate(xs, axis=-1), Facts()

    def examples(self) -> Iterable[tuple[Node, tuple[Shape, ...]]]:
        yield Node("layer", self.kind, ("x", "x")), ((3, 4, 4),)


OPS.add(Concat.kind, Concat())
