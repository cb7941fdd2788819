"""Words that one layer moves between the array, the buffers and DRAM.

The dataflow says what the array reads and writes, the tiling what crosses between the memories; this file lays both
out as transfers and adds the vector lanes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import and_
from typing import Any

from addersim.hardware import Hardware
from addersim.hardware.broadcast import occurs, plain
from addersim.hardware.machine import ROLES, Role
from addersim.mapping.memories import Store, far, levels
from addersim.mapping.residency import Residency, edge_bits, residency, stored_bits
from addersim.mapping.scratchpads import Place
from addersim.mapping.steps import OnArray, Step
from addersim.mapping.tile_search import Layer
from addersim.mapping.tiles import Crossing, met
from addersim.mapping.transfers import COMPUTE, Transfer, Widths, array_transfers, into, level_transfers, out_of
from addersim.network.graph import Network
from addersim.network.node import Node
from addersim.network.ops import OPS, words

RULES = (
    "each memory holds tiles, tile sizes and order by exhaustive search, one level after the other from DRAM inward; a "
    "level inside is filled anew for every tile of the level outside; shared rows of input tiles are fetched again, "
    "padding is not; the largest tile of every operand the memory holds has to fit, partial sums included",
    "the array runs every innermost tile as a layer of its own, one after the other: it fills and drains, and reads "
    "operands again, for each; where tiles cut the input channels, the partial sums leave the array after every part",
    "every word crosses all buffers that hold its operand; a word that crosses is read on one side and written on the "
    "other, and both are charged",
    "what the vector lanes do reads the outermost buffer of inputs and writes the outermost buffer of outputs",
    "edges that wait for a later layer take no room meanwhile",
    "buffer words are packed: an access of word_bits carries word_bits // bits words, all of them used",
    "padded pixels are read by the array like others; constants of output stages are not counted as traffic",
)


@dataclass(frozen=True)
class Energies:
    """Energy in pJ of one access, which tilings of least energy weigh.

    Attributes
    ----------
    access
        Of a memory, by its name and whether it is written; of a bit of ``"dram"``.
    inside
        Of a scratchpad or a hop; ``None`` where it has no price.
    """

    access: Callable[[str, bool], float]
    inside: Callable[[Place], float | None]


FREE = Energies(lambda memory, writes: 0.0, lambda place: None)


@dataclass(frozen=True)
class Setting:
    """Images of a network on a machine: the memories from the array outwards, and what stays in them."""

    qnet: Network
    stores: tuple[Store, ...]
    dram: Store
    computing: frozenset[str]
    residency: Residency
    images: int = 1

    def sources(self, edge: str) -> tuple[str, ...]:
        """Return the stored edges that an edge is made of."""
        return tuple(one for one in self.residency.sources[edge] if one not in self.residency.in_flight)

    def stays(self, edge: str) -> Any:
        """Return whether all that an edge is made of stays on chip."""
        return reduce(and_, (self.residency.stays.get(one, False) for one in self.sources(edge)), True)

    def words(self, edge: str) -> int:
        """Return the words of an edge."""
        return self.images * words(self.qnet.tensors[edge].shape)

    @property
    def image_words(self) -> int:
        """The words of the input that are fetched when it stays: those that its readers' windows meet, at most all."""
        image, fetched = self.qnet.nodes[0].name, 0
        for node in self.qnet.consumers(image):
            nest = OPS[node.kind].loops(node, self.qnet.in_shapes(node), self.qnet.tensors[node.name].shape)
            if nest is None:
                return self.words(image)
            fetched += self.images * nest.C * int(met(0, nest, nest.P)[0] * met(1, nest, nest.Q)[0])
        return min(self.words(image), fetched)

    def stored_words(self, edge: str) -> int:
        """Return the words that have to be fetched for an edge: those it is made of, or its own if they are fewer."""
        return min(self.words(edge), sum(self.words(one) for one in self.sources(edge)))


def setting(qnet: Network, machine: Hardware, computing: Iterable[str], energies: Energies, images: int = 1) -> Setting:
    """Return the memories of ``machine``, and what of ``qnet`` stays in them.

    Parameters
    ----------
    machine
        Its numbers may be arrays that broadcast against each other.
    energies
        Of accesses, which tilings of least energy weigh.
    """
    stores = tuple(
        Store(
            buffer.name,
            buffer.holds,
            8 * buffer.tile_bytes,
            buffer.word_bits,
            energies.access(buffer.name, False),
            energies.access(buffer.name, True),
            buffer.bits_per_cycle,
            buffer.double_buffered,
        )
        for buffer in machine.buffers
    )
    dram_pj = energies.access("dram", False), energies.access("dram", True)
    dram = Store("dram", ROLES, 0, 1, *dram_pj, machine.dram.bits_per_cycle, overlaps=True)
    names = frozenset(computing)
    return Setting(qnet, stores, dram, names, residency(qnet, machine, names, images), images)


