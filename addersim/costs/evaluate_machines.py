"""evaluate_machines: what one image costs on many machines at once.

The numbers of one machine become arrays, each with an axis of its own, and the formulas of the one-by-one evaluation
run on them unchanged: a term is computed once per combination of the fields it depends on, and broadcasting combines
the terms, block by block so that arrays stay in a cache. Layers that move and compute the same are evaluated once, and
what depends on no cost table once for all tables.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from addersim.costs import CostTable, load_table
from addersim.costs.accesses import AccessPrices, access_prices, price_inside
from addersim.costs.area import areas, leakage_uw
from addersim.costs.charges import UNITS, Unit
from addersim.costs.operations import arithmetic, taps_of
from addersim.hardware import Hardware, load_hardware
from addersim.hardware.broadcast import Box, boxes, cut
from addersim.hardware.fields import with_arrays
from addersim.mapping.dataflows import Dataflow, load_dataflow
from addersim.mapping.machine_totals import Plan, Totals, make_plan, totals
from addersim.network.counts import count
from addersim.network.quantized import QuantizedNetwork

Columns: TypeAlias = dict[str, NDArray[Any]]
COUNTED = ("cycles", "stall_cycles")
PRICED = ("energy_pj", *(f"{unit}_pj" for unit in UNITS), "latency_us", "area_um2")
BLOCK = 1 << 16  # points: arrays of 512 KB


def evaluate_machines(
    qnet: QuantizedNetwork,
    hardware: str | Hardware,
    fields: Mapping[str, ArrayLike],
    dataflow: str | Dataflow = "output_stationary",
    tables: Sequence[str | CostTable] = ("horowitz2014_45nm",),
) -> Columns:
    """Return the cost of one image on every machine that ``fields`` describe, with the tilings of ``"traffic"``.

    Integers equal those of ``evaluate(qnet.on(machine), machine, dataflow, table)`` exactly; energies and areas but
    for the order of their sums, less than 1e-12 of the value.

    Parameters
    ----------
    qnet
        The network; it is placed on the machines as by ``qnet.on(hardware)``.
    hardware
        Gives every field that does not vary.
    fields
        Numbers of a machine to arrays: :data:`addersim.hardware.fields.FIELDS`, or ``buffers.NAME.`` and one of
        ``BUFFER_FIELDS`` there. They broadcast against each other: with an axis each, as from ``np.ix_``, they span
        a grid.
    dataflow
        As in :func:`addersim.evaluate`; a function must broadcast.

    Returns
    -------
    dict
        ``energy_pj``, ``arithmetic_pj``, ``buffers_pj``, ``dram_pj``, ``leakage_pj``, ``cycles``, ``stall_cycles``,
        ``latency_us`` and ``area_um2`` (NaN where a table prints no area); the last axis of each is that of the
        tables, the others are those of the fields. Where :func:`addersim.evaluate` raises ``TooSmall``, ``refused`` has
        its message and all figures are NaN; everywhere else it is ``""``.

    Raises
    ------
    InputError
        If a field is unknown or no number, a value is out of range, or as :func:`addersim.evaluate`.

    Examples
    --------
    >>> import addersim
    >>> import numpy as np
    >>> images, _ = addersim.sample("fashion_sample", limit=4)
    >>> qnet = addersim.quantize(addersim.example_network(), images)
    >>> fields = dict(zip(("rows", "cols"), np.ix_([8, 16, 32], [8, 16]), strict=True))
    >>> found = evaluate_machines(qnet, "adder_16x16", fields)
    >>> found["cycles"].shape, found["cycles"][1, 1, 0] == addersim.evaluate(qnet.on("adder_16x16")).cycles
    ((3, 2, 1), np.True_)
    """
    machine, name_and_flow = load_hardware(hardware), load_dataflow(dataflow)
    shape = np.broadcast_shapes(*(np.shape(values) for values in fields.values()))
    arrays = {key: np.asarray(v).reshape((1,) * (len(shape) - np.ndim(v)) + np.shape(v)) for key, v in fields.items()}
    plan = make_plan(qnet, machine, arrays, name_and_flow[1])
    prices = [_prices(load_table(table), plan) for table in tables]
    kinds = {**dict.fromkeys(COUNTED, int), **dict.fromkeys(PRICED, float), "refused": object}
    found = {name: np.empty((len(tables), *shape), kind) for name, kind in kinds.items()}
    for box in boxes(shape, BLOCK):
        for number, bill in enumerate(_bills(plan, prices, box)):
            place: tuple[Any, ...] = number, *box, ...  # a text of no axes is stored, not the array around it
            for name, values in bill.items():
                found[name][place] = values
    return _without_refused({name: np.moveaxis(values, 0, -1) for name, values in found.items()})


def _without_refused(found: Columns) -> Columns:
    """Return columns with NaN for the figures of refused machines; counts are floating point where one is refused."""
    refused = found["refused"] != ""
    if not refused.any():
        return found
    figures = {name: np.where(refused, np.nan, values) for name, values in found.items() if name != "refused"}
    return {**figures, "refused": found["refused"]}


@dataclass(frozen=True)
class _Prices:
    """What a table says of all machines of a plan: energy of arithmetic, prices of accesses, leakage, area."""

    table: CostTable
    arithmetic_pj: Any
    accesses: AccessPrices
    leakage_uw: Any
    area_um2: Any


def _prices(table: CostTable, plan: Plan) -> _Prices:
    machine = plan.machine
    charges = arithmetic(count(plan.qnet).rows, taps_of(plan.steps), machine, table)
    priced = [area.area_um2 for area in areas(machine, table) if area.area_um2 is not None]
    area_um2: Any = sum(priced) if priced else math.nan
    energy_pj, power_uw = sum(charge.energy_pj for charge in charges), sum(leakage_uw(machine, table))
    return _Prices(table, energy_pj, access_prices(machine, table), power_uw, area_um2)


def _bills(plan: Plan, prices: Sequence[_Prices], box: Box) -> Iterator[dict[str, Any]]:
    """Yield the columns of a block by each table."""
    machine = with_arrays(plan.machine, {key: cut(values, box) for key, values in plan.arrays.items()})
    total = totals(plan, machine, box)
    stall_cycles, latency_us = total.cycles - total.busy_cycles, total.cycles / machine.clock_mhz
    for one in prices:
        counted = {"cycles": total.cycles, "stall_cycles": stall_cycles, "latency_us": latency_us}
        yield {**counted, **_bill(total, one, machine, box), "refused": cut(plan.refused, box)}


def _bill(total: Totals, prices: _Prices, machine: Hardware, box: Box) -> dict[str, Any]:
    """Return energy by unit, and area, by one table."""
    found: dict[Unit, Any] = dict.fromkeys(UNITS, 0.0)
    found["arithmetic"] = cut(prices.arithmetic_pj, box)
    for (where, write), number in total.accesses.items():
        unit: Unit = "dram" if where == "dram" else "buffers"
        found[unit] = found[unit] + number * cut(prices.accesses[where, write].energy_pj, box)
    for place, number in total.inside.items():
        price = price_inside(place, prices.table)
        if price is not None:
            found["buffers"] = found["buffers"] + number * price.energy_pj
    found["leakage"] = cut(prices.leakage_uw, box) / machine.clock_mhz * total.cycles
    return {
        "energy_pj": sum(found.values()),
        **{f"{unit}_pj": energy_pj for unit, energy_pj in found.items()},
        "area_um2": cut(prices.area_um2, box),
    }
