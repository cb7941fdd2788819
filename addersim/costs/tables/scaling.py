"""Technology scaling: energy, delay and area of one node from another's.

A. Stillmaker, B. Baas, Scaling equations for the accurate prediction of CMOS device performance from 180 nm to
7 nm, Integration 58, 2017, pp. 74-81, doi 10.1016/j.vlsi.2017.02.002. The paper's coefficients were read in
github.com/wromaszkan/nodeScale (nodeScale.py, UCLA NanoCAD); energies and areas also, and equal, in
hwcomponents/scaling/techscaling.py of Accelergy-Project/hwcomponents. The coefficients are those of general
purpose (HP) transistors below 65 nm. They were fitted to inverters and say nothing about DRAM.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

from addersim.errors import InputError
from addersim.toml import Record

CITE = "Stillmaker & Baas, Integration 58, 2017"
ENERGY: Mapping[int, Sequence[float]] = {  # node in nm to a2, a1, a0: a2 V^2 + a1 V + a0
    180: (0.0, 24.64, -17.98),
    130: (7.171, -6.709, 2.904),
    90: (4.762, -4.781, 2.092),
    65: (3.755, -4.398, 1.975),
    45: (1.018, -0.3107, 0.1539),
    32: (0.8367, -0.4341, 0.1701),
    20: (0.373, -0.1582, 0.04104),
    16: (0.2958, -0.1241, 0.03024),
    14: (0.2363, -0.09675, 0.02239),
    10: (0.2068, -0.09311, 0.02375),
    7: (0.1776, -0.09097, 0.02447),
}
DELAY: Mapping[int, Sequence[float]] = {  # a3, a2, a1, a0: a3 V^3 + a2 V^2 + a1 V + a0
    180: (0.0, 97.09, -356.7, 406.5),
    130: (-76.65, 334.9, -493.4, 275.8),
    90: (-60.34, 262.5, -384.2, 210.9),
    65: (-53.3, 230.4, -333.9, 178.6),
    45: (-501.6, 1567.0, -1619.0, 566.1),
    32: (-1047.0, 2982.0, -2797.0, 873.5),
    20: (0.0, 34.63, -66.37, 41.15),
    16: (0.0, 24.8, -47.52, 28.87),
    14: (-40.66, 109.2, -100.6, 35.92),
    10: (-34.95, 93.65, -85.99, 30.4),
    7: (-28.58, 76.6, -70.26, 24.69),
}
AREA: Mapping[int, float] = {  # relative to 45 nm
    180: 19,
    130: 6.4,
    90: 2.8,
    65: 1.5,
    45: 1,
    32: 0.46,
    20: 0.21,
    16: 0.19,
    14: 0.17,
    10: 0.1,
    7: 0.059,
}


class Point(Record):
    """A technology node and a supply voltage."""

    node_nm: float
    vdd_v: float

    def __str__(self) -> str:
        """Return both with their units."""
        return f"{self.node_nm:g} nm {self.vdd_v:g} V"


def energy_factor(source: Point, target: Point) -> float:
    """Return energy at ``target`` / energy at ``source``: ``a2 V^2 + a1 V + a0`` of each node.

    Raises
    ------
    InputError
        If a node is outside 7 to 180 nm, or the voltage is where a fit means nothing: its energy is not positive, or
        falls as the voltage rises, or its delay is not positive.

    Examples
    --------
    >>> round(energy_factor(Point(node_nm=45, vdd_v=1.0), Point(node_nm=7, vdd_v=0.7)), 4)
    0.0555
    """
    for point in (source, target):
        _fitted(DELAY, point, "delay")
    return _fitted(ENERGY, target, "energy") / _fitted(ENERGY, source, "energy")


def delay_factor(source: Point, target: Point) -> float:
    """Return delay at ``target`` / delay at ``source``: ``a3 V^3 + a2 V^2 + a1 V + a0`` of each node."""
    return _fitted(DELAY, target, "delay") / _fitted(DELAY, source, "delay")


def area_factor(source: Point, target: Point) -> float:
    """Return area at ``target`` / area at ``source``, from the column of the paper's table for 45 nm.

    Examples
    --------
    >>> area_factor(Point(node_nm=45, vdd_v=1.0), Point(node_nm=7, vdd_v=0.7))
    0.059
    """
    rows = {node: (value,) for node, value in AREA.items()}
    return _at(rows, target.node_nm)[0] / _at(rows, source.node_nm)[0]


def said(source: Point, target: Point) -> str:
    """Return the words that go into a charge: law, nodes, factor, and which nodes were interpolated."""
    between = [f"{point.node_nm:g}" for point in (source, target) if point.node_nm not in AREA]
    note = f", coefficients of {' and '.join(between)} nm interpolated" if between else ""
    return f"x {energy_factor(source, target):.4g} from {source} to {target} ({CITE}{note})"


def _fitted(table: Mapping[int, Sequence[float]], point: Point, what: str) -> float:
    value = rise = 0.0
    for coefficient in _at(table, point.node_nm):  # Horner's rule, for the value and its derivative
        rise = rise * point.vdd_v + value
        value = value * point.vdd_v + coefficient
    if value <= 0 or (what == "energy" and rise <= 0):
        wrong = "not positive" if value <= 0 else "falling as the voltage rises"
        raise InputError(f"scaling to {point}: the {what} of {CITE} is {wrong} there; choose another voltage")
    return value


def _at(table: Mapping[int, Sequence[float]], node_nm: float) -> Sequence[float]:
    """Return a node's coefficients, between two nodes linear in the node."""
    if node_nm in table:
        return table[int(node_nm)]
    for high, low in pairwise(sorted(table, reverse=True)):
        if low < node_nm < high:
            share = (node_nm - low) / (high - low)
            return [a + share * (b - a) for a, b in zip(table[low], table[high], strict=True)]
    raise InputError(f"scaling to or from {node_nm:g} nm: {CITE} covers {min(table)} to {max(table)} nm")
