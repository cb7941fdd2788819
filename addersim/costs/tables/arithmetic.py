"""Prices of arithmetic: from a table's rows to any width, each step said in the price's source."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from addersim.arithmetic.fixed import MAX_BITS
from addersim.arithmetic.primitives import NAMES, Name, Primitive
from addersim.costs.tables.laws import LAWS, LawName, polynomial, said
from addersim.costs.tables.rows import Polynomial, Price, Row, RowName, Rows
from addersim.errors import InputError, nearest

CHARGED_AS: Mapping[Name, tuple[RowName, int, str]] = {
    "add": ("add", 1, ""),
    "multiply": ("multiply", 1, ""),
    "compare": ("compare", 1, ""),
    "shift": ("shift", 1, ""),
    "register": ("register", 1, ""),
    "subtract": ("add", 1, "a subtraction is charged as an addition"),
    "absolute": ("add", 1, "an absolute value is charged as an addition, an upper bound, as in QKeras qtools"),
    "xor": ("bitwise", 1, ""),
    "select": ("bitwise", 3, "x 3: a multiplexer is two ANDs and one OR per bit"),
}
BY_ADDITION: Mapping[RowName, str] = {
    "compare": "a comparison is charged as an addition: the table has no comparator",
    "shift": "a shift is charged as an addition, as in QKeras qtools: the table has no shifter",
    "bitwise": "a bitwise operation is charged as an addition, an upper bound, as in QKeras qtools",
}


def arithmetic_price(table: Rows, primitive: Primitive, gates: Rows | None) -> Price:
    """Return the price of one execution of ``primitive``; see :meth:`addersim.costs.CostTable.price`.

    Parameters
    ----------
    gates
        The table that lends its ratio of a bitwise operation to an addition, if ``table`` has none.
    """
    if primitive.name not in NAMES:
        raise InputError(f"{table.name}: no price for {primitive.name!r}{nearest(primitive.name, NAMES)}")
    if primitive.bits < 1:
        raise InputError(f"{table.name}: {primitive.name} of {primitive.bits} bits; expected 1 or more")
    if primitive.floating:
        return _float_price(table, primitive)
    if table.has("multiply_accumulate"):
        return _accumulated(table, primitive)
    name, times, remark = CHARGED_AS[primitive.name]
    price = _times(_one(table, name, primitive, gates), times)
    return replace(price, source=f"{price.source}; {remark}") if remark else price


def _accumulated(table: Rows, primitive: Primitive) -> Price:
    """Return the price where a table has multiply-accumulates only: all of it is the product's, additions are free."""
    rows = table.integer_rows("multiply_accumulate")
    bits, short = primitive.bits, table.source.short
    if primitive.name in ("subtract", "absolute") or (primitive.name == "multiply" and bits != primitive.other_bits):
        raise InputError(f"{table.name}: no price for {primitive}; it prices multiply-accumulates only")
    if primitive.name != "multiply":
        return Price(0.0, None, f"{short}: part of a multiply-accumulate in taps, elsewhere not priced by this table")
    for row in rows:
        if row.bits == bits:
            return Price(row.energy_pj, row.area_um2, f"{short}: multiply-accumulate {bits} b {row.energy_pj:g} pJ")
    close = min(rows, key=lambda row: abs(row.bits - bits))
    raise InputError(f"{table.name}: no price for {primitive}; the nearest multiply-accumulate has {close.bits} b")


def _one(table: Rows, name: RowName, primitive: Primitive, gates: Rows | None) -> Price:
    """Return the price of one row's operation at the width of ``primitive``."""
    if table.has(name):
        return _priced(table, name, primitive)
    if name == "bitwise" and gates is not None and gates is not table:
        return _borrowed_gates(table, primitive, gates)
    if name not in BY_ADDITION or not table.has("add"):
        raise InputError(f"{table.name}: has no row {name!r}, so {primitive.name} has no price")
    price = _priced(table, "add", primitive)
    return replace(price, source=f"{price.source}; {BY_ADDITION[name]}")


def _priced(table: Rows, name: RowName, primitive: Primitive) -> Price:
    """Return the price by the table's fit of that name, else by the law between its rows."""
    bits = math.sqrt(primitive.bits * (primitive.other_bits or primitive.bits))
    fit = next((fit for fit in table.polynomial if fit.name == name), None)
    if fit is not None:
        return _fitted(table, fit, primitive, bits)
    rows = table.integer_rows(name)
    law: LawName = "linear" if name == "register" else table.laws[name]
    energy_pj = LAWS[law]([(row.bits, row.energy_pj) for row in rows], bits)
    figures = {key: _column(rows, key, law, bits) for key in ("area_um2", "leakage_uw")}
    delay_ns = _column(rows, "delay_ns", "linear", bits) if table.delay == "linear" else rows[0].delay_ns
    law_said = said(law, rows[0].bits, rows[-1].bits, bits)
    return Price(energy_pj, source=_chain(table, rows, law_said, primitive, energy_pj), delay_ns=delay_ns, **figures)


