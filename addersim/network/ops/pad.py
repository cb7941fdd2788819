"""Zero padding of channels, rows and columns; on integers a pad is the zero point. Moves words only."""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType
from typing import Any

import numpy as np

from addersim.arithmetic.fixed import Ints
from addersim.errors import InputError
from addersim.network.node import EdgeFormat, Formats, Node, Shape
from addersim.network.ops import OPS, Arguments, Facts, Floats, Imported, Op


class Pad(Op):
    """``torch.nn.functional.pad`` with zeros; attributes ``channels``, ``rows``, ``columns`` = (before, after)."""

    kind = "pad"
    aten = ("aten.pad.default", "aten.constant_pad_nd.default")

    def from_aten(self, arguments: Arguments) -> Imported:
        x, value, mode = arguments["self"], arguments.get("value") or 0, arguments.get("mode", "constant")
        amounts = [int(n) for n in arguments["pad"]]
        if mode != "constant" or value != 0 or any(n < 0 for n in amounts) or len(amounts) > 2 * len(x.shape):
            raise InputError("only padding with zeros, by amounts of 0 and more, is supported")
        sides = [tuple(amounts[i : i + 2]) for i in range(0, len(amounts), 2)] + [(0, 0)] * 3
        if len(x.shape) == 1:
            return Imported((x.name,), {"columns": (0, 0), "rows": (0, 0), "channels": sides[0]})
        return Imported((x.name,), {"columns": sides[0], "rows": sides[1], "channels": sides[2]})

    def shape(self, node: Node, *shapes: Shape) -> Shape:
        amounts = [sum(node.attrs[key]) for key in ("channels", "rows", "columns")]
        return tuple(n + extra for n, extra in zip(shapes[0], amounts, strict=False))

    def float_run(self, node: Node, *xs: Floats) -> Floats:
        return np.pad(xs[0], _amounts(node, xs[0].ndim))

    def torch_run(self, node: Node, *xs: Any) -> Any:
        import torch

        sides = ("columns", "rows", "channels") if xs[0].dim() == 4 else ("channels",)
        return torch.nn.functional.pad(xs[0], [n for side in sides for n in node.attrs[side]])

    def pad_code(self, node: Node, x: EdgeFormat) -> int:
        return x.zero_point

    def fixed_run(self, node: Node, formats: Formats, kernels: ModuleType, *xs: Ints) -> tuple[Ints, Facts]:
        return np.pad(xs[0], _amounts(node, xs[0].ndim), constant_values=self.pad_code(node, formats[0])), Facts()

    def examples(self) -> Iterable[tuple[Node, tuple[Shape, ...]]]:
        yield Node("layer", self.kind, ("x",), {"columns": (1, 2), "rows": (0, 1), "channels": (2, 2)}), ((3, 5, 4),)


def _amounts(node: Node, axes: int) -> tuple[tuple[int, int], ...]:
    a = node.attrs
    return ((0, 0), a["channels"]) if axes == 2 else ((0, 0), a["rows"], a["columns"], a["channels"])


OPS.add(Pad.kind, Pad())
