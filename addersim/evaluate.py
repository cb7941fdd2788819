"""Counts times prices plus traffic times memory: what one image costs on one machine."""

from __future__ import annotations

import os

from addersim.charges import Area, Charge, Cost, LayerRun
from addersim.costs import CostTable, load_table
from addersim.counts import count
from addersim.dataflows import Dataflow, load_dataflow
from addersim.datapath import Datapath, Kind
from addersim.errors import InputError
from addersim.hardware import Element, Hardware, load_hardware
from addersim.network import Network, Node
from addersim.ops import OPS, words
from addersim.primitives import Count, Primitive
from addersim.traffic import RULES, Move, Step, charge, moves

__all__ = ["Area", "Charge", "Cost", "LayerRun", "evaluate"]


def evaluate(
    qnet: Network,
    hardware: str | os.PathLike[str] | Hardware = "adder_16x16",
    dataflow: str | Dataflow = "output_stationary",
    table: str | os.PathLike[str] | CostTable = "horowitz2014_45nm",
) -> Cost:
    """Return energy, cycles and area of one image.

    ``energy_pj`` is the sum over all charges of ``times * price``: operations as counted by
    :func:`addersim.counts.count`, buffer words by the dataflow, DRAM bits by the rules in
    :attr:`Cost.assumptions`.

    Parameters
    ----------
    qnet
        A quantised network; ``qnet.on(hardware)`` gives it the machine's datapath.
    hardware, table
        Name on the shelf, path of a TOML file, or the value.
    dataflow
        Name on the shelf, or a function ``f(loops, rows, cols) -> Schedule``.

    Raises
    ------
    InputError
        If the network is not quantised, or wider than the machine.

    Examples
    --------
    >>> import addersim
    >>> images, _ = addersim.sample("fashion_sample", limit=4)
    >>> qnet = addersim.quantize(addersim.example_network(), images)
    >>> cost = addersim.evaluate(qnet.on("adder_16x16"), "adder_16x16")
    >>> abs(cost.energy_pj - sum(charge.energy_pj for charge in cost.charges)) < 1e-6
    True
    """
    machine, prices = load_hardware(hardware), load_table(table)
    name, function = load_dataflow(dataflow)
    steps = [_step(qnet, node, machine, function) for node in qnet.nodes]
    counts = count(qnet).rows
    computing = {row.layer for row in counts}
    charges, runs = _arithmetic(counts, prices), []
    for step in steps:
        moved = moves(step, qnet, machine, step.node.name in computing)
        charges += [charge(move, step.node.name, machine, prices) for move in moved]
        runs.append(_run(step, qnet, machine, moved, step.node.name in computing))
    areas, assumptions = _areas(machine, prices), _assumptions(machine, prices)
    return Cost(qnet.name, machine, name, prices.name, tuple(charges), tuple(runs), areas, assumptions)


def _step(qnet: Network, node: Node, machine: Hardware, dataflow: Dataflow) -> Step:
    op = OPS[node.kind]
    nest = op.loops(node, qnet.in_shapes(node), qnet.tensors[node.name].shape)
    if nest is None or op.array is None:
        return Step(node)
    if node.datapath is None:
        raise InputError(f"layer {node.name!r} has no datapath: quantise the network before evaluating it")
    _check_width(node.name, op.array, node.datapath, machine)
    return Step(node, op.array, nest, dataflow(nest, *machine.array(op.array)))


def _check_width(layer: str, kind: Kind, datapath: Datapath, machine: Hardware) -> None:
    try:
        fitted = machine.fit(layer, kind, datapath)
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


def _arithmetic(counts: tuple[Count, ...], table: CostTable) -> list[Charge]:
    prices = {primitive: table.price(primitive) for primitive in {row.primitive for row in counts}}
    return [
        Charge(
            row.layer,
            "arithmetic",
            f"{row.part} {_said(row.primitive)}",
            row.times,
            row.times * prices[row.primitive].energy_pj,
            prices[row.primitive].source,
        )
        for row in counts
    ]


def _said(primitive: Primitive) -> str:
    other = f" x {primitive.other_bits}" if primitive.other_bits else ""
    return f"{primitive.name} {primitive.bits}{other} b"


def _run(step: Step, qnet: Network, machine: Hardware, moved: list[Move], computes: bool) -> LayerRun:
    dram_bits = sum(move.count * move.bits for move in moved if move.where == "dram")
    dram_cycles = -(-dram_bits // machine.dram.bits_per_cycle)
    if step.nest is not None and step.schedule is not None:
        cycles = step.schedule.cycles + machine.pipeline_stages - 1
        utilisation = step.schedule.utilisation
        return LayerRun(step.node.name, step.kind, cycles, 0, dram_cycles, utilisation, step.nest.taps)
    edges = [*step.node.inputs, step.node.name] if computes else []
    longest = max((words(qnet.tensors[edge].shape) for edge in edges), default=0)
    return LayerRun(step.node.name, None, 0, -(-longest // machine.vector.lanes), dram_cycles, 0.0)


def _areas(machine: Hardware, table: CostTable) -> tuple[Area, ...]:
    found = _array_areas("array", machine.pe, machine.rows * machine.cols, machine, table)
    side = machine.multiplier_rows * machine.multiplier_cols
    if side:
        found += _array_areas("side array", "multiplier", side, machine, table)
    for buffer in machine.buffers:
        source = f"{table.source.short}: no areas of SRAM"
        found.append(Area(f"{buffer.name} buffer, bytes", buffer.size_bytes, None, source))
    remark = "not priced: widths differ from layer to layer"
    return (*found, Area("output stages and vector lanes", machine.vector.lanes, None, remark))


def _array_areas(name: str, kind: Element, elements: int, machine: Hardware, table: CostTable) -> list[Area]:
    bits = machine.operand_bits
    leaf = {
        "adder": [Primitive("subtract", bits + 1), Primitive("absolute", bits)],
        "multiplier": [Primitive("multiply", bits, bits)],
        "shift": [Primitive("shift", bits)],
        "xnor": [],  # a gate; its counter follows
    }[kind]
    found = []
    for primitive in [*leaf, Primitive("add", machine.accumulator_bits)]:
        price = table.price(primitive)
        area_um2 = None if price.area_um2 is None else elements * price.area_um2
        unpriced = f"{table.source.short}: no areas"
        source = unpriced if price.area_um2 is None else f"{price.source}; {price.area_um2:.4g} um2 each"
        found.append(Area(f"{name}: {_said(primitive)}", elements, area_um2, source))
    return found


def _assumptions(machine: Hardware, table: CostTable) -> tuple[str, ...]:
    note = (f"{table.name}: {' '.join(table.source.note.split())}",) if table.source.note else ()
    return (
        "arithmetic is priced at the widths of the network's datapath, whatever the data: no toggle counts",
        "leakage, clock tree, wires and control are not modelled",
        "pipeline and operand registers are not charged, in energy or area",
        f"a distance ({machine.circuit} here) costs a subtraction and an addition, whatever its circuit",
        "area holds the arithmetic of the arrays only; components without a price are listed as such",
        "output stages overlap the array; pooling and residual additions follow on the vector lanes, one "
        "word per lane and cycle",
        "DRAM transfers overlap computation: a layer takes the longer of both",
        "DRAM is charged at the lower end of the printed range",
        *RULES,
        f"{machine.name}: {machine.source}",
        *note,
    )
