"""The same network on adders and on multipliers, everything else equal, over all cost tables."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple, get_args

from addersim.costs import CostTable, arithmetic_tables, load_table
from addersim.costs.bill import Cost
from addersim.costs.evaluate import evaluate
from addersim.errors import InputError, nearest
from addersim.hardware import Hardware, load_hardware, multiplier_twin
from addersim.mapping.dataflows import Dataflow
from addersim.mapping.tile_search import Objective
from addersim.network.quantized import QuantizedNetwork
from addersim.tabular import Tabular

Metric = Literal["energy", "arithmetic", "taps", "latency", "area"]
METRICS: tuple[Metric, ...] = get_args(Metric)


class OwnClock(NamedTuple):
    """Both arrays' fastest clocks, and multiplier / adder latency with each at its own."""

    adder_mhz: float
    multiplier_mhz: float
    ratio: float


@dataclass(frozen=True, repr=False)
class Comparison(Tabular):
    """Adder and multiplier costs of one image, per cost table.

    Ratios are multiplier / adder: above 1 the adders win, below 1 they lose.

    Attributes
    ----------
    costs
        Table name to the pair (adder cost, multiplier cost).
    assumptions
        What is held equal, what is not, and what the costs rest on.
    """

    costs: Mapping[str, tuple[Cost, Cost]]
    assumptions: tuple[str, ...]

    def ratio(self, metric: Metric) -> dict[str, float | None]:
        """Return multiplier / adder per table; ``None`` where a table does not price it.

        Parameters
        ----------
        metric
            ``energy``: the whole system. ``arithmetic``: without buffers and DRAM. ``taps``: the loop nests
            of the adder layers and of the multiplier layers of the same names, nothing else. ``latency``.
            ``area``: the arrays' arithmetic.

        Raises
        ------
        InputError
            If there is no such metric.
        """
        if metric not in METRICS:
            raise InputError(f"unknown metric {metric!r}{nearest(metric, METRICS)}")
        return {name: _ratio(metric, *pair) for name, pair in self.costs.items()}

    def range(self, metric: Metric) -> tuple[float, float] | None:
        """Return the least and the largest ratio over the tables; ``None`` if no table prices it."""
        ratios = [ratio for ratio in self.ratio(metric).values() if ratio is not None]
        return (min(ratios), max(ratios)) if ratios else None

    def own_clock(self) -> dict[str, OwnClock | None]:
        """Return both clocks by the arrays' critical paths, and the ratio of latencies at them, per table.

        ``None`` where a table has no delays. :meth:`ratio` of ``latency`` has both sides at the machine's clock.
        """
        return {name: _own_clock(*pair) for name, pair in self.costs.items()}

    def explain(self, table: str) -> str:
        """Return both bills by one table, each figure with its source; see :meth:`addersim.costs.bill.Cost.explain`.

        Raises
        ------
        InputError
            If the table is not compared.
        """
        if table not in self.costs:
            raise InputError(f"no comparison by {table!r}{nearest(table, self.costs)}")
        return "\n\n".join(cost.explain() for cost in self.costs[table])

    def to_pandas(self) -> Any:
        """Return one row per table and metric: adder, multiplier, ratio, unit; NaN where a table has no price."""
        import pandas as pd

        units = {"energy": "pJ", "arithmetic": "pJ", "taps": "pJ", "latency": "us", "area": "um2"}
        rows = [
            [name, metric, *_values(metric, *pair), _ratio(metric, *pair), units[metric]]
            for name, pair in self.costs.items()
            for metric in METRICS
        ]
        frame = pd.DataFrame(rows, columns=["table", "metric", "adder", "multiplier", "ratio", "unit"])
        return frame.astype(dict.fromkeys(["adder", "multiplier", "ratio"], float))


