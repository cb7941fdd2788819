"""Charge, Area, LayerRun, Cost: what one image costs on one machine, as sums that can be taken apart."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from addersim.datapath import Kind
from addersim.hardware import Hardware
from addersim.tabular import Tabular

Unit = Literal["arithmetic", "buffers", "dram"]
UNITS: tuple[Unit, ...] = ("arithmetic", "buffers", "dram")


@dataclass(frozen=True)
class Charge:
    """One entry of the bill: ``energy_pj`` is ``times`` times the price that ``source`` derives.

    ``times`` counts operations in ``arithmetic``, words in ``buffers`` and bits in ``dram``. The action of
    an arithmetic charge begins with its part: ``tap``, ``output`` or ``other``.
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
class LayerRun:
    """How long one layer takes.

    Attributes
    ----------
    array
        The kind of elements that run its loop nest, ``None`` for pooling, residual additions, the input.
    array_cycles, vector_cycles, dram_cycles
        On the array, on the vector lanes, at the DRAM port. The port works meanwhile, so the layer takes
        ``max(array_cycles + vector_cycles, dram_cycles)``.
    utilisation
        Taps per element and array cycle.
    taps
        Innermost steps of the loop nest.
    """

    layer: str
    array: Kind | None
    array_cycles: int
    vector_cycles: int
    dram_cycles: int
    utilisation: float
    taps: int = 0

    @property
    def cycles(self) -> int:
        """Cycles of the layer."""
        return max(self.array_cycles + self.vector_cycles, self.dram_cycles)


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

    @property
    def energy_pj(self) -> float:
        """All charges together."""
        return sum(charge.energy_pj for charge in self.charges)

    @property
    def energy_by_unit(self) -> dict[Unit, float]:
        """Energy in pJ of arithmetic, buffers and DRAM."""
        return {unit: sum(c.energy_pj for c in self.charges if c.unit == unit) for unit in UNITS}

    @property
    def cycles(self) -> int:
        """Cycles of all layers, one after another."""
        return sum(layer.cycles for layer in self.layers)

    @property
    def latency_us(self) -> float:
        """``cycles / clock_mhz``."""
        return self.cycles / self.hardware.clock_mhz

    @property
    def area_um2(self) -> float | None:
        """Area of the arrays' arithmetic, the components that have a price; ``None`` if none has.

        Buffers, registers and output stages are in :attr:`areas` without a price and not in this sum.
        """
        priced = [area.area_um2 for area in self.areas if area.area_um2 is not None]
        return sum(priced) if priced else None

    @property
    def sources(self) -> tuple[str, ...]:
        """The distinct sources of all charges and areas, in order of appearance."""
        return tuple(dict.fromkeys([c.source for c in self.charges] + [a.source for a in self.areas]))

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
        """Return a DataFrame with one row per layer: array, cycles, utilisation, energy by unit in pJ."""
        import pandas as pd

        sums = {(layer.layer, unit): 0.0 for layer in self.layers for unit in UNITS}
        for charge in self.charges:
            sums[charge.layer, charge.unit] += charge.energy_pj
        rows = [
            [run.layer, run.array or "", run.cycles, run.utilisation, *(sums[run.layer, u] for u in UNITS)]
            for run in self.layers
        ]
        columns = ["layer", "array", "cycles", "utilisation", *(f"{unit}_pj" for unit in UNITS)]
        return pd.DataFrame(rows, columns=columns)

    def explain(self) -> str:
        """Return totals, sources and assumptions as plain text."""
        area = "not priced" if self.area_um2 is None else f"{self.area_um2:.4g} um2 of arithmetic"
        lines = [
            f"{self.network} on {self.hardware.name}, {self.dataflow}, prices of {self.table}",
            f"energy {self.energy_pj:.4g} pJ per image: "
            + ", ".join(f"{unit} {energy:.4g}" for unit, energy in self.energy_by_unit.items()),
            f"{self.cycles} cycles, {self.latency_us:.4g} us at {self.hardware.clock_mhz:g} MHz; area {area}",
        ]
        lines += [f"source: {source}" for source in self.sources]
        return "\n".join(lines + [f"assumption: {text}" for text in self.assumptions])
