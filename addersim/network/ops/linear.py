"""Multiplier linear layer: ``y[k] = bias[k] + sum over c of x[c] * w[k,c]``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

import numpy as np

from addersim.arithmetic.datapath import Kind
from addersim.arithmetic.window import Window
from addersim.errors import InputError
from addersim.network.node import Node, Shape
from addersim.network.ops import OPS, Arguments, Floats, Imported
from addersim.network.ops.array_layer import ArrayLayer


class Linear(ArrayLayer):
    """``torch.nn.Linear`` on (N, C); its weight is stored as ``w_krsc`` with R = S = 1."""

    kind = "linear"
    aten = ("aten.linear.default",)
    array: ClassVar[Kind | None] = "multiplier"

    def window(self, node: Node) -> Window:
        return Window(1, 1)

    def shape(self, node: Node, *shapes: Shape) -> Shape:
        if len(shapes[0]) != 1:
            raise InputError(f"a linear layer reads a vector, not shape {shapes[0]}; flatten first")
        return (len(node.params["w_krsc"]),)

    def from_aten(self, arguments: Arguments) -> Imported:
        weight = arguments["weight"] if "weight" in arguments else arguments["w"]
        params = {"w_krsc": weight[:, None, None, :]}
        if arguments.get("bias") is not None:
            params["bias_k"] = arguments["bias"]
        x = arguments["input"] if "input" in arguments else arguments["x"]
        return Imported((x.name,), {}, params)

    def float_run(self, node: Node, *xs: Floats) -> Floats:
        w_kc = node.params["w_krsc"][:, 0, 0, :]
        return np.asarray(xs[0] @ w_kc.T + node.params.get("bias_k", 0))

    def examples(self) -> Iterable[tuple[Node, tuple[Shape, ...]]]:
        rng = np.random.default_rng(8)
        for bias in (False, True):
            params = {"w_krsc": rng.normal(size=(5, 1, 1, 9)).astype(np.float32)}
            if bias:
                params["bias_k"] = rng.normal(size=5).astype(np.float32)
            yield Node("layer", self.kind, ("x",), {}, params), ((9,),)


OPS.add(Linear.kind, Linear())
