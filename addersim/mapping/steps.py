"""Step: a node of the network, and how an array runs it before it is cut into tiles."""

from __future__ import annotations

from dataclasses import dataclass, replace

from addersim.arithmetic.datapath import Datapath, Kind
from addersim.errors import InputError
from addersim.hardware import Element, Hardware
from addersim.hardware.elements import element_of, operand_bits
from addersim.hardware.fit import fit
from addersim.mapping.array_runs import Array
from addersim.mapping.dataflows import Dataflow, Schedule
from addersim.mapping.scratchpads import scratchpad_words
from addersim.network.graph import Network
from addersim.network.loops import LoopNest
from addersim.network.node import Node
from addersim.network.ops import OPS


@dataclass(frozen=True)
class OnArray:
    """A layer on an array: the elements that run it, its datapath and loops, the array, and what the array does."""

    element: Element
    path: Datapath
    nest: LoopNest
    array: Array
    schedule: Schedule

    @property
    def accumulations(self) -> int:
        """Steps of all accumulators: one per output, kernel tap and group of ``tree_inputs`` channels."""
        nest = self.nest
        return nest.outputs * nest.R * nest.S * -(-nest.C // nest.groups // self.path.tree_inputs)


@dataclass(frozen=True)
class Step:
    """A node, and how an array runs it; ``on`` is ``None`` for what the vector lanes do, or nobody."""

    node: Node
    on: OnArray | None = None


def steps_on(qnet: Network, machine: Hardware, dataflow: Dataflow, batch: int = 1) -> list[Step]:
    """Return every node with its loops, over a batch of images, and the whole layer's schedule on the machine.

    Raises
    ------
    InputError
        If the network is not quantised, or wider than the machine.
    """
    return [_step(qnet, node, machine, dataflow, batch) for node in qnet.nodes]


def _step(qnet: Network, node: Node, machine: Hardware, dataflow: Dataflow, batch: int) -> Step:
    kind = OPS[node.kind].array
    nest = OPS[node.kind].loops(node, qnet.in_shapes(node), qnet.tensors[node.name].shape)
    if nest is None or kind is None:
        return Step(node)
    path = node.datapath
    if path is None:
        raise InputError(f"layer {node.name!r} has no datapath: quantise the network before evaluating it")
    element = element_of(kind, machine)
    if element == kind:
        _check_width(node.name, kind, path, machine)
    elif path.x.bits > operand_bits(element, machine.operand_bits)[0]:
        raise InputError(f"layer {node.name!r} has {path.x.bits}-bit inputs; compare_arrays prices {machine.name}")
    words = tuple(scratchpad_words(dataflow, machine).items())
    array = Array(dataflow, *machine.array(element), words, machine.pipeline_stages)
    nest = replace(nest, N=batch)
    return Step(node, OnArray(element, path, nest, array, array.schedule(nest)))


def _check_width(layer: str, kind: Kind, datapath: Datapath, machine: Hardware) -> None:
    try:
        fitted = fit(machine, layer, kind, datapath)
    except InputError as error:
        raise InputError(f"{error}; change the network or the machine, then call .on(hardware)") from None
    have, want = fitted.accumulator.format.bits, datapath.accumulator.format.bits
    if want > have:
        raise InputError(
            f"layer {layer!r} accumulates in {want} bits, {machine.name} in {have}; "
            "call .on(hardware) first, which gives the network the machine's accumulator"
        )
    if fitted.tree_inputs != datapath.tree_inputs:
        raise InputError(
            f"layer {layer!r} has no adder tree, {machine.name} sums {fitted.tree_inputs} channels by one; "
            "call .on(hardware) first, which gives the network the machine's tree"
        )
