"""Prices of arithmetic: from a table's rows to any width, each step said in the price's source."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from addersim.costs.laws import LAWS, SAID, Points, polynomial
from addersim.costs.rows import Polynomial, Price, Row, RowName, Rows
from addersim.errors import InputError, nearest
from addersim.primitives import NAMES, Primitive

BY_ADDITION: Mapping[str, str] = {
    "subtract": "a subtraction is charged as an addition",
    "absolute": "an absolute value is charged as an addition, an upper bound, as in QKeras qtools",
    "shift": "a shift is charged as an addition, an upper bound, as in QKeras qtools",
    "compare": "a comparison is charged as an addition: the table has no comparator",
}


def arithmetic_price(table: Rows, primitive: Primitive) -> Price:
    """Return energy and area of one execution of ``primitive``; see :meth:`CostTable.price`."""
    if primitive.name not in NAMES:
        raise InputError(f"{table.name}: no price for {primitive.name!r}{nearest(primitive.name, NAMES)}")
    if primitive.bits < 1:
        raise InputError(f"{table.name}: {primitive.name} of {primitive.bits} bits; expected 1 or more")
    if primitive.floating:
        return _float_price(table, primitive)
    name, remark = _row_name(table, primitive.name)
    bits = math.sqrt(primitive.bits * (primitive.other_bits or primitive.bits))
    for fit in table.polynomial:
        if fit.name == name:
            return _polynomial_price(table, fit, primitive, bits, remark)
    rows = sorted((r for r in table.primitive if r.name == name and not r.floating), key=lambda row: row.bits)
    if not rows:
        raise InputError(f"{table.name}: has no row {name!r}, so {primitive.name} has no price")
    law = table.laws[name]
    energy_pj = LAWS[law]([(row.bits, row.energy_pj) for row in rows], bits)
    areas: Points = [(row.bits, row.area_um2) for row in rows if row.area_um2 is not None]
    area_um2 = LAWS[law](areas, bits) if len(areas) == len(rows) else None
    return Price(energy_pj, area_um2, _chain(table, rows, SAID[law], primitive, energy_pj, remark))


def _row_name(table: Rows, name: str) -> tuple[RowName, str]:
    if name == "multiply":
        return "multiply", ""
    if name == "add" or (name == "compare" and any(r.name == "compare" for r in table.primitive)):
        return ("add" if name == "add" else "compare"), ""
    return "add", BY_ADDITION[name]


def _polynomial_price(table: Rows, fit: Polynomial, primitive: Primitive, bits: float, remark: str) -> Price:
    energy_pj = polynomial(fit.coefficients, bits)
    terms = " + ".join(f"{c:.10g} b^{i}" for i, c in enumerate(fit.coefficients) if c)
    chain = f"{table.source.short}: {fit.name} = {terms} pJ -> {_width(primitive)}: {energy_pj:.4g} pJ"
    return Price(energy_pj, None, f"{chain}; {remark}" if remark else chain)


def _chain(table: Rows, rows: Sequence[Row], law: str, primitive: Primitive, energy_pj: float, remark: str) -> str:
    shown = ", ".join(f"{row.bits} b {row.energy_pj:g} pJ" for row in rows)
    chain = f"{table.source.short}: {rows[0].name} {shown}"
    if primitive.bits not in {row.bits for row in rows} or primitive.other_bits not in {0, primitive.bits}:
        chain += f"; {law} -> {_width(primitive)}: {energy_pj:.4g} pJ"
    return f"{chain}; {remark}" if remark else chain


def _width(primitive: Primitive) -> str:
    if primitive.other_bits not in {0, primitive.bits}:
        return f"{primitive.bits} x {primitive.other_bits} b (geometric mean)"
    return f"{primitive.bits} b"


def _float_price(table: Rows, primitive: Primitive) -> Price:
    if primitive.name == "absolute":
        return Price(0.0, None, "the absolute value of a float clears its sign bit and is not charged")
    name = "multiply" if primitive.name == "multiply" else "add"
    rows = [row for row in table.primitive if row.floating and row.name == name]
    for row in rows:
        if row.bits == primitive.bits:
            remark = BY_ADDITION.get(primitive.name, "")
            chain = f"{table.source.short}: fp{row.bits} {row.name} {row.energy_pj:g} pJ"
            return Price(row.energy_pj, row.area_um2, f"{chain}; {remark}" if remark else chain)
    known = ", ".join(f"fp{row.bits}" for row in rows) or "none"
    raise InputError(f"{table.name}: no price for fp{primitive.bits} {primitive.name}; known: {known}")
