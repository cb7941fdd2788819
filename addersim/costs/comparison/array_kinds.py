"""The same network on arrays of adders, multipliers, shifters and XNOR gates: equal in elements, area or power.

Shift and XNOR arrays are priced on the loop nests of the adder layers. Networks of shifts (DeepShift) and of signs
(XNOR-Net) would have to be trained; nothing is said about their accuracy here.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, get_args

from addersim.arithmetic.datapath import Datapath, Register
from addersim.arithmetic.fixed import IntFormat
from addersim.costs import CostTable, arithmetic_tables, load_table
from addersim.costs.area import array_area_um2, leakage_uw
from addersim.costs.bill import Cost
from addersim.costs.evaluate import evaluate
from addersim.errors import InputError
from addersim.hardware import Element, Hardware, load_hardware, multiplier_twin
from addersim.hardware.elements import accumulator_bits, operand_bits
from addersim.hardware.elements import arrays as all_arrays
from addersim.mapping.dataflows import Dataflow
from addersim.mapping.tile_search import Objective
from addersim.network.ops import OPS
from addersim.network.quantized import QuantizedNetwork
from addersim.tabular import Tabular

Held = Literal["elements", "area", "power"]
Figure = Literal["arithmetic", "energy", "latency"]
HELD: tuple[Held, ...] = get_args(Held)
KINDS: tuple[Element, ...] = get_args(Element)
ASSUMPTIONS = (
    "shift and XNOR arrays are priced on the adder layers' loop nests; such networks would have to be trained, and "
    "their accuracy is not claimed",
    "a weight of a shift array has 5 bits, a sign and an exponent, as ShiftAddNAS counts them; its shifter is as wide "
    "as the input and drops the bits that leave it",
    "an XNOR array has single bits in both operands and on the edges that only its layers read, and accumulators of "
    "16 bits; its output stages are charged like the others'",
    "layers that stayed multiplications run on the side array, in the multiplier machine on its one array",
    "equal elements: the array's size; equal area: of array and side array together; equal power: of both with every "
    "element busy in every cycle, leakage included; the array then has the sides that leave fewest of "
    "them over, at most twice as wide as high",
)


@dataclass(frozen=True)
class ArrayCost:
    """One kind of array by one table.

    Attributes
    ----------
    held
        What is as large as in the adder machine.
    array_um2, array_mw
        Area and peak power of array and side array; ``None`` where the table prints no areas.
    """

    kind: Element
    held: Held
    table: str
    cost: Cost
    array_um2: float | None
    array_mw: float


@dataclass(frozen=True, repr=False)
class ArrayComparison(Tabular):
    """Costs of four kinds of arrays; ratios are over the adder array: above 1 adders win."""

    rows: tuple[ArrayCost, ...]
    assumptions: tuple[str, ...] = ASSUMPTIONS

    def ratio(self, kind: Element, held: Held, figure: Figure) -> dict[str, float]:
        """Return figure of ``kind`` / figure of the adder array, per table that has both.

        ``arithmetic`` is without buffers, DRAM and leakage, ``energy`` the whole system.
        """
        found = {(row.kind, row.table): _figure(row.cost, figure) for row in self.rows if row.held == held}
        tables = [table for one, table in found if one == kind]
        return {table: found[kind, table] / found["adder", table] for table in tables if ("adder", table) in found}

    def to_pandas(self) -> Any:
        """Return one row per table, thing held equal and kind, with both ratios side by side."""
        import pandas as pd

        rows = []
        for row in self.rows:
            machine, cost = row.cost.hardware, row.cost
            ratios = [self.ratio(row.kind, row.held, f)[row.table] for f in ("arithmetic", "energy", "latency")]
            size = f"{machine.rows}x{machine.cols}"
            figures = [cost.energy_by_unit["arithmetic"], cost.energy_pj, cost.latency_us, row.array_um2, row.array_mw]
            rows.append([row.table, row.held, row.kind, size, *figures, *ratios])
        columns = ["table", "equal", "array", "size", "arithmetic_pj", "energy_pj", "latency_us"]
        columns += ["array_um2", "array_mw", "arithmetic_over_adder", "energy_over_adder", "latency_over_adder"]
        return pd.DataFrame(rows, columns=columns)


def compare_arrays(
    adder_qnet: QuantizedNetwork,
    multiplier_qnet: QuantizedNetwork,
    *,
    hardware: str | os.PathLike[str] | Hardware = "adder_16x16",
    dataflow: str | Dataflow = "output_stationary",
    tables: Literal["all"] | Iterable[str | os.PathLike[str] | CostTable] = "all",
    tiling: Objective = "traffic",
) -> ArrayComparison:
    """Return what the network costs on adder, multiplier, shift and XNOR arrays, by every table.

    Parameters
    ----------
    hardware
        An adder machine; the other arrays take its array's place.
    tables
        As for :func:`addersim.compare`. Rows of equal area are there for tables that print areas only.
    tiling
        As for :func:`addersim.evaluate`; the tiles of the arrays may differ.

    Raises
    ------
    InputError
        If ``hardware`` is no adder machine, or a network does not fit.

    Examples
    --------
    >>> import addersim
    >>> images, _ = addersim.sample("fashion_calibration", limit=4)
    >>> nets = [addersim.quantize(addersim.example_network(adder=adder), images) for adder in (True, False)]
    >>> result = addersim.compare_arrays(*nets, tables=["aladdin_40nm"])
    >>> ratio = result.ratio("multiplier", "area", "arithmetic")["aladdin_40nm"]
    >>> ratio > 1 > result.ratio("xnor", "area", "arithmetic")["aladdin_40nm"]
    True
    """
    machine = load_hardware(hardware)
    if machine.pe != "adder":
        raise InputError(f"{machine.name} has pe = {machine.pe!r}; compare_arrays starts from an adder machine")
    sides = [_side(kind, adder_qnet, multiplier_qnet, machine) for kind in KINDS]
    chosen = arithmetic_tables() if tables == "all" else list(tables)
    on = partial(evaluate, dataflow=dataflow, tiling=tiling)
    rows = [row for table in chosen for row in _rows(sides, on, load_table(table).as_printed)]
    return ArrayComparison(tuple(rows))


def _side(
    kind: Element, adder_qnet: QuantizedNetwork, multiplier_qnet: QuantizedNetwork, machine: Hardware
) -> tuple[QuantizedNetwork, Hardware]:
    if kind == "multiplier":
        twin = multiplier_twin(machine)
        return multiplier_qnet.on(twin), twin
    placed = adder_qnet.on(machine)
    if kind == "adder":
        return placed, machine
    name = f"{machine.name} with {kind} elements"
    other = machine.model_copy(update={"name": name, "pe": kind})
    return _priced_on(placed, kind, other), other


def _priced_on(qnet: QuantizedNetwork, kind: Element, machine: Hardware) -> QuantizedNetwork:
    """Return the network with the operand widths of ``kind`` in its adder layers: to be priced, not simulated."""
    nodes = tuple(
        replace(node, datapath=_narrowed(node.datapath, kind, machine))
        if OPS[node.kind].array == "adder" and node.datapath is not None
        else node
        for node in qnet.nodes
    )
    tensors = dict(qnet.tensors)
    for edge, tensor in qnet.tensors.items():
        readers = qnet.consumers(edge)
        if kind == "xnor" and readers and all(OPS[n.kind].array == "adder" for n in readers) and tensor.format:
            tensors[edge] = replace(tensor, format=replace(tensor.format, bits=1, signed=False, zero_point=0))
    return type(qnet)(qnet.name, nodes, tensors)


def _narrowed(path: Datapath, kind: Element, machine: Hardware) -> Datapath:
    x, w = operand_bits(kind, path.x.bits)
    tree = path.tree
    if kind == "xnor":
        tree = tuple(Register(IntFormat(level + 2, True)) for level in range(len(path.tree)))
    leaf = replace(path.leaf, format=IntFormat(x, path.leaf.format.signed))
    accumulator = replace(path.accumulator, format=IntFormat(accumulator_bits(kind, machine), True))
    x_form, w_form = IntFormat(x, path.x.signed), IntFormat(w, w > 1)
    return replace(path, x=x_form, w=w_form, leaf=leaf, tree=tree, accumulator=accumulator, weight_shift=0)


def _rows(
    sides: list[tuple[QuantizedNetwork, Hardware]], on: Callable[..., Cost], table: CostTable
) -> Iterator[ArrayCost]:
    reference: ArrayCost | None = None
    for qnet, machine in sides:
        row = _row(qnet, machine, "elements", on, table)
        reference = reference or row
        yield row
        for held in ("area", "power"):
            if held == "area" and reference.array_um2 is None:
                continue
            resized = _resized(table, row, held, reference)
            yield _row(qnet, resized, held, on, table)


def _row(qnet: QuantizedNetwork, machine: Hardware, held: Held, on: Callable[..., Cost], table: CostTable) -> ArrayCost:
    cost = on(qnet, machine, table=table)
    area = sum(_areas(machine, table)) if table.has_areas else None
    return ArrayCost(machine.pe, held, table.name, cost, area, sum(_powers(cost, table)) / 1000)


def _areas(machine: Hardware, table: CostTable) -> tuple[float, float]:
    """Return the areas of array and side array."""
    side = machine.multiplier_rows * machine.multiplier_cols
    twin = machine.model_copy(
        update={
            "pe": "multiplier",
            "rows": machine.multiplier_rows,
            "cols": machine.multiplier_cols,
            "accumulator_bits": machine.sum_bits("multiplier"),
        }
    )
    return array_area_um2(machine, table), array_area_um2(twin, table) if side else 0.0


def _powers(cost: Cost, table: CostTable) -> tuple[float, float]:
    """Return the power in uW of array and side array: every element busy in every cycle, and leakage."""
    machine, powers = cost.hardware, []
    for (_, element, elements), leaking in zip(all_arrays(machine), leakage_uw(machine, table), strict=True):
        runs = [run for run in cost.layers if run.array == element]
        taps = sum(run.taps for run in runs)
        per_tap = cost.tap_energy_pj([run.layer for run in runs]) / taps if taps else 0.0
        powers.append(elements * per_tap * machine.clock_mhz + leaking)
    return powers[0], sum(powers[1:])


def _resized(table: CostTable, row: ArrayCost, held: Literal["area", "power"], reference: ArrayCost) -> Hardware:
    """Return the row's machine with as many elements as the reference's area or power pays for."""
    machine = row.cost.hardware
    if held == "area":
        assert reference.array_um2 is not None
        array, rest = _areas(machine, table)
        budget = reference.array_um2
    else:
        array, rest = _powers(row.cost, table)
        budget = 1000 * reference.array_mw
    elements = int(machine.rows * machine.cols * (budget - rest) / array + 1e-9)
    if elements == machine.rows * machine.cols:
        return machine
    rows, cols = _sides(max(elements, 1), machine.tree_inputs)
    return machine.model_copy(update={"rows": rows, "cols": cols})


def _sides(elements: int, tree_inputs: int) -> tuple[int, int]:
    """Return rows and columns of at most ``elements``, as many as can be, about twice as wide as high at most.

    Examples
    --------
    >>> _sides(237, 1), _sides(255, 1), _sides(100, 16)
    ((13, 18), (15, 17), (16, 6))
    """
    root = max(math.isqrt(elements) // tree_inputs, 1)
    choices = [n * tree_inputs for n in range(root, root * 2 // 3, -1)] or [tree_inputs]
    rows = max(choices, key=lambda rows: rows * (elements // rows))
    return rows, max(1, elements // rows)


def _figure(cost: Cost, figure: Figure) -> float:
    if figure == "arithmetic":
        return cost.energy_by_unit["arithmetic"]
    return cost.energy_pj if figure == "energy" else cost.latency_us
