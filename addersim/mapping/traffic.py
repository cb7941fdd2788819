"""Words that one layer moves between the array, the buffers and DRAM, and what they cost.

The dataflow says what the array reads and writes, the tiling what crosses between the memories; this file lays both
out as moves and adds the vector unit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import and_
from typing import Any

from addersim.errors import InputError
from addersim.hardware import Element, Hardware
from addersim.hardware.broadcast import occurs, plain
from addersim.hardware.machine import ROLES, Role
from addersim.mapping.array_runs import Array
from addersim.mapping.dataflows import Schedule
from addersim.mapping.memories import AccessEnergies, Level, Store, levels, outside
from addersim.mapping.placement import Placed, place
from addersim.mapping.residency import Residency, edge_bits, residency, stored_bits
from addersim.mapping.tile_search import Layer, Objective
from addersim.mapping.tiles import Crossing, met
from addersim.mapping.transfers import Widths
from addersim.network.graph import Network, Node
from addersim.network.loops import LoopNest
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
class Step:
    """A node and, for a layer on the array, its kind, loops and schedule.

    ``array`` runs the layer tile by tile, at ``inside_pj`` per word it moves inside, by the
    schedule's fields; ``placed`` are the tiles that were found.
    """

    node: Node
    kind: Element | None = None
    nest: LoopNest | None = None
    schedule: Schedule | None = None
    array: Array | None = None
    inside_pj: tuple[tuple[str, float], ...] = ()
    placed: tuple[Placed, ...] = ()


@dataclass(frozen=True)
class Move:
    """``count`` words of ``bits`` bits to or from a buffer or ``"dram"``.

    ``crosses_into`` names the buffer inside that the transfer fills or drains, ``None`` if it serves the array.
    """

    where: str
    action: str
    count: Any
    bits: int
    crosses_into: str | None = None

    @property
    def writes(self) -> bool:
        """Whether the memory is written."""
        return self.action.startswith(("write", "fill"))

    @property
    def any(self) -> bool:
        """Whether a word moves, on any machine."""
        return occurs(self.count)


@dataclass(frozen=True)
class Setting:
    """Images of a network on a machine: memories from the array outwards, what stays in them, how layers are tiled."""

    qnet: Network
    stores: tuple[Store, ...]
    dram: Store
    computing: frozenset[str]
    residency: Residency
    tiling: Objective
    images: int = 1

    def near(self, role: Role) -> Store:
        """Return the memory from which the array takes an operand."""
        return next((store for store in self.stores if role in store.holds), self.dram)

    def far(self, role: Role) -> Store:
        """Return the outermost memory of an operand."""
        return next((store for store in reversed(self.stores) if role in store.holds), self.dram)

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


def setting(
    qnet: Network,
    machine: Hardware,
    computing: Iterable[str],
    prices: AccessEnergies | None = None,
    tiling: Objective = "traffic",
    images: int = 1,
) -> Setting:
    """Return the memories of ``machine``, and what of ``qnet`` stays in them.

    Parameters
    ----------
    machine
        Its numbers may be arrays that broadcast against each other.
    prices
        Of accesses, which tilings of least energy weigh.
    """

    def pj(name: str, write: bool) -> float:
        return prices[name, write] if prices else 0.0

    stores = tuple(
        Store(
            buffer.name,
            buffer.holds,
            8 * buffer.tile_bytes,
            buffer.word_bits,
            pj(buffer.name, False),
            pj(buffer.name, True),
            buffer.bits_per_cycle,
            buffer.double_buffered,
        )
        for buffer in machine.buffers
    )
    dram = Store("dram", ROLES, 0, 1, pj("dram", False), pj("dram", True), machine.dram.bits_per_cycle, True)
    names = frozenset(computing)
    return Setting(qnet, stores, dram, names, residency(qnet, machine, names, images), tiling, images)


def moves(step: Step, on: Setting) -> tuple[list[Move], str]:
    """Return everything that a layer moves, on the tiles of :func:`on_tiles`, and these."""
    if step.nest is None:
        return vector_moves(step.node, on), ""
    return array_moves(step, on, [one.crossing for one in step.placed]), "; ".join(map(str, step.placed))


def on_tiles(step: Step, on: Setting) -> Step:
    """Return the step with the tiles that a search finds, and their schedule in place of the whole layer's.

    Raises
    ------
    TooSmall
        If a buffer is too small for one tile.
    """
    if step.array is None:
        return step
    try:
        placed, pieces = place(layer_of(step, on), on.stores, on.dram, on.tiling)
    except InputError as error:
        raise type(error)(f"layer {step.node.name!r}: {error}") from None
    return replace(step, placed=placed, schedule=step.array.run(pieces))


def layer_of(step: Step, on: Setting) -> Layer:
    """Return a layer on the array as tilings see it."""
    assert step.nest is not None and step.schedule is not None and step.node.datapath is not None
    node, nest, schedule, path = step.node, step.nest, step.schedule, step.node.datapath
    edge = node.inputs[0]
    widths = Widths(edge_bits(on.qnet, edge), path.w.bits, edge_bits(on.qnet, node.name), path.accumulator.format.bits)
    array = Crossing(schedule.input_reads, schedule.weight_reads, nest.outputs, schedule.output_reads)
    pinned: tuple[tuple[Role, Any], ...] = (
        ("inputs", on.images * stored_bits(on.sources(edge), on.qnet) * on.stays(edge)),
        ("weights", on.residency.weight_bits),
        ("outputs", nest.outputs * widths.outputs * on.residency.stays.get(node.name, False)),
    )
    return Layer(nest, widths, array, schedule.cycles, pinned, step.array, step.inside_pj)


def array_moves(step: Step, on: Setting, crossings: Sequence[Crossing]) -> list[Move]:
    """Return everything that a layer on the array moves, given what crosses into every level from DRAM inward."""
    assert step.nest is not None and step.schedule is not None and step.node.datapath is not None
    nest, schedule, path = step.nest, step.schedule, step.node.datapath
    sums = schedule.output_writes - nest.outputs
    out, wide = on.near("outputs").name, path.accumulator.format.bits
    found = [
        Move(on.near("inputs").name, "read inputs", schedule.input_reads, path.x.bits),
        Move(on.near("weights").name, "read weights", schedule.weight_reads, path.w.bits),
        Move(out, "write outputs", nest.outputs, edge_bits(on.qnet, step.node.name)),
        Move(out, "write partial sums", sums, wide),
        Move(out, "read partial sums", sums, wide),
    ]
    for level, crossing in zip(levels(on.stores), crossings, strict=True):
        for store in level:
            found += _crossing_moves(step, on, level, store, crossing)
    in_flight = step.node.name in on.residency.in_flight
    return [move for move in found if move.any and not (in_flight and move.action.endswith(" outputs"))]


def _crossing_moves(step: Step, on: Setting, level: Level, store: Store, crossing: Crossing) -> Iterator[Move]:
    """Yield the moves across a memory's outer boundary, on both sides of it."""
    assert step.nest is not None and step.node.datapath is not None
    node, path, edge = step.node, step.node.datapath, step.node.inputs[0]
    for role in store.holds:
        beyond = outside(role, level, on.stores, on.dram)
        if role == "inputs":
            count = -(-crossing.inputs * on.stored_words(edge) // on.words(edge))
            yield from _transfer(beyond, store, "inputs", plain(count), edge_bits(on.qnet, edge))
        if role == "weights":
            yield from _transfer(beyond, store, "weights", plain(crossing.weights), path.w.bits)
        if role == "outputs":
            yield from _transfer(store, beyond, "outputs", crossing.outputs, edge_bits(on.qnet, node.name), store)
            sums, wide = plain(crossing.sums), path.accumulator.format.bits
            yield from _transfer(store, beyond, "partial sums", sums, wide, store)
            yield from _transfer(beyond, store, "partial sums", sums, wide)


def _transfer(source: Store, target: Store, what: str, count: Any, bits: int, into: Store | None = None) -> list[Move]:
    into = into or target
    reading, writing = ("drain", "write") if into is source else ("read", "fill")
    return [
        Move(source.name, f"{reading} {what}", count, bits, into.name),
        Move(target.name, f"{writing} {what}", count, bits, into.name),
    ]


def vector_moves(node: Node, on: Setting) -> list[Move]:
    """Return what the input or a layer on the vector unit moves."""
    own, bits = on.words(node.name), edge_bits(on.qnet, node.name)
    source, target = on.far("inputs"), on.far("outputs")
    stays = on.residency.stays.get(node.name, False)
    if node.name == on.qnet.nodes[0].name:
        found = _transfer(on.dram, source, "inputs", on.image_words * stays, bits)
        return [move for move in found if move.any]
    found = []
    if node.name not in on.computing:
        return found
    for edge in node.inputs:
        if edge in on.residency.in_flight:
            continue
        if source is not on.dram:
            fetched = on.stored_words(edge) * (1 - on.stays(edge))
            found += _transfer(on.dram, source, "inputs", fetched, edge_bits(on.qnet, edge))
        found.append(Move(source.name, "read inputs", on.words(edge), edge_bits(on.qnet, edge)))
    if node.name not in on.residency.in_flight:
        found.append(Move(target.name, "write outputs", own, bits))
        if target is not on.dram:
            found += _transfer(target, on.dram, "outputs", own * (1 - stays), bits, target)
    return [move for move in found if move.any]
