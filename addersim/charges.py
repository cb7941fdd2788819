"""Charge, Area, LayerRun, Cost: what one image costs on one machine, as sums that can be taken apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from addersim.errors import InputError, nearest
from addersim.hardware import Element, Hardware
from addersim.ports import layer_cycles
from addersim.tabular import Tabular

Unit = Literal["arithmetic", "buffers", "dram", "leakage"]
UNITS: tuple[Unit, ...] = ("arithmetic", "buffers", "dram", "leakage")
COUNTED: dict[Unit, str] = {"arithmetic": "operations", "buffers": "words", "dram": "bits", "leakage": "cycles"}


@dataclass(frozen=True)
class Charge:
    """One entry of the bill: ``energy_pj`` is ``times`` times the price that ``source`` derives.

    ``times`` counts operations in ``arithmetic``, words in ``buffers``, bits in ``dram``, cycles in ``leakage``.
    The action of an arithmetic charge begins with its part: ``tap``, ``output`` or ``other``.
    """

    layer: str
    unit: Unit
    action: str
    times: int
    energy_pj: float
    source: str


@dataclass(frozen=True)
class Area:
    """``count`` copies of a component; ``area_um2`` is all of them together, ``None`` where not priced."""

    component: str
    count: int
    area_um2: float | None
    source: str


@dataclass(frozen=True)
class Clock:
    """The fastest clock of an array by its critical path; ``mhz`` is ``None`` where no delays are printed."""

    array: str
    mhz: float | None
    source: str


@dataclass(frozen=True)
class LayerRun:
    """How long one layer takes.

    Attributes
    ----------
    array
        The kind of elements that run its loop nest, ``None`` for pooling, residual additions, the input.
    array_cycles, vector_cycles
        On the array, on the vector lanes.
    hidden_cycles, waiting_cycles
        Memory to cycles of its port: those that run beside the array, and those for which it waits. Memories go by
        the name of the buffer, or ``"dram"``.
    utilisation
        Taps per element and array cycle.
    taps
        Innermost steps of the loop nest.
    tiles
        The tiles that each memory holds, if a tiling was searched.
    """

    layer: str
    array: Element | None
    array_cycles: int
    vector_cycles: int
    hidden_cycles: Mapping[str, int]
    waiting_cycles: Mapping[str, int]
    utilisation: float
    taps: int = 0
    tiles: str = ""

    @property
    def cycles(self) -> int:
        """Cycles of the layer: :func:`addersim.ports.layer_cycles`."""
        busy = self.array_cycles + self.vector_cycles
        return int(layer_cycles(busy, list(self.hidden_cycles.values()), list(self.waiting_cycles.values())))

    @property
    def stall_cycles(self) -> int:
        """Cycles in which neither the array nor the vector lanes work."""
        return self.cycles - self.array_cycles - self.vector_cycles

    @property
    def memory_cycles(self) -> dict[str, int]:
        """Memory to all cycles of its port."""
        names = dict.fromkeys([*self.hidden_cycles, *self.waiting_cycles])
        return {name: self.hidden_cycles.get(name, 0) + self.waiting_cycles.get(name, 0) for name in names}

    @property
    def bound(self) -> str:
        """What takes longest: ``"compute"``, or the name of a memory; empty for a layer that takes no time."""
        times = {"compute": self.array_cycles + self.vector_cycles, **self.memory_cycles}
        return max(times, key=lambda name: times[name]) if any(times.values()) else ""


@dataclass(frozen=True, repr=False)
class Cost(Tabular):
    """The bill for one image: charges, run times, areas, and what they rest on."""

    network: str
    hardware: Hardware
    dataflow: str
    table: str
    charges: tuple[Charge, ...]
    layers: tuple[LayerRun, ...]
    areas: tuple[Area, ...]
    assumptions: tuple[str, ...]
    clock: Clock = Clock("array", None, "not computed")

    @property
    def energy_pj(self) -> float:
        """All charges together."""
        return sum(charge.energy_pj for charge in self.charges)

    @property
    def energy_by_unit(self) -> dict[Unit, float]:
        """Energy in pJ of arithmetic, buffers, DRAM and leakage."""
        return {unit: sum(c.energy_pj for c in self.charges if c.unit == unit) for unit in UNITS}

    @property
    def cycles(self) -> int:
        """Cycles of all layers, one after another."""
        return sum(layer.cycles for layer in self.layers)

    @property
    def stall_cycles(self) -> int:
        """Cycles in which neither the array nor the vector lanes work."""
        return sum(layer.stall_cycles for layer in self.layers)

    @property
    def latency_us(self) -> float:
        """``cycles / clock_mhz``."""
        return self.cycles / self.hardware.clock_mhz

    @property
    def own_clock_latency_us(self) -> float | None:
        """``cycles`` at the clock of the array's critical path; ``None`` where the table has no delays.

        DRAM is taken to move as many bits per cycle as at the machine's clock.
        """
        return None if self.clock.mhz is None else self.cycles / self.clock.mhz

    @property
    def area_um2(self) -> float | None:
        """Area of the components that have one in the table; ``None`` if none has.

        The others are in :attr:`areas` without a price and not in this sum: output stages in every table,
        buffers and registers in most.
        """
        priced = [area.area_um2 for area in self.areas if area.area_um2 is not None]
        return sum(priced) if priced else None

    @property
    def sources(self) -> tuple[str, ...]:
        """The distinct sources of all charges, of the clock and of all areas, in order of appearance."""
        found = [c.source for c in self.charges] + [self.clock.source] + [a.source for a in self.areas]
        return tuple(dict.fromkeys(found))

    def tap_energy_pj(self, layers: Iterable[str] | None = None) -> float:
        """Return the energy of the loop nests' arithmetic, of all layers or of the named ones."""
        taps = [c for c in self.charges if c.unit == "arithmetic" and c.action.startswith("tap ")]
        wanted = {c.layer for c in taps} if layers is None else set(layers)
        return sum(c.energy_pj for c in taps if c.layer in wanted)

    def to_pandas(self) -> Any:
        """Return the charges as a DataFrame, one row each."""
        import pandas as pd

        columns = ["layer", "unit", "action", "times", "energy_pj", "source"]
        return pd.DataFrame([[getattr(c, name) for name in columns] for c in self.charges], columns=columns)

    def by_layer(self) -> Any:
        """Return a DataFrame with one row per layer: array, cycles, stalls, bound, utilisation, pJ by unit."""
        import pandas as pd

        sums = {(layer.layer, unit): 0.0 for layer in self.layers for unit in UNITS}
        for charge in self.charges:
            sums[charge.layer, charge.unit] += charge.energy_pj
        rows = [
            [
                run.layer,
                run.array or "",
                run.cycles,
                run.stall_cycles,
                run.bound,
                run.utilisation,
                *(sums[run.layer, u] for u in UNITS),
            ]
            for run in self.layers
        ]
        columns = [
            "layer",
            "array",
            "cycles",
            "stall_cycles",
            "bound",
            "utilisation",
            *(f"{unit}_pj" for unit in UNITS),
        ]
        return pd.DataFrame(rows, columns=columns)

    def explain(self, layer: str | None = None) -> str:
        """Return every figure as count x price with the number of its source, then the sources and assumptions.

        Charges of the same action and price are summed over the layers; :meth:`to_pandas` has them one by one.

        Parameters
        ----------
        layer
            Only this layer's energy, with its sources.

        Raises
        ------
        InputError
            If there is no such layer.
        """
        numbers: dict[str, int] = {}
        if layer is not None:
            return "\n".join([*_of_layer(self, layer, numbers), *_sources(numbers)])
        lines = [
            f"{self.network} on {self.hardware.name}, {self.dataflow}, prices of {self.table}; one image",
            "",
            _line("energy", self.energy_pj / 1000, "nJ"),
            *(line for unit in UNITS for line in _bill(self.charges, unit, numbers)),
            _line("latency", self.latency_us, f"us = {self.cycles:,} cycles / {self.hardware.clock_mhz:g} MHz"),
            _own_clock(self.clock, self.own_clock_latency_us, numbers),
            *map(_timing, self.layers),
            *_floor_plan(self.areas, self.area_um2, numbers),
            *_sources(numbers),
            "",
            "assumptions",
            *(f"- {text}" for text in self.assumptions),
        ]
        return "\n".join(lines)


