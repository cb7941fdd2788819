"""Cost: what one image costs on one machine, and its bill, every figure as count x price with its source."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from addersim.costs.charges import NO_CLOCK, UNITS, Area, Charge, Clock, Unit
from addersim.errors import InputError, nearest
from addersim.hardware import Hardware
from addersim.mapping.latency import LayerRun
from addersim.tabular import Tabular


@dataclass(frozen=True, repr=False)
class Cost(Tabular):
    """The bill for one image, or a batch of them: charges, run times, areas, and what they rest on."""

    network: str
    hardware: Hardware
    dataflow: str
    table: str
    charges: tuple[Charge, ...]
    layers: tuple[LayerRun, ...]
    areas: tuple[Area, ...]
    assumptions: tuple[str, ...]
    clock: Clock = NO_CLOCK
    images: int = 1

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

        The others are in :attr:`Cost.areas` without a price and not in this sum: output stages in every table,
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
        said = ["cycles", "stall_cycles", "bound", "utilisation"]
        rows = [
            [run.layer, run.array or "", *(getattr(run, name) for name in said), *(sums[run.layer, u] for u in UNITS)]
            for run in self.layers
        ]
        return pd.DataFrame(rows, columns=["layer", "array", *said, *(f"{unit}_pj" for unit in UNITS)])

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
        return "\n".join(bill(self) if layer is None else bill_of_layer(self, layer))


COUNTED: dict[Unit, str] = {"arithmetic": "operations", "buffers": "words", "dram": "bits", "leakage": "cycles"}


def bill(cost: Cost) -> Iterator[str]:
    """Yield the lines of the whole bill: energy by unit, times, areas, sources, assumptions."""
    numbers: dict[str, int] = {}
    yield f"{cost.network} {_heading(cost)}"
    yield ""
    yield _line("energy", cost.energy_pj / 1000, "nJ")
    for unit in UNITS:
        yield from _charges(cost.charges, unit, numbers)
    yield _line("latency", cost.latency_us, f"us = {cost.cycles:,} cycles / {cost.hardware.clock_mhz:g} MHz")
    yield _own_clock(cost.clock, cost.own_clock_latency_us, numbers)
    yield from map(_timing, cost.layers)
    yield from _floor_plan(cost.areas, cost.area_um2, numbers)
    yield from _sources(numbers)
    yield from ("", "assumptions", *(f"- {text}" for text in cost.assumptions))


def bill_of_layer(cost: Cost, layer: str) -> Iterator[str]:
    """Yield the lines of one layer's energy, how its cycles come about, its tiles, and the sources.

    Raises
    ------
    InputError
        If there is no such layer.
    """
    names, numbers = [run.layer for run in cost.layers], dict[str, int]()
    if layer not in names:
        raise InputError(f"{cost.network} has no layer {layer!r}{nearest(layer, names)}")
    charges = [charge for charge in cost.charges if charge.layer == layer]
    yield f"{layer} of {cost.network} {_heading(cost)}"
    yield ""
    yield _line("energy", sum(charge.energy_pj for charge in charges) / 1000, "nJ")
    for unit in UNITS:
        yield from _charges(charges, unit, numbers)
    run = cost.layers[names.index(layer)]
    yield _line("latency", run.cycles / cost.hardware.clock_mhz, f"us = {run.cycles:,} cycles")
    yield _timing(run)
    yield from _sources(numbers)


def _heading(cost: Cost) -> str:
    images = "one image" if cost.images == 1 else f"{cost.images} images together"
    return f"on {cost.hardware.name}, {cost.dataflow}, prices of {cost.table}; {images}"


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


def _own_clock(clock: Clock, latency_us: float | None, numbers: dict[str, int]) -> str:
    if clock.mhz is None or latency_us is None:
        return f"own clock: not known {_note(clock.source, numbers)}"
    return _line("latency at its own clock", latency_us, f"us at {clock.mhz:,.0f} MHz {_note(clock.source, numbers)}")


def _charges(charges: Iterable[Charge], unit: Unit, numbers: dict[str, int]) -> Iterator[str]:
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
