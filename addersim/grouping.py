"""grouped: a float network whose adder layers are cut into groups of output channels, each a layer of its own.

Channels of an output do not depend on each other, so the network computes what it did; but a layer of its own has a
step of its own. Batch norm, rectifier and residual addition behind a layer are cut with it, and the groups concatenated
in front of whatever comes next: it is all in kinds of nodes that simulator, counts, prices and dumps know.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from addersim.errors import InputError
from addersim.network import Network, Node, Tensor
from addersim.ops import OPS

CUT_ALONG = ("batch_norm", "relu", "add")  # kinds that do the same to every channel, and so to every group


def grouped(network: Network, groups: int) -> Network:
    """Return ``network`` with every adder layer as ``groups`` layers of ``K / groups`` output channels.

    Group g of ``layer`` is called ``layer.group<g>`` and holds channels ``g * K / groups`` and following. A layer with
    groups of its own (a grouped or depthwise convolution) reads only the channels that its part needs. Layers that are
    groups already stay as they are, and all do with ``groups = 1``.

    Raises
    ------
    InputError
        If the output channels of an adder layer do not divide into that many groups.
    """
    if groups == 1:
        return network
    cut = _Cut(network, groups)
    for node in network.nodes:
        cut.place(node)
    return Network(network.name, tuple(cut.nodes), cut.tensors)


def groups_of(node: Node) -> int:
    """Return how many groups the layer was cut into of which ``node`` is one; 1 for any other node."""
    return int(node.attrs.get("channel_groups", 1))


def layer_of(node: Node) -> str:
    """Return the name of the layer that ``node`` is a group of, or its own."""
    return node.name.rpartition(".group")[0] if groups_of(node) > 1 else node.name


@dataclass
class _Cut:
    """The nodes so far, and the edges that are there as parts, waiting for who reads them."""

    network: Network
    groups: int
    nodes: list[Node] = field(default_factory=list)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    parts: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def place(self, node: Node) -> None:
        """Append a node, whole or in groups; groups that more than one node or another kind reads are joined."""
        if OPS[node.kind].array == "adder" and groups_of(node) == 1:
            names = tuple(self._put(part) for part in self._layers(node))
        elif node.kind in CUT_ALONG and any(name in self.parts for name in node.inputs):
            names = tuple(self._put(part) for part in self._followers(node))
        else:
            self._put(node)
            return
        readers = self.network.consumers(node.name)
        if len(readers) == 1 and readers[0].kind in CUT_ALONG:
            self.parts[node.name] = names
        else:
            self._put(Node(node.name, "concat", names))

    def _put(self, node: Node) -> str:
        self.nodes.append(node)
        shapes = (self.tensors[name].shape for name in node.inputs)
        whole = self.network.tensors.get(node.name)
        self.tensors[node.name] = whole or Tensor(OPS[node.kind].shape(node, *shapes))
        return node.name

    def _layers(self, node: Node) -> list[Node]:
        """Return a layer's groups."""
        K, own = len(node.params["w_krsc"]), node.attrs.get("groups", 1)
        if K % self.groups or (own % self.groups and self.groups % own):
            inputs = "" if own == 1 else f" (of {own} groups of its own)"
            raise InputError(
                f"layer {node.name!r}: its {K} output channels{inputs} do not divide into {self.groups} groups"
            )
        sources = self._slices(node.inputs[0], min(own, self.groups))
        return [
            replace(
                node,
                name=f"{node.name}.group{g}",
                inputs=(sources[g * len(sources) // self.groups],),
                attrs={**node.attrs, "groups": max(own // self.groups, 1), "channel_groups": self.groups},
                params=_cut(node.params, g, self.groups),
            )
            for g in range(self.groups)
        ]

    def _followers(self, node: Node) -> list[Node]:
        sources = [self.parts.get(name) or self._slices(name, self.groups) for name in node.inputs]
        return [
            replace(node, name=f"{node.name}.group{g}", inputs=inputs, params=_cut(node.params, g, self.groups))
            for g, inputs in enumerate(zip(*sources, strict=True))
        ]

    def _slices(self, edge: str, parts: int) -> tuple[str, ...]:
        """Return an edge cut into equal parts of its channels, once."""
        if parts == 1:
            return (edge,)
        names = tuple(f"{edge}.part{i}of{parts}" for i in range(parts))
        size = self.network.tensors[edge].shape[0] // parts
        for i, name in enumerate(names):
            if name not in self.tensors:
                attrs = {"axis": 0, "start": i * size, "stop": (i + 1) * size, "step": 1}
                self._put(Node(name, "slice", (edge,), attrs))
        return names


def _cut(params: Mapping[str, NDArray[Any]], group: int, groups: int) -> dict[str, NDArray[Any]]:
    return {key: np.ascontiguousarray(np.split(value, groups)[group]) for key, value in params.items()}
