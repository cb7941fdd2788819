"""CostTable: the prices of one publication; the shelf of them; how one is found."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

from pydantic import Field

from addersim.arithmetic.primitives import Primitive
from addersim.costs.tables import scaling
from addersim.costs.tables.arithmetic import arithmetic_price
from addersim.costs.tables.memory import dram_price, sram_price, word_price
from addersim.costs.tables.rows import Price, Rows
from addersim.errors import InputError
from addersim.shelf import Shelf
from addersim.toml import read

SCALED = re.compile(r"(?P<name>.+)@(?P<node>\d+(?:\.\d+)?)nm,(?P<volts>\d+(?:\.\d+)?)V")


class CostTable(Rows):
    """One publication's prices; its fields are those of :class:`addersim.costs.tables.rows.Rows`.

    Attributes
    ----------
    scaled_to
        Node and voltage that the prices are scaled to, ``None``: as printed; :meth:`at` sets it.
    dram_high
        Whether DRAM is at the upper end of a printed range.

    Examples
    --------
    >>> COSTS["horowitz2014_45nm"].price(Primitive("add", 12)).energy_pj
    0.04
    """

    scaled_to: scaling.Point | None = Field(default=None, exclude=True)
    dram_high: bool = Field(default=False, exclude=True)

    def price(self, primitive: Primitive) -> Price:
        """Return what one execution of ``primitive`` costs.

        Subtractions are charged as additions of their width, and so are absolute values, shifts and
        comparisons where the table has no row for them. A gate per bit costs a ``bitwise`` row, or the share of
        an addition that it has in the table ``gates_from``; a multiplexer is three gates. A product of unequal
        widths takes their geometric mean.

        Raises
        ------
        InputError
            If the table cannot price it.
        """
        return self._scaled(arithmetic_price(self, primitive, COSTS[self.gates_from] if self.gates_from else None))

    def memory(self, size_bytes: int, word_bits: int, write: bool = False) -> Price:
        """Return the price of one access of a word in an on-chip buffer.

        ``energy_pj`` follows a power law in the size through the neighbouring rows, which goes on beyond the
        outer ones, and is proportional to ``word_bits``; so is the area of the whole memory, where it is printed.

        Raises
        ------
        InputError
            If a size is not positive.
        """
        owner = self.memory_owner
        return self._scaled(sram_price(self, owner, size_bytes, word_bits, write), owner)

    def scratchpad(self, size_bytes: int, word_bits: int) -> Price:
        """Return the price of one access of a word in a scratchpad: its own row, else :meth:`memory`."""
        if self.scratchpad_row is None:
            return self.memory(size_bytes, word_bits)
        return self._scaled(word_price(self, "scratchpad", self.scratchpad_row, word_bits))

    def hop(self, bits: int) -> Price | None:
        """Return the price of a word's way from an element to its neighbour, ``None`` if the table prints none."""
        row = self.hop_row
        return None if row is None else self._scaled(word_price(self, "from element to element", row, bits))

    def dram(self, bits: int) -> Price:
        """Return the price of moving ``bits`` bits to or from DRAM, which no law scales to another node."""
        owner: CostTable = self
        while owner.dram_row is None and owner.memory_from:
            owner = COSTS[owner.memory_from]
        return dram_price(self, owner, bits, self.dram_high)

    @property
    def memory_owner(self) -> CostTable:
        """The table whose SRAM rows count: this one, or the one named by ``memory_from``."""
        return self if self.sram else COSTS[self.memory_from].memory_owner

    def with_memory(self, name: str) -> CostTable:
        """Return the same prices of arithmetic with the SRAM of another table.

        Raises
        ------
        InputError
            If one of them prints ratios only.

        Examples
        --------
        >>> COSTS["aladdin_40nm"].with_memory("cacti_45nm").memory(8192, 64).energy_pj
        6.14
        """
        for table in (self, COSTS[name]):
            if table.source.ratios_to:
                raise InputError(f"{table.name}: prints ratios to {table.source.ratios_to}, which do not go with pJ")
        return self.model_copy(update={"sram": (), "memory_from": COSTS[name].name})

    def at(self, node_nm: float, vdd_v: float, own_vdd_v: float | None = None) -> CostTable:
        """Return the table with its prices scaled to another node and voltage: :mod:`addersim.costs.tables.scaling`.

        Parameters
        ----------
        own_vdd_v
            Voltage of the table's rows, where the publication does not print it: your assumption.

        Raises
        ------
        InputError
            If the table's own voltage is not known, or the law does not cover a node.

        Examples
        --------
        >>> table = load_table("horowitz2014_45nm").at(16, 0.8)
        >>> table == load_table("horowitz2014_45nm@16nm,0.8V")
        True
        """
        source = self.source if own_vdd_v is None else self.source.model_copy(update={"vdd_v": own_vdd_v})
        target = scaling.Point(node_nm=float(node_nm), vdd_v=float(vdd_v))
        name = f"{self.name.partition('@')[0]}@{node_nm:g}nm,{vdd_v:g}V"
        table = self.model_copy(update={"name": name, "source": source, "scaled_to": target})
        scaling.energy_factor(table.point, target)
        return table

    @property
    def as_printed(self) -> CostTable:
        """The table at its own node and voltage, at which ratios are formed."""
        if self.scaled_to is None:
            return self
        return self.model_copy(update={"name": self.name.partition("@")[0], "scaled_to": None})

    @property
    def has_areas(self) -> bool:
        """Whether the rows print areas of additions and products."""
        rows = [row for name in ("add", "multiply") for row in self.integer_rows(name)]
        return bool(rows) and all(row.area_um2 is not None for row in rows)

    @property
    def point(self) -> scaling.Point:
        """Node and voltage of the rows as printed.

        Raises
        ------
        InputError
            If the publication prints no voltage.
        """
        if self.source.vdd_v is None:
            raise InputError(f"{self.name}: prints no voltage: in Python, .at(node_nm, vdd_v, own_vdd_v) scales it")
        return scaling.Point(node_nm=self.source.node_nm, vdd_v=self.source.vdd_v)

    def _scaled(self, price: Price, owner: CostTable | None = None) -> Price:
        if self.scaled_to is None:
            return price
        own, target = (owner or self).point, self.scaled_to
        energy, area = scaling.energy_factor(own, target), scaling.area_factor(own, target)
        return replace(
            price,
            energy_pj=energy * price.energy_pj,
            area_um2=None if price.area_um2 is None else area * price.area_um2,
            leakage_uw=None,
            delay_ns=None if price.delay_ns is None else scaling.delay_factor(own, target) * price.delay_ns,
            source=f"{price.source.removesuffix(', not rescaled')}; {scaling.said(own, target)}",
        )


