"""Words that one layer moves between the array, the buffers and DRAM, and what they cost.

The dataflow says what the array reads and writes, the tiling what crosses between the memories; this file lays both
out as moves and adds the vector unit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import and_
from typing import Any

import numpy as np

from addersim.broadcast import occurs, plain
from addersim.charges import Charge
from addersim.dataflows import Schedule
from addersim.hardware import Element, Hardware
from addersim.hardware.machine import ROLES, Role
from addersim.level_search import Layer, Objective, TooSmall, Widths
from addersim.loops import LoopNest
from addersim.network import Network, Node
from addersim.ops import words
from addersim.placement import place
from addersim.ports import accesses
from addersim.residency import Residency, edge_bits, residency, stored_bits
from addersim.stores import AccessPrices, Level, Store, levels, outside
from addersim.tiling import Crossing

RULES = (
    "each memory holds tiles, tile sizes and order by exhaustive search, one level after the other from DRAM inward; a "
    "level inside is filled anew for every tile of the level outside; shared rows of input tiles are fetched again, "
    "padding is not; the largest tile of every operand the memory holds has to fit, partial sums included",
    "cycles of the array are those of the whole layer, whatever the tiles: a tile narrower than the array is not "
    "charged for the elements it leaves idle; where tiles cut the input channels, the partial sums leave the array "
    "after every part; a word that comes into the memory next to the array is read from it at least once",
    "every word crosses all buffers that hold its operand; a word that crosses is read on one side and written on the "
    "other, and both are charged",
    "what the vector lanes do reads the outermost buffer of inputs and writes the outermost buffer of outputs",
    "edges that wait for a later layer take no room meanwhile",
    "buffer words are packed: an access of word_bits carries word_bits // bits words, all of them used",
    "padded pixels are read by the array like others; constants of output stages are not counted as traffic",
)


@dataclass(frozen=True)
class Step:
    """A node and, for a layer on the array, its kind, loops and schedule."""

    node: Node
    kind: Element | None = None
    nest: LoopNest | None = None
    schedule: Schedule | None = None


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
    """A network on a machine: its memories from the array outwards, what stays in them, and how layers are tiled."""

    qnet: Network
    stores: tuple[Store, ...]
    dram: Store
    computing: frozenset[str]
    residency: Residency
    tiling: Objective

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

    def stored_words(self, edge: str) -> int:
        """Return the words that have to be fetched for an edge: those it is made of, or its own if they are fewer."""
        own, made_of = (sum(words(self.qnet.tensors[e].shape) for e in es) for es in ([edge], self.sources(edge)))
        return min(own, made_of)


def setting(
    qnet: Network,
    machine: Hardware,
    computing: Iterable[str],
    prices: AccessPrices | None = None,
    tiling: Objective = "traffic",
) -> Setting:
    """Return the memories of ``machine``, and what of ``qnet`` stays in them.

    Parameters
    ----------
    machine
        Its numbers may be arrays that broadcast against each other.
    prices
        Of accesses, which a searched tiling weighs.
    """

    def pj(name: str, write: bool) -> float:
        return prices[name, write].energy_pj if prices else 0.0

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
    return Setting(qnet, stores, dram, names, residency(qnet, machine, names), tiling)


def moves(step: Step, on: Setting) -> tuple[list[Move], str]:
    """Return everything that a layer moves, and the tiles it was cut into.

    Raises
    ------
    TooSmall
        If a buffer is too small for one tile.
    """
    if step.nest is None:
        return vector_moves(step.node, on), ""
    try:
        placed, channel_parts = place(layer_of(step, on), on.stores, on.dram, on.tiling)
    except TooSmall as error:
        raise TooSmall(f"layer {step.node.name!r}: {error}") from None
    return array_moves(step, on, [one.crossing for one in placed], channel_parts), "; ".join(map(str, placed))


def layer_of(step: Step, on: Setting) -> Layer:
    """Return a layer on the array as tilings see it."""
    assert step.nest is not None and step.schedule is not None and step.node.datapath is not None
    node, nest, schedule, path = step.node, step.nest, step.schedule, step.node.datapath
    edge = node.inputs[0]
    widths = Widths(edge_bits(on.qnet, edge), path.w.bits, edge_bits(on.qnet, node.name), path.accumulator.format.bits)
    array = Crossing(schedule.input_reads, schedule.weight_reads, nest.outputs, schedule.output_reads)
    pinned: tuple[tuple[Role, Any], ...] = (
        ("inputs", stored_bits(on.sources(edge), on.qnet) * on.stays(edge)),
        ("weights", on.residency.weight_bits),
        ("outputs", nest.outputs * widths.outputs * on.residency.stays.get(node.name, False)),
    )
    return Layer(nest, widths, array, schedule.cycles, pinned)


def array_moves(step: Step, on: Setting, crossings: Sequence[Crossing], channel_parts: Any) -> list[Move]:
    """Return everything that a layer on the array moves, given what crosses into every level from DRAM inward."""
    assert step.nest is not None and step.schedule is not None and step.node.datapath is not None
    nest, schedule, path = step.nest, step.schedule, step.node.datapath
    sums = plain(np.maximum(schedule.output_writes, channel_parts * nest.outputs)) - nest.outputs
    out, wide = on.near("outputs").name, path.accumulator.format.bits
    reads = {"inputs": schedule.input_reads, "weights": schedule.weight_reads}
    for level, crossing in zip(levels(on.stores), crossings, strict=True):
        for role in [role for store in level for role in store.holds if role in reads]:
            reads[role] = plain(np.maximum(reads[role], getattr(crossing, role)))
    found = [
        Move(on.near("inputs").name, "read inputs", reads["inputs"], path.x.bits),
        Move(on.near("weights").name, "read weights", reads["weights"], path.w.bits),
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
            own = words(on.qnet.tensors[edge].shape)
            count = -(-crossing.inputs * on.stored_words(edge) // own)
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
    own, bits = words(on.qnet.tensors[node.name].shape), edge_bits(on.qnet, node.name)
    source, target = on.far("inputs"), on.far("outputs")
    stays = on.residency.stays.get(node.name, False)
    if node.name == on.qnet.nodes[0].name:
        found = _transfer(on.dram, source, "inputs", own * stays, bits)
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
        found.append(Move(source.name, "read inputs", words(on.qnet.tensors[edge].shape), edge_bits(on.qnet, edge)))
    if node.name not in on.residency.in_flight:
        found.append(Move(target.name, "write outputs", own, bits))
        if target is not on.dram:
            found += _transfer(target, on.dram, "outputs", own * (1 - stays), bits, target)
    return [move for move in found if move.any]


def charge(move: Move, layer: str, machine: Hardware, prices: AccessPrices) -> Charge:
    """Return the charge of a move; buffers are priced per packed word, DRAM per bit."""
    price = prices[move.where, move.writes]
    if move.where == "dram":
        bits = move.count * move.bits
        return Charge(layer, "dram", move.action, bits, bits * price.energy_pj, price.source)
    buffer = next(buffer for buffer in machine.buffers if buffer.name == move.where)
    per_access, per_word = buffer.word_bits // move.bits, accesses(move.bits, buffer.word_bits)
    packed = f"{per_access} words of {move.bits} b per access" if per_access else f"{per_word:g} accesses per word"
    action = f"{move.where}: {move.action} {move.bits} b"
    energy_pj = move.count * per_word * price.energy_pj
    return Charge(layer, "buffers", action, move.count, energy_pj, f"{price.source}; {packed}")
