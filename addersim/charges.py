"""Charge, Area, LayerRun, Cost: what one image costs on one machine, as sums that can be taken apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from addersim.bill import UNITS, Unit, bill, bill_of_layer
from addersim.hardware import Element, Hardware
from addersim.ports import layer_cycles
from addersim.tabular import Tabular

__all__ = ["UNITS", "Area", "Charge", "Clock", "Cost", "LayerRun", "Unit"]


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
        The tiles that each memory holds, of a layer on the array.
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
    """The bill for one image, or a batch of them: charges, run times, areas, and what they rest on."""

    network: str
    hardware: Hardware
    dataflow: str
    table: str
    charges: tuple[Charge, ...]
    layers: tuple[LayerRun, ...]
    areas: tuple[Area, ...]
    assumptions: tuple[str, ...]
    clock: Clock = Clock("array", None, "not computed")
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
        return "\n".join(bill(self) if layer is None else bill_of_layer(self, layer))