def _line(what: str, figure: float, rest: str) -> str:
    return f"{what:<34}{figure:>15,.3f} {rest}"


def _timing(run: LayerRun) -> str:
    """Return how the cycles of a layer come about, what bounds it, and its tiles."""
    beside = {"compute": run.array_cycles + run.vector_cycles, **run.hidden_cycles}
    longest = ", ".join(f"{name} {cycles:,}" for name, cycles in beside.items())
    waiting = "".join(f" + waiting for {name} {cycles:,}" for name, cycles in run.waiting_cycles.items())
    bound = f", bound by {run.bound}" if run.bound else ""
    tiles = f"; tiles in {run.tiles}" if run.tiles else ""
    return f"  {run.layer}: {run.cycles:,} cycles = max({longest}){waiting}{bound}{tiles}"


def _note(source: str, numbers: dict[str, int]) -> str:
    """Return the number of a source in brackets; a new source gets the next one."""
    return f"[{numbers.setdefault(source, len(numbers) + 1)}]"


def _sources(numbers: dict[str, int]) -> list[str]:
    return ["", "sources", *(f"[{number}] {source}" for source, number in numbers.items())]


def _of_layer(cost: Cost, layer: str, numbers: dict[str, int]) -> Iterator[str]:
    names = [run.layer for run in cost.layers]
    if layer not in names:
        raise InputError(f"{cost.network} has no layer {layer!r}{nearest(layer, names)}")
    charges = [charge for charge in cost.charges if charge.layer == layer]
    yield f"{layer} of {cost.network} on {cost.hardware.name}, {cost.dataflow}, prices of {cost.table}; one image"
    yield ""
    yield _line("energy", sum(charge.energy_pj for charge in charges) / 1000, "nJ")
    for unit in UNITS:
        yield from _bill(charges, unit, numbers)


