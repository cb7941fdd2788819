"""Counts times prices plus traffic times memory: what one image costs on one machine."""

from __future__ import annotations

import os
from dataclasses import replace

from addersim.arithmetic.primitives import Count
from addersim.costs import CostTable, load_table
from addersim.costs.accesses import access_prices, charge, inside_charges, inside_pj
from addersim.costs.area import areas, clock, leakage
from addersim.costs.bill import Cost
from addersim.costs.charges import Area, Charge
from addersim.costs.operations import Taps, arithmetic
from addersim.errors import InputError
from addersim.hardware import Hardware, load_hardware
from addersim.mapping import latency, residency
from addersim.mapping.dataflows import Dataflow, load_dataflow
from addersim.mapping.latency import LayerRun, run
from addersim.mapping.layers import steps_on
from addersim.mapping.tile_search import Objective
from addersim.mapping.traffic import RULES, Step, moves, on_tiles, setting
from addersim.network.counts import count
from addersim.network.graph import Network
from addersim.simulation.activity import Activity

CIRCUITS = {
    "two_subtractors": "a distance is two subtractors and a multiplexer",
    "xor_carry": "a distance is one subtractor and an XOR with its sign, whose carry-in the next adder takes",
    "comparator": "a distance is a comparator, two multiplexers and one subtractor",
}
MINIMISED: dict[Objective, str] = {
    "traffic": "the bits that cross into and out of every memory",
    "energy": "the energy of what crosses, by the table's prices",
    "latency": "the time that the array and the transfers take",
    "product": "energy times latency",
}
__all__ = ["Area", "Charge", "Cost", "LayerRun", "evaluate"]


