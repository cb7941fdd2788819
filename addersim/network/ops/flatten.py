"""Flatten: (C, H, W) to one vector in torch's order, channels outermost. Moves words, computes nothing."""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType
from typing import Any

import numpy as np

from addersim.arithmetic.fixed import Ints
from addersim.errors import InputError
from addersim.network.node import Formats, Node, Shape
from addersim.network.ops import OPS, Arguments, Edge, Facts, Floats, Imported, Op, words


class Flatten(Op):
    """``torch.flatten(x, 1)`` and the ``view`` and ``reshape`` that do the same."""

    kind = "flatten"
    aten = ("aten.flatten.using_ints", "aten.view.default", "aten.reshape.default", "aten._unsafe_view.default")

    def from_aten(self, arguments: Arguments) -> Imported:
        x: Edge = arguments["self"]
        target = arguments.get("size", arguments.get("shape"))
        if target is not None and [int(n) for n in target][1:] not in ([-1], [words(x.shape)]):
            raise InputError(f"a view to {list(target)} is not supported, only one that flattens each image")
        if target is None and (
            arguments.get("start_dim", 0) != 1 or arguments.get("end_dim", -1) not in (-1, len(x.shape))
        ):
            raise InputError("flatten is supported from axis 1 to the last")
        return Imported((x.name,))

    def shape(self, node: Node, *shapes: Shape) -> Shape:
        return (words(shapes[0]),)

    def float_run(self, node: Node, *xs: Floats) -> Floats:
        x = xs[0]
        return x if x.ndim == 2 else np.ascontiguousarray(np.moveaxis(x, -1, 1)).reshape(len(x), words(x.shape[1:]))

    def torch_run(self, node: Node, *xs: Any) -> Any:
        return xs[0].flatten(1)

    def fixed_run(self, node: Node, formats: Formats, kernels: ModuleType, *xs: Ints) -> tuple[Ints, Facts]:
        return (xs[0] if xs[0].ndim == 2 else kernels.flatten(xs[0])), Facts()

    def examples(self) -> Iterable[tuple[Node, tuple[Shape, ...]]]:
        yield Node("layer", self.kind, ("x",)), ((3, 4, 5),)
        yield Node("layer", self.kind, ("x",)), ((6,),)


OPS.add(Flatten.kind, Flatten())
