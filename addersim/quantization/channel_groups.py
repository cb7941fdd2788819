"""grouped: a float network whose adder layers are cut into groups of output channels, each a layer of its own.

Channels of an output do not depend on each other, so the network computes what it did; but a layer of its own has a
step of its own. Batch norm, rectifier and residual addition behind a layer are cut with it, and the groups concatenated
in front of whatever comes next: it is all in kinds of nodes that simulator, counts, prices and dumps know.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from addersim.errors import InputError
from addersim.network.graph import Network
from addersim.network.node import Node, Tensor
from addersim.network.ops import FUSED, OPS


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


def cut_like(network: Network, other: Network) -> Network:
    """Return ``network`` with the groups that ``other``, which was made of it, has."""
    return grouped(network, max(group_of(node)[1] for node in other.nodes))


def group_of(node: Node) -> tuple[int, int]:
    """Return which group of how many ``node`` is; (0, 1) where it was not cut."""
    group, groups = node.attrs.get("channel_group", (0, 1))
    return int(group), int(groups)


def is_group(node: Node) -> bool:
    """Whether ``node`` is one group of an adder layer that was cut."""
    return OPS[node.kind].array == "adder" and group_of(node)[1] > 1


def whole_of(node: Node) -> str:
    """Return the name of the node that ``node`` is a group of, or its own."""
    group, groups = group_of(node)
    return node.name.removesuffix(f".group{group}") if groups > 1 else node.name


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
        if OPS[node.kind].array == "adder" and not is_group(node):
            names = tuple(self._put(part) for part in self._layers(node))
        elif OPS[node.kind].role in FUSED and any(name in self.parts for name in node.inputs):
            names = tuple(self._put(part) for part in self._followers(node))
        else:
            self._put(node)
            return
        readers = self.network.consumers(node.name)
        if len(readers) == 1 and OPS[readers[0].kind].role in FUSED:
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
        inner = {"groups": max(own // self.groups, 1)} if "groups" in node.attrs else {}
        node = replace(node, attrs={**node.attrs, **inner})
        return [self._group(node, g, (sources[g * len(sources) // self.groups],)) for g in range(self.groups)]

    def _followers(self, node: Node) -> list[Node]:
        sources = [self.parts.get(name) or self._slices(name, self.groups) for name in node.inputs]
        return [self._group(node, g, inputs) for g, inputs in enumerate(zip(*sources, strict=True))]

    def _group(self, node: Node, group: int, inputs: tuple[str, ...]) -> Node:
        params = {key: np.ascontiguousarray(np.split(value, self.groups)[group]) for key, value in node.params.items()}
        attrs = {**node.attrs, "channel_group": (group, self.groups)}
        return replace(node, name=f"{node.name}.group{group}", inputs=inputs, attrs=attrs, params=params)

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
