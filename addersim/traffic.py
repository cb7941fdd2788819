"""Words that one layer moves between the array, the buffers and DRAM, and what they cost.

Dataflows say what the array reads and writes; this file adds the vector lanes and a thin model of DRAM.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from addersim.charges import Charge
from addersim.costs import CostTable
from addersim.dataflows import Schedule
from addersim.datapath import Kind
from addersim.errors import InputError
from addersim.hardware import Hardware
from addersim.hardware.machine import Role
from addersim.loops import LoopNest
from addersim.network import Network, Node
from addersim.ops import OPS, words

RULES = (
    "weights stay in the weight buffer from image to image if those of all layers fit it together; otherwise "
    "they come from DRAM once per image, or as often as the dataflow reads them where one layer's exceed it",
    "the input image and the output cross DRAM once",
    "an activation edge stays on chip if it fits both the input and the output buffer, whose roles then "
    "swap; otherwise it is written to DRAM and read back once",
    "the unrounded product that a residual addition takes is added as it leaves the array and not stored, "
    "but for the earlier of two layers that run on the array",
    "a word from DRAM is written into its buffer, a word to DRAM is read from it; both are charged",
    "buffer words are packed: an access of word_bits carries word_bits // bits words, all of them used",
    "padded pixels are read like others; constants of output stages are not counted as traffic",
    "layers that compute nothing (flatten, concat, pad, slice, upsample) move nothing",
)


@dataclass(frozen=True)
class Step:
    """A node and, for a layer on the array, its kind, loops and schedule."""

    node: Node
    kind: Kind | None = None
    nest: LoopNest | None = None
    schedule: Schedule | None = None


@dataclass(frozen=True)
class Move:
    """``count`` words of ``bits`` bits to or from a buffer or DRAM."""

    where: Role | Literal["dram"]
    action: str
    count: int
    bits: int


def moves(step: Step, qnet: Network, machine: Hardware, computes: bool) -> list[Move]:
    """Return everything that ``step`` moves; ``computes`` is false for layers that only rename words."""
    out = (words(qnet.tensors[step.node.name].shape), edge_bits(qnet, step.node.name))
    found: list[Move] = []
    if step.nest is not None and step.schedule is not None:
        found += _array_moves(step, step.nest, step.schedule, out)
        if not weights_stay(qnet, machine):
            found += _weight_moves(step, step.nest, step.schedule, machine)
    elif computes:
        for edge in step.node.inputs:
            if not _in_flight(qnet.node(edge), qnet):
                found.append(Move("inputs", "read", words(qnet.tensors[edge].shape), edge_bits(qnet, edge)))
        found.append(Move("outputs", "write", *out))
    if _in_flight(step.node, qnet):
        return [move for move in found if move.count and (move.where, move.action) != ("outputs", "write")]
    return [move for move in found + _edge_moves(step.node, qnet, machine, out, computes) if move.count]


def _array_moves(step: Step, nest: LoopNest, schedule: Schedule, out: tuple[int, int]) -> list[Move]:
    path = step.node.datapath
    assert path is not None
    wide = path.accumulator.format.bits
    return [
        Move("inputs", "read", schedule.input_reads, path.x.bits),
        Move("weights", "read", schedule.weight_reads, path.w.bits),
        Move("outputs", "write", *out),
        Move("outputs", "write partial sum", schedule.output_writes - nest.outputs, wide),
        Move("outputs", "read partial sum", schedule.output_reads, wide),
    ]


def weights_stay(qnet: Network, machine: Hardware) -> bool:
    """Return whether the weights of all layers together fit the weight buffer, so that no image pays for them."""
    bits = sum(n.params["w_krsc"].size * n.datapath.w.bits for n in qnet.nodes if n.datapath is not None)
    return bits <= 8 * machine.buffer("weights").size_bytes


def _weight_moves(step: Step, nest: LoopNest, schedule: Schedule, machine: Hardware) -> list[Move]:
    assert step.node.datapath is not None
    bits = step.node.datapath.w.bits
    fits = nest.weights * bits <= 8 * machine.buffer("weights").size_bytes
    fetched = nest.weights if fits else schedule.weight_reads
    return [Move("dram", "read weights", fetched, bits), Move("weights", "fill", fetched, bits)]


def _edge_moves(node: Node, qnet: Network, machine: Hardware, out: tuple[int, int], computes: bool) -> list[Move]:
    if node.name == qnet.nodes[0].name:
        return [Move("dram", "read image", *out), Move("inputs", "fill", *out)]
    write = [Move("outputs", "drain", *out), Move("dram", "write activations", *out)]
    if node.name == qnet.nodes[-1].name:
        return write
    room = min(machine.buffer("inputs").size_bytes, machine.buffer("outputs").size_bytes)
    if not computes or out[0] * out[1] <= 8 * room:
        return []
    return [*write, Move("dram", "read activations", *out), Move("inputs", "fill", *out)]


def _in_flight(node: Node, qnet: Network) -> bool:
    """Whether the node's edge goes from the output stage into a residual addition without being stored."""
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


def charge(move: Move, layer: str, machine: Hardware, table: CostTable) -> Charge:
    """Return the charge of a move; buffers are priced per packed word, DRAM per bit."""
    if move.where == "dram":
        price = table.dram(1)
        bits, pj_per_bit, source = move.count * move.bits, price.energy_pj, price.source
        if machine.dram.pj_per_bit is not None:
            pj_per_bit, source = machine.dram.pj_per_bit, f"{machine.name}: DRAM {machine.dram.pj_per_bit:g} pJ per bit"
        return Charge(layer, "dram", move.action, bits, bits * pj_per_bit, source)
    buffer = machine.buffer(move.where)
    price = table.memory(buffer.size_bytes, buffer.word_bits)
    per_access = buffer.word_bits // move.bits
    share = 1 / per_access if per_access else -(-move.bits // buffer.word_bits)
    packed = f"{per_access} words of {move.bits} b per access" if per_access else f"{share} accesses per word"
    action = f"{move.where}: {move.action} {move.bits} b"
    energy_pj = move.count * share * price.energy_pj
    return Charge(layer, "buffers", action, move.count, energy_pj, f"{price.source}; {packed}")
