"""Tornado: how far each assumption moves a comparison when all others stay what they are."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, get_args

from addersim.arithmetic.output_stage import Style
from addersim.costs import CostTable, arithmetic_tables, load_table
from addersim.costs.comparison.compare import Comparison, Metric, compare
from addersim.errors import InputError
from addersim.hardware import Hardware, load_hardware, with_full_side_array
from addersim.mapping.dataflows import DATAFLOWS, Dataflow
from addersim.mapping.tile_search import Objective
from addersim.network.quantized import QuantizedNetwork
from addersim.tabular import Tabular

WIDEST_BITS = 32
Priced: TypeAlias = tuple[str, Comparison | None]


@dataclass(frozen=True)
class Case:
    """A comparison with one assumption changed: both networks, machine, dataflow, table, tiling."""

    name: str
    adder: QuantizedNetwork
    multiplier: QuantizedNetwork
    machine: Hardware
    dataflow: str | Dataflow
    table: CostTable
    tiling: Objective


@dataclass(frozen=True)
class Swing:
    """The least and the largest ratio that one assumption leads to, and the cases that do."""

    assumption: str
    low: float
    high: float
    low_case: str
    high_case: str

    @property
    def factor(self) -> float:
        """``high / low``: 1 where the assumption changes nothing."""
        return self.high / self.low


@dataclass(frozen=True, repr=False)
class Tornado(Tabular):
    """Multiplier / adder by one table, and how far each assumption moves it, the widest first."""

    metric: Metric
    table: str
    ratio: float
    swings: tuple[Swing, ...]

    @property
    def widest(self) -> Swing:
        """The assumption that moves the ratio most."""
        return self.swings[0]

    def to_pandas(self) -> Any:
        """Return one row per assumption: low, high, their cases, high / low."""
        import pandas as pd

        rows = [[s.assumption, s.low, s.high, s.low_case, s.high_case, s.factor] for s in self.swings]
        return pd.DataFrame(rows, columns=["assumption", "low", "high", "low_case", "high_case", "factor"])


def tornado(
    adder_qnet: QuantizedNetwork,
    multiplier_qnet: QuantizedNetwork,
    *,
    hardware: str | os.PathLike[str] | Hardware = "adder_16x16",
    dataflow: str | Dataflow = "output_stationary",
    table: str | os.PathLike[str] | CostTable = "horowitz2014_45nm",
    metric: Metric = "energy",
    tiling: Objective = "traffic",
) -> Tornado:
    """Return multiplier / adder with one assumption after the other changed.

    Assumptions: the cost table (every one that prices arithmetic), the circuit of the distance, the width of the
    accumulators (from what the networks need to 32 bits), the price of DRAM (both ends of a printed range), the style
    of the output stages (priced only: other styles want other constants, and may lose accuracy), the size of the
    buffers (half, double), the SRAM's prices, gates as a share of an addition or as whole ones, the side array, the
    dataflow. A case that a table or machine cannot price is left out.

    Parameters
    ----------
    table
        The table of all cases but those of the first assumption.
    metric
        As for :meth:`addersim.costs.comparison.compare.Comparison.ratio`.
    tiling
        As for :func:`addersim.evaluate`, of all cases.

    Raises
    ------
    InputError
        If the comparison itself has no ratio by ``table``.

    Examples
    --------
    >>> import addersim
    >>> images, _ = addersim.sample("fashion_calibration", limit=4)
    >>> nets = [addersim.quantize(addersim.example_network(adder=adder), images) for adder in (True, False)]
    >>> result = addersim.tornado(*nets, metric="taps")
    >>> result.widest.low < result.ratio < result.widest.high
    True
    """
    where: dict[str, Any] = {"hardware": hardware, "dataflow": dataflow, "table": table, "tiling": tiling}
    return tornadoes(adder_qnet, multiplier_qnet, **where, metrics=[metric])[0]


def tornadoes(
    adder_qnet: QuantizedNetwork,
    multiplier_qnet: QuantizedNetwork,
    *,
    hardware: str | os.PathLike[str] | Hardware,
    dataflow: str | Dataflow,
    table: str | os.PathLike[str] | CostTable,
    tiling: Objective,
    metrics: Iterable[Metric],
) -> list[Tornado]:
    """Return :func:`tornado` for each metric, every case priced once."""
    machine, printed = load_hardware(hardware), load_table(table).as_printed
    base = Case("", adder_qnet, multiplier_qnet, machine, dataflow, printed, tiling)
    now = _compared(base)
    cases = [(assumption, [_priced(case, base, now) for case in found]) for assumption, found in _assumptions(base)]
    return [_tornado(metric, base.table.name, now, cases) for metric in metrics]


def _tornado(metric: Metric, table: str, now: Comparison, cases: Sequence[tuple[str, Sequence[Priced]]]) -> Tornado:
    ratio = now.ratio(metric)[table]
    if ratio is None:
        raise InputError(f"{table} has no ratio of {metric}; choose another table")
    found = [_swing(assumption, priced, metric) for assumption, priced in cases]
    swings = sorted((swing for swing in found if swing), key=lambda swing: -swing.factor)
    return Tornado(metric, table, ratio, tuple(swings))


def _compared(case: Case) -> Comparison:
    where: dict[str, Any] = {"hardware": case.machine, "dataflow": case.dataflow, "tiling": case.tiling}
    return compare(case.adder, case.multiplier, tables=[case.table], **where)


def _priced(case: Case, base: Case, now: Comparison) -> Priced:
    """Return a case's name and comparison, ``None`` where it cannot be priced."""
    same = case.adder is base.adder and case.machine == base.machine and case.table == base.table
    if same and case.dataflow == base.dataflow:
        return case.name, now
    try:
        return case.name, _compared(case)
    except InputError:
        return case.name, None


