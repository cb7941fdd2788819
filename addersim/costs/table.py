"""CostTable: the prices of one publication; the shelf of them; how one is found."""

from __future__ import annotations

import os
from pathlib import Path

from addersim.costs.arithmetic import arithmetic_price
from addersim.costs.memory import dram_price, sram_price
from addersim.costs.rows import Price, Rows
from addersim.primitives import Primitive
from addersim.shelf import Shelf
from addersim.toml import read


class CostTable(Rows):
    """One publication's prices; its fields are those of :class:`addersim.costs.rows.Rows`.

    Examples
    --------
    >>> COSTS["horowitz2014_45nm"].price(Primitive("add", 12)).energy_pj
    0.04
    """

    def price(self, primitive: Primitive) -> Price:
        """Return energy and area of one execution of ``primitive``.

        Subtractions, absolute values and shifts are charged as additions of their width; so are comparisons
        where the table has no comparator. A product of unequal widths takes their geometric mean.

        Raises
        ------
        InputError
            If the table cannot price it.
        """
        return arithmetic_price(self, primitive)

    @property
    def memory_owner(self) -> CostTable:
        """The table whose memory rows count: this one, or the one named by ``memory_from``."""
        return COSTS[self.memory_from] if self.memory_from else self

    def memory(self, size_bytes: int, word_bits: int) -> Price:
        """Return the price of one access, read or write, of a word in an on-chip buffer.

        ``energy_pj`` follows a power law in the size through the neighbouring rows, which goes on beyond the
        outer ones, and is proportional to ``word_bits``.

        Raises
        ------
        InputError
            If a size is not positive.
        """
        return sram_price(self, self.memory_owner, size_bytes, word_bits)

    def dram(self, bits: int) -> Price:
        """Return the price of moving ``bits`` bits to or from DRAM, at the lower end of a printed range."""
        return dram_price(self, self.memory_owner, bits)


COSTS: Shelf[CostTable] = Shelf("cost table", "addersim.costs")


def load_table(table: str | os.PathLike[str] | CostTable) -> CostTable:
    """Return a cost table.

    Parameters
    ----------
    table
        A name on the shelf, the path of a TOML file (a ``Path`` or a string in ``.toml``), or a table.

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
    if isinstance(table, str) and not table.endswith(".toml"):
        return COSTS[table]
    return read(CostTable, Path(table))