def evaluate(
    qnet: Network,
    hardware: str | os.PathLike[str] | Hardware = "adder_16x16",
    dataflow: str | Dataflow = "output_stationary",
    table: str | os.PathLike[str] | CostTable = "horowitz2014_45nm",
    tiling: Objective = "traffic",
    *,
    activity: Activity | None = None,
    batch: int = 1,
) -> Cost:
    """Return energy, cycles and area of one image, or of a batch of images together.

    ``energy_pj`` is the sum over all charges of ``times * price``: operations as counted by
    :func:`addersim.network.counts.count`, words at the array's edge by the dataflow, words between the memories by the
    tiling, all by the rules in :attr:`Cost.assumptions`.

    Parameters
    ----------
    qnet
        A quantised network; ``qnet.on(hardware)`` gives it the machine's datapath.
    hardware, table
        Name on the shelf, path of a TOML file, or the value.
    dataflow
        Name on the shelf, or a function ``f(loops, rows, cols) -> Schedule``. With any tiling but ``"traffic"`` it must
        broadcast over NumPy arrays in the loops.
    tiling
        What the tile sizes and order of every layer minimise, level by level, as
        :func:`addersim.mapping.placement.place` says: ``"traffic"``, the bits that cross, ``"energy"``,
        ``"latency"``, or ``"product"`` of both.
    activity
        What :func:`addersim.activity` counted on this very network: the prices of a tap's circuits and
        registers are then multiplied by observed over random activity, bit changes per bit and cycle over 1/2.
        For a register that is its toggles times an energy per toggle, twice the price of a bit.
    batch
        Images that are run together, layer by layer; several of them may share a tile of weights.

    Raises
    ------
    InputError
        If the network is not quantised, or wider than the machine, or a buffer is too small for one tile, or the
        activity is another network's, or the batch is not positive.

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
    if batch < 1:
        raise InputError(f"batch = {batch}, expected 1 or more")
    steps = steps_on(qnet, machine, function, batch)
    counts = _counted(qnet, batch)
    accesses = access_prices(machine, prices)
    on = setting(
        qnet,
        machine,
        {row.layer for row in counts},
        {key: price.energy_pj for key, price in accesses.items()},
        tiling,
        batch,
    )
    charges, runs = arithmetic(counts, taps_of(steps), machine, prices, activity), []
    for whole in steps:
        step = on_tiles(replace(whole, inside_pj=inside_pj(whole, machine, prices)), on)
        moved, tiles = moves(step, on)
        charges += [charge(move, step.node.name, machine, accesses) for move in moved]
        charges += inside_charges(step, machine, prices)
        runs.append(run(step, moved, machine, on, tiles))
    charges += leakage(machine, prices, runs)
    said = *_assumptions(machine, prices, tiling, activity), *_misfit(name, machine)
    bill = tuple(charges), tuple(runs), areas(machine, prices), said, clock(machine, prices)
    return Cost(qnet.name, machine, name, prices.name, *bill, images=batch)


def _counted(qnet: Network, batch: int) -> tuple[Count, ...]:
    rows = count(qnet).rows
    return rows if batch == 1 else tuple(replace(row, times=batch * row.times) for row in rows)


def taps_of(steps: list[Step]) -> dict[str, Taps]:
    """Return the layers on arrays by name, for :func:`addersim.costs.operations.arithmetic`."""
    return {
        step.node.name: Taps(step.kind, step.node.datapath, step.nest)
        for step in steps
        if step.kind is not None and step.nest is not None and step.node.datapath is not None
    }


def _assumptions(machine: Hardware, table: CostTable, tiling: Objective, activity: Activity | None) -> tuple[str, ...]:
    note = (f"{table.name}: {' '.join(table.source.note.split())}",) if table.source.note else ()
    ratios = table.source.ratios_to
    end = "upper" if table.dram_high else "lower"
    made_of = CIRCUITS[machine.circuit] if machine.pe == "adder" else f"{machine.pe} elements"
    return (
        *([f"{table.name} prints ratios: one pJ of this bill stands for {ratios}"] if ratios else []),
        "arithmetic is priced at the widths of the network's datapath, whatever the data: no toggle counts"
        if activity is None
        else f"taps are priced by their toggles on {activity.images} images, {activity.schedule}; operand registers, "
        "output stages, buffers and DRAM whatever the data",
        *_unpriced(table),
        "clock tree, wires and control are not modelled, but for words that hop from element to element",
        f"{machine.name}: {made_of}",
        "area holds arrays, and buffers where the table has them; components without a price are listed as such",
        *latency.RULES,
        *_elsewhere(machine, table),
        f"DRAM is charged at the {end} end of the printed range",
        *residency.RULES,
        f"tilings minimise {MINIMISED[tiling]}",
        *RULES,
        f"{machine.name}: {machine.source}",
        *note,
    )


def _elsewhere(machine: Hardware, table: CostTable) -> tuple[str, ...]:
    """Say where a table's node or voltage is not the machine's, whose prices are not scaled on that account."""
    at = table.scaled_to
    node_nm, vdd_v = (table.source.node_nm, table.source.vdd_v) if at is None else (at.node_nm, at.vdd_v)
    same = machine.voltage_v is None or vdd_v is None or machine.voltage_v == vdd_v
    if machine.node_nm == node_nm and same:
        return ()
    volts = "" if machine.voltage_v is None else f" at {machine.voltage_v:g} V"
    printed = f"{node_nm:g} nm" + ("" if vdd_v is None else f" at {vdd_v:g} V")
    return (
        f"{machine.name} is of {machine.node_nm:g} nm{volts}, prices are of {printed}: a table is scaled where its "
        f"name says so, as in {table.name.partition('@')[0]}@16nm,0.8V",
    )


def _misfit(dataflow: str, machine: Hardware) -> tuple[str, ...]:
    """Say where an adder tree is priced that the dataflow does not use, or used that the machine does not have."""
    if dataflow == "channel_parallel" and machine.tree_inputs == 1:
        return (f"{machine.name} has no adder tree: the sum over its rows is charged as accumulations",)
    if dataflow != "channel_parallel" and machine.tree_inputs > 1:
        return (f"{dataflow} has no use for the adder tree of {machine.name}, which is charged all the same",)
    return ()


def _unpriced(table: CostTable) -> tuple[str, ...]:
    """Say which of registers, leakage and hops the table does not print, or how they are charged."""
    registers = (
        "registers latch once per tap: both operands, a leaf per further pipeline stage, the accumulator"
        if table.has("register")
        else f"{table.name} has no registers, they are not charged, in energy or area"
    )
    leaks = any(row.leakage_uw for row in table.primitive) and table.scaled_to is None
    leaking = "leakage is that of the arrays" if leaks else f"{table.name} has no leakage, it is not charged"
    hops = "hops are charged per word" if table.hop_row else f"hops are not priced by {table.name} and not charged"
    return registers, leaking, hops
