"""Residency: which activation edges and weights stay on chip, and which words an edge really stands for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from addersim.errors import InputError
from addersim.hardware import Hardware
from addersim.hardware.machine import Role
from addersim.network import Network, Node
from addersim.ops import OPS, words

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


@dataclass(frozen=True)
class Residency:
    """What of a network stays on chip on one machine.

    Attributes
    ----------
    sources
        Edge to the stored edges that it is made of: itself, or those that a chain of flatten, concat, ... renames.
    kept
        Stored edges that stay on chip.
    in_flight
        Edges that go from the output stage into a residual addition without being stored.
    weight_bits
        Bits of all weights if they stay from image to image, otherwise 0.
    """

    sources: Mapping[str, tuple[str, ...]]
    kept: frozenset[str]
    in_flight: frozenset[str]
    weight_bits: int


def residency(qnet: Network, machine: Hardware, computing: Iterable[str]) -> Residency:
    """Return what stays on chip by :data:`RULES`; ``computing`` names the layers that do more than rename words.

    Raises
    ------
    InputError
        If the network is not quantised.
    """
    sources = _sources(qnet, {*computing, qnet.nodes[0].name})
    in_flight = frozenset(node.name for node in qnet.nodes if _in_flight(node, qnet))
    read = {sources[edge] for node in qnet.nodes if node.name in computing for edge in node.inputs}
    groups = [group for edges in read if (group := tuple(edge for edge in edges if edge not in in_flight))]
    spilled = set(sources[qnet.nodes[-1].name]) | {
        e for group in groups if not _fits(group, qnet, machine) for e in group
    }
    while more := {edge for group in groups if spilled & set(group) for edge in group} - spilled:
        spilled |= more
    kept = frozenset(edge for group in groups for edge in group) - spilled
    return Residency(sources, kept, in_flight, _kept_weights(qnet, machine))


def _sources(qnet: Network, stored: set[str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for node in qnet.nodes:
        made_of = [source for edge in node.inputs for source in found[edge]]
        found[node.name] = (node.name,) if node.name in stored else tuple(dict.fromkeys(made_of))
    return found


def share_bits(machine: Hardware, role: Role) -> int:
    """Return the bits that an operand may take in the outermost buffer that holds it, 0 if there is none."""
    levels = machine.levels(role)
    return 8 * levels[-1].tile_bytes // len(levels[-1].holds) if levels else 0


def _fits(group: tuple[str, ...], qnet: Network, machine: Hardware) -> bool:
    roles: tuple[Role, ...] = ("inputs",) if group == (qnet.nodes[0].name,) else ("inputs", "outputs")
    return stored_bits(group, qnet) <= min(share_bits(machine, role) for role in roles)


def stored_bits(edges: Iterable[str], qnet: Network) -> int:
    """Return the bits of the edges' words."""
    return sum(words(qnet.tensors[edge].shape) * edge_bits(qnet, edge) for edge in edges)


def _kept_weights(qnet: Network, machine: Hardware) -> int:
    bits = sum(n.params["w_krsc"].size * n.datapath.w.bits for n in qnet.nodes if n.datapath is not None)
    return bits if bits <= share_bits(machine, "weights") else 0


def _in_flight(node: Node, qnet: Network) -> bool:
    readers = qnet.consumers(node.name)
    if node.stage is None or node.stage.finish or len(readers) != 1:
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
    form = qnet.tensors[edge].format
    if form is None:
        raise InputError(f"edge {edge!r} has no integer format: quantise the network before evaluating it")
    return form.bits
