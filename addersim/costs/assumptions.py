"""What a bill rests on: the rules of the model, what the table does not print, what does not fit together."""

from __future__ import annotations

from addersim.costs import CostTable
from addersim.hardware import Hardware
from addersim.mapping import latency, residency, traffic
from addersim.mapping.tile_search import Objective
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


def assumptions(
    machine: Hardware, dataflow: str, table: CostTable, tiling: Objective, activity: Activity | None
) -> tuple[str, ...]:
    """Return what a bill rests on, a sentence each."""
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
        *traffic.RULES,
        f"{machine.name}: {machine.source}",
        *note,
        *_misfit(dataflow, machine),
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