COSTS: Shelf[CostTable] = Shelf("cost table", "addersim.costs.tables", "addersim.costs")


def load_table(table: str | os.PathLike[str] | CostTable) -> CostTable:
    """Return a cost table.

    Parameters
    ----------
    table
        A name on the shelf, the path of a TOML file (a ``Path`` or a string in ``.toml``), or a table. A name with
        ``@7nm,0.7V`` behind it is scaled, as by :meth:`CostTable.at`.

    Raises
    ------
    InputError
        If the name is unknown (with the nearest one) or the file does not describe a table.

    Examples
    --------
    >>> load_table("aladdin_40nm").source.node_nm
    40.0
    """
    if isinstance(table, CostTable):
        return table
    if isinstance(table, str) and (scaled := SCALED.fullmatch(table)):
        return load_table(scaled["name"]).at(float(scaled["node"]), float(scaled["volts"]))
    if isinstance(table, str) and not table.endswith(".toml"):
        if "@" in table:
            raise InputError(_bad_scaling(table))
        return COSTS[table]
    return read(CostTable, Path(table))


def _bad_scaling(table: str) -> str:
    """Return what is wrong with what follows ``@``."""
    name, _, target = table.partition("@")
    where, such = f"cost table {table!r}", f"such as {name}@16nm,0.8V"
    for quantity, known in zip(target.split(","), ("nm", "V"), strict=False):
        number, unit = re.fullmatch(r"([\d.]*)(.*)", quantity.strip()).groups()  # type: ignore[union-attr]
        if number and unit and unit != known:
            return f"{where}: unknown unit {unit!r} in {quantity!r}; known: nm for the node, V for the supply, {such}"
    return f"{where}: expected a node in nm and a supply in V behind the @, {such}"


def arithmetic_tables() -> list[str]:
    """Return the names of the tables on the shelf that price additions and products, not memories only."""
    return [name for name, table in COSTS.items() if table.has("add") and table.has("multiply")]
