"""Layers laid on a machine: loops, schedule, tiles, moves and cycles of each, before any price."""

from __future__ import annotations

from dataclasses import replace

from addersim.arithmetic.datapath import Datapath, Kind
from addersim.errors import InputError
from addersim.hardware import Hardware
from addersim.hardware.elements import element_of, operand_bits
from addersim.hardware.fit import fit
from addersim.mapping.array_runs import Array
from addersim.mapping.dataflows import Dataflow
from addersim.mapping.scratchpads import scratchpad_words
from addersim.mapping.traffic import Step
from addersim.network.graph import Network, Node
from addersim.network.ops import OPS


def steps_on(qnet: Network, machine: Hardware, dataflow: Dataflow, batch: int = 1) -> list[Step]:
    """Return every node with its loops, over a batch of images, and schedule on the machine.

    Raises
    ------
    InputError
        If the network is not quantised, or wider than the machine.
    """
    return [_step(qnet, node, machine, dataflow, batch) for node in qnet.nodes]


def _step(qnet: Network, node: Node, machine: Hardware, dataflow: Dataflow, batch: int) -> Step:
    op = OPS[node.kind]
    nest = op.loops(node, qnet.in_shapes(node), qnet.tensors[node.name].shape)
    if nest is None or op.array is None:
        return Step(node)
    if node.datapath is None:
        raise InputError(f"layer {node.name!r} has no datapath: quantise the network before evaluating it")
    element = element_of(op.array, machine)
    if element == op.array:
        _check_width(node.name, op.array, node.datapath, machine)
    elif node.datapath.x.bits > operand_bits(element, machine.operand_bits)[0]:
        raise InputError(
            f"layer {node.name!r} has {node.datapath.x.bits}-bit inputs; compare_arrays prices {machine.name}"
        )
    words = tuple(scratchpad_words(dataflow, machine).items())
    array = Array(dataflow, *machine.array(element), words, machine.pipeline_stages)
    nest = replace(nest, N=batch)
    return Step(node, element, nest, array.schedule(nest), array)


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
