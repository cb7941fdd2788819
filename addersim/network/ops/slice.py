"""Slice along one axis, such as the every-other-pixel of option A shortcuts. Moves words only."""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from addersim.arithmetic.fixed import Ints
from addersim.errors import InputError
from addersim.network.node import Formats, Node, Shape
from addersim.network.ops import OPS, Arguments, Facts, Floats, Imported, Op


class Slice(Op):
    """``x[:, :, start:stop:step]`` on axis C, H or W (attribute ``axis`` 0, 1 or 2, without N)."""

    kind = "slice"
    aten = ("aten.slice.Tensor",)

    def from_aten(self, arguments: Arguments) -> Imported:
        x = arguments["self"]
        axis = arguments.get("dim", 0) % (len(x.shape) + 1) - 1
        start, stop, step = arguments.get("start"), arguments.get("end"), arguments.get("step", 1)
        if axis < 0:
            if (start or 0) == 0 and (stop is None or stop >= 1):
                return Imported((x.name,), {"axis": 0, "start": 0, "stop": x.shape[0], "step": 1})
            raise InputError("slicing the batch is not supported")
        first, last, stride = slice(start, stop, step).indices(x.shape[axis])
        return Imported((x.name,), {"axis": axis, "start": first, "stop": last, "step": stride})

    def shape(self, node: Node, *shapes: Shape) -> Shape:
        a, out = node.attrs, list(shapes[0])
        out[a["axis"]] = len(range(a["start"], a["stop"], a["step"]))
        return tuple(out)

    def float_run(self, node: Node, *xs: Floats) -> Floats:
        return _cut(node, xs[0])

    def torch_run(self, node: Node, *xs: Any) -> Any:
        import torch

        a = node.attrs
        return xs[0].index_select(a["axis"] + 1, torch.arange(a["start"], a["stop"], a["step"]))

    def fixed_run(self, node: Node, formats: Formats, kernels: ModuleType, *xs: Ints) -> tuple[Ints, Facts]:
        return _cut(node, xs[0]), Facts()

    def examples(self) -> Iterable[tuple[Node, tuple[Shape, ...]]]:
        yield Node("layer", self.kind, ("x",), {"axis": 1, "start": 0, "stop": 5, "step": 2}), ((3, 5, 4),)
        yield Node("layer", self.kind, ("x",), {"axis": 0, "start": 1, "stop": 3, "step": 1}), ((3, 5, 4),)


def _cut(node: Node, x: NDArray[Any]) -> NDArray[Any]:
    a = node.attrs
    axis = x.ndim - 1 if a["axis"] == 0 else a["axis"]  # channels lie last in memory
    index = [slice(None)] * x.ndim
    index[axis] = slice(a["start"], a["stop"], a["step"])
    return np.ascontiguousarray(x[tuple(index)])


OPS.add(Slice.kind, Slice())