def layer_of(step: Step, on: OnArray, where: Setting, inside_pj: Sequence[tuple[str, float]] = ()) -> Layer:
    """Return a layer on the array as tilings see it; ``inside_pj`` as there."""
    edge, nest, schedule = step.node.inputs[0], on.nest, on.schedule
    widths = widths_of(step.node, on, where)
    array = Crossing(schedule.input_reads, schedule.weight_reads, nest.outputs, schedule.output_reads)
    pinned: tuple[tuple[Role, Any], ...] = (
        ("inputs", where.images * stored_bits(where.sources(edge), where.qnet) * where.stays(edge)),
        ("weights", where.residency.weight_bits),
        ("outputs", nest.outputs * widths.outputs * where.residency.stays.get(step.node.name, False)),
    )
    return Layer(nest, widths, array, schedule.cycles, pinned, on.array, tuple(inside_pj))


def widths_of(node: Node, on: OnArray, where: Setting) -> Widths:
    """Return the bits of a layer's words."""
    inputs, outputs = edge_bits(where.qnet, node.inputs[0]), edge_bits(where.qnet, node.name)
    return Widths(inputs, on.path.w.bits, outputs, on.path.accumulator.format.bits)


def transfers(step: Step, where: Setting, crossings: Sequence[Crossing]) -> tuple[Transfer, ...]:
    """Return everything that a layer moves, given what crosses into every level from DRAM inward."""
    if step.node.name == where.qnet.nodes[0].name:
        found = _image(where)
    elif step.on is not None:
        found = _of_array(step.node, step.on, where, crossings)
    else:
        found = _of_vector_lanes(step.node, where) if step.node.name in where.computing else []
    return tuple(transfer for transfer in found if occurs(transfer.words))


def _of_array(node: Node, on: OnArray, where: Setting, crossings: Sequence[Crossing]) -> list[Transfer]:
    edge, outputs, schedule = node.inputs[0], on.nest.outputs, on.schedule
    widths, memories = widths_of(node, on, where), (where.stores, where.dram)
    words = Crossing(schedule.input_reads, schedule.weight_reads, outputs, schedule.output_writes - outputs)
    found = array_transfers(words, widths, *memories)
    for level, crossing in zip(levels(where.stores), crossings, strict=True):
        inputs = -(-crossing.inputs * where.stored_words(edge) // where.words(edge))
        words = Crossing(*map(plain, (inputs, crossing.weights, crossing.outputs, crossing.sums)))
        found += level_transfers(words, widths, level, *memories)
    in_flight = node.name in where.residency.in_flight
    return [transfer for transfer in found if not (in_flight and transfer.what == "outputs")]


def _image(where: Setting) -> list[Transfer]:
    """The input image is fetched once where it stays, otherwise by whoever reads it."""
    image = where.qnet.nodes[0].name
    stays = where.residency.stays.get(image, False)
    inside = far("inputs", where.stores, where.dram)
    return [into(inside, where.dram, "inputs", where.image_words * stays, edge_bits(where.qnet, image))]


def _of_vector_lanes(node: Node, where: Setting) -> list[Transfer]:
    found, dram = [], where.dram
    source, target = (far(role, where.stores, dram) for role in ("inputs", "outputs"))
    for edge in node.inputs:
        if edge not in where.residency.in_flight:
            bits, fetched = edge_bits(where.qnet, edge), where.stored_words(edge) * (1 - where.stays(edge))
            found += [into(source, dram, "inputs", fetched, bits)] if source is not dram else []
            found.append(into(COMPUTE, source, "inputs", where.words(edge), bits))
    if node.name not in where.residency.in_flight:
        bits, own = edge_bits(where.qnet, node.name), where.words(node.name)
        leaves = own * (1 - where.residency.stays.get(node.name, False))
        found.append(out_of(COMPUTE, target, "outputs", own, bits))
        found += [out_of(target, dram, "outputs", leaves, bits)] if target is not dram else []
    return found
