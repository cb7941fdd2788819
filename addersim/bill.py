"""The bill as text: every figure as count x price with the number of its source, then the sources."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Literal

from addersim.errors import InputError, nearest

if TYPE_CHECKING:
    from addersim.charges import Area, Charge, Clock, Cost, LayerRun

Unit = Literal["arithmetic", "buffers", "dram", "leakage"]
UNITS: tuple[Unit, ...] = ("arithmetic", "buffers", "dram", "leakage")
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