def _swing(assumption: str, cases: Sequence[Priced], metric: Metric) -> Swing | None:
    """Return the swing over those cases that have a ratio, ``None`` unless there are two."""
    found = []
    for name, comparison in cases:
        ratios = comparison.ratio(metric).values() if comparison else ()
        found += [(ratio, name) for ratio in ratios if ratio is not None]
    if len(found) < 2:
        return None
    (low, low_case), (high, high_case) = min(found), max(found)
    return Swing(assumption, low, high, low_case, high_case)


def _assumptions(base: Case) -> Iterator[tuple[str, Iterator[Case]]]:
    yield "cost table", (replace(base, name=name, table=load_table(name)) for name in arithmetic_tables())
    yield "circuit of the distance", _machines(base, circuit=("two_subtractors", "xor_carry", "comparator"))
    yield "accumulator width", _accumulators(base)
    yield "price of DRAM", _dram(base)
    yield "style of the output stages", (_with_style(base, style) for style in get_args(Style))
    yield "size of the buffers", _buffers(base)
    yield "prices of SRAM", _memories(base)
    yield "price of a gate", _gates(base)
    yield "side array of multipliers", _sides(base)
    yield "dataflow", (replace(base, name=name, dataflow=name) for name in DATAFLOWS)


def _machines(base: Case, **fields: tuple[Any, ...]) -> Iterator[Case]:
    for key, values in fields.items():
        for value in values:
            yield replace(base, name=str(value), machine=load_hardware(base.machine, **{key: value}))


def _accumulators(base: Case) -> Iterator[Case]:
    paths = [node.datapath for qnet in (base.adder, base.multiplier) for node in qnet.nodes if node.datapath]
    needed = max(path.accumulator.format.bits for path in paths)
    for bits in sorted({min(needed, WIDEST_BITS), base.machine.accumulator_bits, WIDEST_BITS}):
        machine = load_hardware(base.machine, accumulator_bits=bits, multiplier_accumulator_bits=None)
        yield replace(base, name=f"{bits} bits", machine=machine)


def _dram(base: Case) -> Iterator[Case]:
    if base.machine.dram.pj_per_bit is None:
        for high, name in ((False, "lower end"), (True, "upper end")):
            yield replace(base, name=name, table=base.table.model_copy(update={"dram_high": high}))


def _with_style(base: Case, style: Style) -> Case:
    def styled(qnet: QuantizedNetwork) -> QuantizedNetwork:
        nodes = (
            node if node.stage is None else replace(node, stage=replace(node.stage, style=style)) for node in qnet.nodes
        )
        return type(qnet)(qnet.name, tuple(nodes), qnet.tensors)

    return replace(base, name=style, adder=styled(base.adder), multiplier=styled(base.multiplier))


def _buffers(base: Case) -> Iterator[Case]:
    for name, factor in (("half", 0.5), ("as they are", 1), ("double", 2)):
        sizes = {b.name: {"size_bytes": max(1, int(b.size_bytes * factor))} for b in base.machine.buffers}
        yield replace(base, name=name, machine=load_hardware(base.machine, buffers=sizes))


def _memories(base: Case) -> Iterator[Case]:
    for name in dict.fromkeys([base.table.memory_owner.name.partition("@")[0], "cacti_45nm"]):
        yield replace(base, name=name, table=base.table.with_memory(name))


def _gates(base: Case) -> Iterator[Case]:
    if not base.table.has("bitwise"):
        yield replace(base, name=f"share of {base.table.gates_from}")
        yield replace(base, name="an addition", table=base.table.model_copy(update={"gates_from": ""}))


def _sides(base: Case) -> Iterator[Case]:
    full = with_full_side_array(base.machine)
    for machine in dict.fromkeys([base.machine, full]):
        yield replace(base, name=f"{machine.multiplier_rows} x {machine.multiplier_cols}", machine=machine)
