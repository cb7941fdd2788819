"""Charge, Area, Clock: the entries of a bill, as sums that can be taken apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Unit = Literal["arithmetic", "buffers", "dram", "leakage"]

UNITS: tuple[Unit, ...] = get_args(Unit)


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


NO_CLOCK = Clock("array", None, "not computed")