def _own_clock(clock: Clock, latency_us: float | None, numbers: dict[str, int]) -> str:
    if clock.mhz is None or latency_us is None:
        return f"own clock: not known {_note(clock.source, numbers)}"
    return _line("latency at its own clock", latency_us, f"us at {clock.mhz:,.0f} MHz {_note(clock.source, numbers)}")


def _bill(charges: Iterable[Charge], unit: Unit, numbers: dict[str, int]) -> Iterator[str]:
    """Yield the total of a unit, then its charges, those of one action and source together, the largest first."""
    sums: dict[tuple[str, str], tuple[int, float]] = {}
    for charge in charges:
        if charge.unit == unit:
            times, energy_pj = sums.get((charge.action, charge.source), (0, 0.0))
            sums[charge.action, charge.source] = times + charge.times, energy_pj + charge.energy_pj
    if sums:
        yield _line(unit, sum(energy_pj for _, energy_pj in sums.values()) / 1000, "nJ")
    for (action, source), (times, energy_pj) in sorted(sums.items(), key=lambda item: -item[1][1]):
        product = f"nJ = {times:,} {COUNTED[unit]} x {energy_pj / max(times, 1):.4g} pJ"
        yield _line(f"  {action}", energy_pj / 1000, f"{product} {_note(source, numbers)}")


def _floor_plan(areas: Iterable[Area], area_um2: float | None, numbers: dict[str, int]) -> Iterator[str]:
    yield "area: not priced" if area_um2 is None else _line("area", area_um2, "um2")
    for area in areas:
        note = _note(area.source, numbers)
        if area.area_um2 is None:
            yield f"  {area.component}: {area.count:,}, not priced {note}"
        else:
            product = f"um2 = {area.count:,} x {area.area_um2 / area.count:.4g} um2 {note}"
            yield _line(f"  {area.component}", area.area_um2, product)
