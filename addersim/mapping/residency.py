"""Residency: which activation edges and weights stay on chip, and which words an edge really stands for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import chain
from operator import and_
from typing import Any, TypeAlias

from addersim.hardware import Hardware
from addersim.hardware.machine import Role
from addersim.network.graph import Network
from addersim.network.node import Node
from addersim.network.ops import OPS, words

RULES = (
    "weights stay in the outermost buffer that holds weights from image to image if those of all layers fit it "
    "together; otherwise they come from DRAM for every image",
    "a buffer that holds n operands gives each 1/n of its room, half of its size if it is double buffered",
    "an activation edge stays on chip if it fits its share of both the outermost buffer of inputs and that of outputs, "
    "whose roles then swap; otherwise it is written to DRAM once and fetched by every layer that reads it",
    "the parts of a concatenation stay on chip together or not at all",
    "the input image stays if it fits the buffer of inputs; the output goes to DRAM",
    "the unrounded product that a residual addition takes is added as it leaves the array and not stored, "
    "but for the earlier of two layers that run on the array",
    "layers that compute nothing (flatten, concat, pad, slice, upsample) move nothing: whoever reads their output "
    "reads the words it is made of",
)


Group: TypeAlias = tuple[str, ...]  # stored edges that are read together


@dataclass(frozen=True)
class Residency:
    """What of a network stays on chip; on a machine whose sizes are arrays, where it stays.

    Attributes
    ----------
    sources
        Edge to the stored edges that it is made of: itself, or those that a chain of flatten, concat, ... renames.
    stays
        Stored edge that is read to whether it stays on chip.
    in_flight
        Edges that go from the output stage into a residual addition without being stored.
    weight_bits
        Bits of all weights if they stay from image to image, otherwise 0.
    """

    sources: Mapping[str, tuple[str, ...]]
    stays: Mapping[str, Any]
    in_flight: frozenset[str]
    weight_bits: Any

    @property
    def kept(self) -> frozenset[str]:
        """The edges that stay on chip."""
        return frozenset(edge for edge, stays in self.stays.items() if stays)


def residency(qnet: Network, machine: Hardware, computing: Iterable[str], images: int = 1) -> Residency:
    """Return what stays on chip by :data:`RULES`; ``computing`` names the layers that do more than rename words.

    An edge has the words of all ``images`` of a batch.

    Raises
    ------
    InputError
        If the network is not quantised.
    """
    sources = _sources(qnet, {*computing, qnet.nodes[0].name})
    in_flight = frozenset(node.name for node in qnet.nodes if _in_flight(node, qnet))
    read = {sources[edge] for node in qnet.nodes if node.name in computing for edge in node.inputs}
    groups = [group for edges in read if (group := tuple(edge for edge in edges if edge not in in_flight))]
    stays: dict[str, Any] = {}
    for together in _connected(groups):
        edges = set(chain.from_iterable(together))
        fits = [_fits(group, qnet, machine, images) for group in together]
        stays |= dict.fromkeys(edges, reduce(and_, fits, edges.isdisjoint(sources[qnet.nodes[-1].name])))
    return Residency(sources, stays, in_flight, _kept_weights(qnet, machine))


def _connected(groups: Sequence[Group]) -> list[list[Group]]:
    """Return the groups that hang together by edges they share: these stay together or not at all."""
    found: list[list[Group]] = []
    for group in groups:
        touched = [other for other in found if any(set(group) & set(one) for one in other)]
        rest = [other for other in found if other not in touched]
        found = [*rest, [group, *(one for other in touched for one in other)]]
    return found


def _sources(qnet: Network, stored: set[str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for node in qnet.nodes:
        made_of = [source for edge in node.inputs for source in found[edge]]
        found[node.name] = (node.name,) if node.name in stored else tuple(dict.fromkeys(made_of))
    return found


def share_bits(machine: Hardware, role: Role) -> Any:
    """Return the bits that an operand may take in the outermost buffer that holds it, 0 if there is none."""
    levels = machine.levels(role)
    return 8 * levels[-1].tile_bytes // len(levels[-1].holds) if levels else 0


def _fits(group: Group, qnet: Network, machine: Hardware, images: int) -> Any:
    roles: tuple[Role, ...] = ("inputs",) if group == (qnet.nodes[0].name,) else ("inputs", "outputs")
    bits = images * stored_bits(group, qnet)
    return reduce(and_, (bits <= share_bits(machine, role) for role in roles))


def stored_bits(edges: Iterable[str], qnet: Network) -> int:
    """Return the bits of the edges' words."""
    return sum(words(qnet.tensors[edge].shape) * edge_bits(qnet, edge) for edge in edges)


def _kept_weights(qnet: Network, machine: Hardware) -> Any:
    bits = sum(n.params["w_krsc"].size * n.datapath.w.bits for n in qnet.nodes if n.datapath is not None)
    return bits * (bits <= share_bits(machine, "weights"))


def _in_flight(node: Node, qnet: Network) -> bool:
    readers = qnet.consumers(node.name)
    if not node.unrounded or len(readers) != 1:
        return False
    on_array = [n.name for n in qnet.nodes if n.name in readers[0].inputs and OPS[n.kind].array is not None]
    return node.name not in on_array[:-1]


def edge_bits(qnet: Network, edge: str) -> int:
    """Return the width of an edge's words.

    Raises
    ------
    InputError
        If the network is not quantised.
    """
    return qnet.format(edge).bits
