"""Where energy and time go: what each chart of an outcome shows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

from markupsafe import Markup

from addersim.costs.bill import Cost
from addersim.costs.charges import UNITS
from addersim.mapping.latency import LayerRun
from addersim.report.bars import Bars, draw
from addersim.simulation.validate import LayerError
from addersim.study.outcome import Outcome, Side

NAMES = {"arithmetic": "arithmetic", "buffers": "buffers", "dram": "DRAM"}  # leakage is drawn with arithmetic
PARTS = {"tap": "taps", "output": "output stages", "other": "other"}
MANY, SMALL = 16, 0.02  # from so many layers on, those below this share of the longest bar are drawn as one
Values: TypeAlias = Callable[[Side, str], Sequence[float]]
Groups: TypeAlias = dict[str, dict[str, Sequence[float]]]


def energy_total(outcome: Outcome) -> Markup:
    """Return the whole bill of one image: arithmetic, buffers, DRAM."""
    groups = {s.label: {s.label: _by_unit(s.costs[outcome.table])} for s in outcome.sides}
    label = "Energy of one image in nanojoules, stacked from arithmetic (with leakage), buffers and DRAM"
    return draw(Bars("energy-total", label, tuple(NAMES.values()), groups, "nJ per image"))


def arithmetic_total(outcome: Outcome) -> Markup:
    """Return the arithmetic alone: taps, output stages, other."""
    groups = {s.label: {s.label: _by_part(s.costs[outcome.table])} for s in outcome.sides}
    label = "Energy of arithmetic alone in nanojoules, stacked from taps, output stages and other operations"
    return draw(Bars("arithmetic-total", label, tuple(PARTS.values()), groups, "nJ per image, arithmetic only"))


def energy_layers(outcome: Outcome) -> Markup:
    """Return the bill layer by layer."""
    groups = _by_layer(outcome, lambda side, layer: _by_unit(side.costs[outcome.table], layer))
    label = "Energy per layer in nanojoules, stacked from arithmetic (with leakage), buffers and DRAM"
    return draw(Bars("energy-layers", label, tuple(NAMES.values()), gathered(groups), "nJ per image"))


def arithmetic_layers(outcome: Outcome) -> Markup:
    """Return the arithmetic layer by layer."""
    groups = _by_layer(outcome, lambda side, layer: _by_part(side.costs[outcome.table], layer))
    label = "Energy of arithmetic per layer in nanojoules, stacked from taps, output stages and other operations"
    parts = tuple(PARTS.values())
    return draw(Bars("arithmetic-layers", label, parts, gathered(groups), "nJ per image, arithmetic only"))


def latency_layers(outcome: Outcome) -> Markup:
    """Return the time of each layer: computing, then waiting for a memory."""

    def times(side: Side, layer: str) -> Sequence[float]:
        run = _run(side, outcome.table, layer)
        if run is None:
            return (0.0, 0.0)
        computing = run.array_cycles + run.vector_cycles
        clock = side.machine.clock_mhz
        return (computing / clock, (run.cycles - computing) / clock)

    label = "Time per layer in microseconds, stacked from computing and waiting for memories"
    groups = gathered(_by_layer(outcome, times))
    return draw(Bars("latency-layers", label, ("computing", "waiting for memories"), groups, "µs per image"))


def utilisation_layers(outcome: Outcome) -> Markup:
    """Return the share of the array's elements at work in each layer that runs on an array."""

    def shares(side: Side, layer: str) -> Sequence[float]:
        run = _run(side, outcome.table, layer)
        return (100 * run.utilisation if run is not None and run.array else 0.0,)

    groups, label = _by_layer(outcome, shares), "Utilisation of the arrays per layer in per cent"
    return draw(Bars("utilisation-layers", label, ("array",), groups, "% of the elements at work", 100))


def sqnr_layers(outcome: Outcome) -> Markup | None:
    """Return the signal-to-noise ratio behind each layer, or nothing if no network has a float model."""
    return _validated(outcome, "SQNR", "SQNR behind each layer in decibels", "dB", lambda layer: layer.sqnr_db)


def input_layers(outcome: Outcome) -> Markup | None:
    """Return which share of each layer's inputs its format clamps, or nothing as above."""
    label = "Share of each layer's inputs beyond its format in per cent"
    return _validated(outcome, "inputs", label, "% of the inputs", lambda layer: 100 * layer.saturated_inputs)


def weight_layers(outcome: Outcome) -> Markup | None:
    """Return which share of each layer's weights its format clamps, or nothing as above."""
    label = "Share of each layer's weights beyond its format in per cent"
    return _validated(outcome, "weights", label, "% of the weights", lambda layer: 100 * layer.saturated_weights)


def range_layers(outcome: Outcome) -> Markup | None:
    """Return which share of its format each layer's output spans, or nothing as above."""
    label = "Share of the output format's range in use per layer in per cent"
    return _validated(outcome, "range", label, "% of the range", lambda layer: 100 * layer.range_use, 100)


def _validated(
    outcome: Outcome, part: str, label: str, unit: str, value: Callable[[LayerError], float], limit: float | None = None
) -> Markup | None:
    """Return a figure of each layer's :class:`LayerError`, where it is finite."""
    groups: Groups = {}
    for side in outcome.sides:
        for layer in side.validation.layers if side.validation else ():
            if math.isfinite(bar := value(layer)):
                groups.setdefault(layer.name, {})[side.label] = (bar,)
    return draw(Bars(f"{part.lower()}-layers", label, (part,), groups, unit, limit)) if groups else None


def gathered(groups: Groups) -> Groups:
    """Return ``groups`` with the small ones of many added up in one, behind the others."""
    sums = {name: max(map(sum, bars.values())) for name, bars in groups.items()}
    small = [name for name in groups if sums[name] < SMALL * max(sums.values())]
    if len(groups) < MANY or len(small) < 2:
        return groups
    large, rest = dict(groups), dict[str, Sequence[float]]()
    for name in small:
        for side, bar in large.pop(name).items():
            rest[side] = [a + b for a, b in zip(bar, rest.get(side, [0.0] * len(bar)), strict=True)]
    return {**large, f"{len(small)} small layers": rest}


def _by_layer(outcome: Outcome, values: Values) -> Groups:
    """Return group and bars of every layer in which at least one network has something to show."""
    names = dict.fromkeys(run.layer for side in outcome.sides for run in side.costs[outcome.table].layers)
    groups: Groups = {}
    for layer in names:
        bars = {s.label: values(s, layer) for s in outcome.sides if _run(s, outcome.table, layer) is not None}
        if any(sum(bar) > 0 for bar in bars.values()):
            groups[layer] = bars
    return groups


def _run(side: Side, table: str, layer: str) -> LayerRun | None:
    return next((run for run in side.costs[table].layers if run.layer == layer), None)


def _by_unit(cost: Cost, layer: str | None = None) -> list[float]:
    """Return nJ of arithmetic with leakage, buffers and DRAM, of one layer or of all."""
    chosen = [c for c in cost.charges if layer in (None, c.layer)]
    sums = {unit: sum(c.energy_pj for c in chosen if c.unit == unit) / 1000 for unit in UNITS}
    return [sums["arithmetic"] + sums["leakage"], sums["buffers"], sums["dram"]]


def _by_part(cost: Cost, layer: str | None = None) -> list[float]:
    """Return nJ of taps, output stages and other arithmetic, of one layer or of all."""
    chosen = [c for c in cost.charges if c.unit == "arithmetic" and layer in (None, c.layer)]
    return [sum(c.energy_pj for c in chosen if c.action.split()[0] == part) / 1000 for part in PARTS]