def compare(
    adder_qnet: QuantizedNetwork,
    multiplier_qnet: QuantizedNetwork,
    *,
    hardware: str | os.PathLike[str] | Hardware = "adder_16x16",
    dataflow: str | Dataflow = "output_stationary",
    tables: Literal["all"] | Iterable[str | os.PathLike[str] | CostTable] = "all",
    tiling: Objective = "traffic",
) -> Comparison:
    """Return what both networks cost on the same machine with adders and with multipliers.

    The adder network runs on ``hardware``, the multiplier network on :func:`multiplier_twin` of it, each
    first given its machine's datapath by ``.on``.

    Parameters
    ----------
    hardware
        An adder machine: name, path or value.
    tables
        Cost tables by name, path or value; ``"all"`` takes every one on the shelf that prices arithmetic.
        Ratios are formed at a table's own node: a scaled table counts as printed.
    tiling
        As for :func:`addersim.evaluate`; the tiles of the two networks may differ.

    Raises
    ------
    InputError
        If ``hardware`` is no adder machine, or a network does not fit.

    Examples
    --------
    >>> import addersim
    >>> images, _ = addersim.sample("fashion_calibration", limit=4)
    >>> adders, multipliers = addersim.example_network(), addersim.example_network(adder=False)
    >>> comparison = addersim.compare(addersim.quantize(adders, images), addersim.quantize(multipliers, images))
    >>> low, high = comparison.range("taps")
    >>> 1 < low < high
    True
    """
    machine = load_hardware(hardware)
    if machine.pe != "adder":
        raise InputError(f"{machine.name} has pe = {machine.pe!r}; compare starts from an adder machine")
    twin = multiplier_twin(machine)
    ours, theirs = adder_qnet.on(machine), multiplier_qnet.on(twin)
    chosen = arithmetic_tables() if tables == "all" else [tables] if isinstance(tables, str) else tables
    named = [load_table(one) for one in chosen]
    if not named:
        raise InputError("tables: expected at least one cost table")
    costs: dict[str, tuple[Cost, Cost]] = {}
    for table in (one.as_printed for one in named):
        on = partial(evaluate, dataflow=dataflow, table=table, tiling=tiling)
        costs[table.name] = on(ours, machine), on(theirs, twin)
    scaled = [one.name for one in named if one.scaled_to is not None]
    said = (f"ratios are formed at a table's own node: {', '.join(scaled)} as printed",) if scaled else ()
    return Comparison(costs, (*said, *_assumptions(costs, machine, twin)))


def _values(metric: Metric, adder: Cost, multiplier: Cost) -> tuple[float | None, float | None]:
    if metric == "energy":
        return adder.energy_pj, multiplier.energy_pj
    if metric == "arithmetic":
        return adder.energy_by_unit["arithmetic"], multiplier.energy_by_unit["arithmetic"]
    if metric == "latency":
        return adder.latency_us, multiplier.latency_us
    if metric == "area":
        return adder.area_um2, multiplier.area_um2
    layers = {run.layer for run in adder.layers if run.array == "adder"}
    if not layers <= {run.layer for run in multiplier.layers if run.array is not None}:
        return adder.tap_energy_pj(layers), None
    return adder.tap_energy_pj(layers), multiplier.tap_energy_pj(layers)


def _own_clock(adder: Cost, multiplier: Cost) -> OwnClock | None:
    ours, theirs = adder.clock.mhz, multiplier.clock.mhz
    if ours is None or theirs is None:
        return None
    return OwnClock(ours, theirs, (multiplier.cycles / theirs) / (adder.cycles / ours))


def _ratio(metric: Metric, adder: Cost, multiplier: Cost) -> float | None:
    ours, theirs = _values(metric, adder, multiplier)
    return None if not ours or theirs is None else theirs / ours


def _assumptions(costs: Mapping[str, tuple[Cost, Cost]], machine: Hardware, twin: Hardware) -> tuple[str, ...]:
    adder, multiplier = next(iter(costs.values()))
    held = (
        f"equal on both sides: array {machine.rows} x {machine.cols}, operand and accumulator widths, "
        f"buffers, clock, vector lanes, dataflow {adder.dataflow}",
    )
    side = machine.multiplier_rows * machine.multiplier_cols
    unequal = (
        f"{machine.name} runs the layers that stayed multiplications on {side} multipliers beside the array, "
        f"{twin.name} on its {twin.rows * twin.cols}; their area, cycles and buffer energy are in the figures",
    ) if side else ()  # fmt: skip
    both = (*multiplier.assumptions, *(text for pair in costs.values() for text in pair[0].assumptions))
    return (*held, *unequal, *_differences(adder, multiplier), *dict.fromkeys((*adder.assumptions, *both)))


def _differences(adder: Cost, multiplier: Cost) -> tuple[str, ...]:
    """Return a warning where the networks do not have the same taps layer by layer."""
    taps = [{run.layer: run.taps for run in cost.layers if run.array} for cost in (adder, multiplier)]
    if taps[0] == taps[1]:
        return ()
    totals = [sum(layers.values()) for layers in taps]
    return (f"NOT the same network on both sides: {totals[0]} taps against {totals[1]}",)
