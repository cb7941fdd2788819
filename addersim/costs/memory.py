"""Prices of memory accesses: power law between sizes, proportional to the width of the word."""

from __future__ import annotations

from addersim.costs.laws import power
from addersim.costs.rows import Price, Rows
from addersim.errors import InputError


def sram_price(table: Rows, owner: Rows, size_bytes: int, word_bits: int) -> Price:
    """Return the price of one access, read or write, of a word.

    ``energy_pj = power law in the size through the neighbouring rows * word_bits / row's word_bits``; below
    the smallest and above the largest row the outer pair's law goes on.

    Parameters
    ----------
    table, owner
        The table that is asked, and the one whose memory rows it uses.

    Raises
    ------
    InputError
        If a size is not positive.
    """
    if size_bytes < 1 or word_bits < 1:
        raise InputError(f"a memory of {size_bytes} bytes and {word_bits}-bit words; expected 1 or more")
    rows = sorted(owner.sram, key=lambda row: row.size_bytes)
    per_bit = power([(row.size_bytes, row.energy_pj / row.word_bits) for row in rows], size_bytes)
    shown = ", ".join(f"{row.size_bytes / 1024:g} KB {row.energy_pj:g}" for row in rows)
    return Price(
        per_bit * word_bits,
        None,
        f"{owner.source.short}: SRAM {shown} pJ per {rows[0].word_bits} b; power law in the size, "
        f"proportional to the word -> {size_bytes / 1024:g} KB {word_bits} b: "
        f"{per_bit * word_bits:.4g} pJ, a write as a read" + _borrowed(table, owner),
    )


def dram_price(table: Rows, owner: Rows, bits: int) -> Price:
    """Return the price of moving ``bits`` bits to or from DRAM, at the lower end of the printed range."""
    dram = owner.dram_row
    if dram is None:
        raise InputError(f"{owner.name}: has no dram row")
    energy_pj = dram.energy_pj / dram.word_bits * bits
    high = f"-{dram.energy_high_pj:g}" if dram.energy_high_pj else ""
    said = f"{owner.source.short}: DRAM {dram.energy_pj:g}{high} pJ per {dram.word_bits} b, lower end"
    return Price(energy_pj, None, said + _borrowed(table, owner))


def _borrowed(table: Rows, owner: Rows) -> str:
    if owner is table:
        return ""
    return f"; {table.source.short} has no memory, so this is at {owner.source.node_nm:g} nm, not rescaled"
