"""The network's input edge."""

from __future__ import annotations

from addersim.network.node import Node, Shape
from addersim.network.ops import OPS, Op


class Input(Op):
    """A source of images; its shape is an attribute."""

    kind = "input"
    role = "input"

    def shape(self, node: Node, *shapes: Shape) -> Shape:
        return tuple(node.attrs["shape"])


OPS.add(Input.kind, Input())