def _fitted(table: Rows, fit: Polynomial, primitive: Primitive, bits: float) -> Price:
    energy_pj = polynomial(fit.coefficients, bits)
    if energy_pj <= 0:
        raise InputError(_unpriced(table, fit, primitive, bits))
    terms = " + ".join(f"{c:.10g} b^{i}" for i, c in enumerate(fit.coefficients) if c)
    chain = f"{table.source.short}: {fit.name} = {terms} pJ -> {_width(primitive)}: {energy_pj:.4g} pJ"
    return Price(energy_pj, None, chain)


def _unpriced(table: Rows, fit: Polynomial, primitive: Primitive, bits: float) -> str:
    """Return that a fit is not positive at a width, and the nearest at which it is."""
    near = sorted(range(1, 2 * MAX_BITS + 1), key=lambda width: abs(width - bits))
    known = next((f"the nearest is {b} b" for b in near if polynomial(fit.coefficients, b) > 0), "at no width it is")
    return f"{table.name}: no price for {fit.name} of {_width(primitive)}, where its fit is not positive; {known}"


def _column(rows: Sequence[Row], key: str, law: LawName, bits: float) -> float | None:
    """Return a column's value at ``bits``, ``None`` unless every row has one."""
    values = [getattr(row, key) for row in rows]
    if None in values:
        return None
    return LAWS[law]([(row.bits, value) for row, value in zip(rows, values, strict=True)], bits)


def _borrowed_gates(table: Rows, primitive: Primitive, gates: Rows) -> Price:
    """Return the price of an addition times another table's ratio of a bitwise operation to an addition."""
    add = _priced(table, "add", primitive)
    gate, whole = _priced(gates, "bitwise", primitive), _priced(gates, "add", primitive)
    energy = gate.energy_pj / whole.energy_pj
    area = None if gate.area_um2 is None or whole.area_um2 is None else gate.area_um2 / whole.area_um2
    said = (
        f"{add.source}; x {energy:.3g} for one gate per bit: {gate.energy_pj:.4g} / {whole.energy_pj:.4g} pJ, "
        f"bitwise / add of {gates.source.short}"
    )
    area_um2 = None if add.area_um2 is None or area is None else area * add.area_um2
    return Price(energy * add.energy_pj, area_um2, said)


def _times(price: Price, times: int) -> Price:
    if times == 1:
        return price
    area_um2 = None if price.area_um2 is None else times * price.area_um2
    leakage_uw = None if price.leakage_uw is None else times * price.leakage_uw
    return replace(price, energy_pj=times * price.energy_pj, area_um2=area_um2, leakage_uw=leakage_uw)


def _chain(table: Rows, rows: Sequence[Row], law: str, primitive: Primitive, energy_pj: float) -> str:
    shown = ", ".join(f"{row.bits} b {row.energy_pj:g} pJ" for row in rows)
    chain = f"{table.source.short}: {rows[0].name} {shown}"
    if primitive.bits not in {row.bits for row in rows} or primitive.other_bits not in {0, primitive.bits}:
        chain += f"; {law} -> {_width(primitive)}: {energy_pj:.4g} pJ"
    return chain


def _width(primitive: Primitive) -> str:
    if primitive.other_bits not in {0, primitive.bits}:
        return f"{primitive.bits} x {primitive.other_bits} b (geometric mean)"
    return f"{primitive.bits} b"


def _float_price(table: Rows, primitive: Primitive) -> Price:
    if primitive.name == "absolute":
        return Price(0.0, None, "the absolute value of a float clears its sign bit and is not charged")
    name, _, remark = CHARGED_AS[primitive.name]
    if name not in ("add", "multiply"):
        name, remark = "add", BY_ADDITION.get(name, "")
    rows = [row for row in table.primitive if row.floating and row.name == name]
    for row in rows:
        if row.bits == primitive.bits:
            chain = f"{table.source.short}: fp{row.bits} {row.name} {row.energy_pj:g} pJ"
            return Price(row.energy_pj, row.area_um2, f"{chain}; {remark}" if remark else chain)
    close = min(rows, key=lambda row: abs(row.bits - primitive.bits), default=None)
    known = f"the nearest is fp{close.bits}" if close else "it has no floats"
    raise InputError(f"{table.name}: no price for fp{primitive.bits} {primitive.name}; {known}")
