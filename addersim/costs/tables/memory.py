"""Prices of moving words: memories by a power law between sizes, everything proportional to the word's width."""

from __future__ import annotations

from collections.abc import Sequence

from addersim.costs.tables.laws import power
from addersim.costs.tables.rows import Price, Rows, Sram, Word
from addersim.errors import InputError


def sram_price(table: Rows, owner: Rows, size_bytes: int, word_bits: int, write: bool = False) -> Price:
    """Return the price of one access of a word.

    ``energy_pj = power law in the size through the neighbouring rows * word_bits / row's word_bits``; below
    the smallest and above the largest row the outer pair's law goes on, and so it does for the area. A single row
    counts for every size.

    Parameters
    ----------
    table, owner
        The table that is asked, and the one whose memory rows it uses.
    write
        Whether the access writes; it costs what a read does where no row prints writes.

    Raises
    ------
    InputError
        If a size is not positive.
    """
    if size_bytes < 1 or word_bits < 1:
        raise InputError(f"a memory of {size_bytes} bytes and {word_bits}-bit words; expected 1 or more")
    rows = sorted(owner.sram, key=lambda row: row.size_bytes)
    energies, access = _accesses(rows, write)
    sizes, law = [row.size_bytes for row in rows], _law(rows, size_bytes)
    per_bit = [energy_pj / row.word_bits for energy_pj, row in zip(energies, rows, strict=True)]
    energy_pj = word_bits * (power(list(zip(sizes, per_bit, strict=True)), size_bytes) if len(rows) > 1 else per_bit[0])
    areas = [(row.size_bytes, row.area_um2) for row in rows if row.area_um2 is not None]
    area_um2 = power(areas, size_bytes) if len(areas) == len(rows) > 1 else None
    shown = ", ".join(f"{size / 1024:g} KB {energy:g}" for size, energy in zip(sizes, energies, strict=True))
    said = (
        f"{owner.source.short}: SRAM {shown} pJ per {rows[0].word_bits} b; {law}, "
        f"proportional to the word -> {size_bytes / 1024:g} KB {word_bits} b: {energy_pj:.4g} pJ, {access}"
    )
    return Price(energy_pj, area_um2, said + _borrowed(table, owner))


def _accesses(rows: Sequence[Sram], write: bool) -> tuple[list[float], str]:
    """Return the energy of an access by each row, and what it is called."""
    writes = [row.write_energy_pj for row in rows if row.write_energy_pj is not None]
    if len(writes) < len(rows):
        return [row.energy_pj for row in rows], "a write as a read"
    return (writes, "a write") if write else ([row.energy_pj for row in rows], "a read")


def _law(rows: Sequence[Sram], size_bytes: int) -> str:
    if len(rows) == 1:
        return "whatever the size"
    between = rows[0].size_bytes <= size_bytes <= rows[-1].size_bytes
    return "power law in the size" if between else "power law in the size, extrapolated"


def dram_price(table: Rows, owner: Rows, bits: int, high: bool = False) -> Price:
    """Return the price of moving ``bits`` bits to or from DRAM, at one end of the printed range."""
    dram = owner.dram_row
    if dram is None:
        raise InputError(f"{owner.name}: has no dram row")
    top = dram.energy_high_pj
    energy_pj = (top if high and top else dram.energy_pj) / dram.word_bits * bits
    shown = f"{dram.energy_pj:g}-{top:g}" if top else f"{dram.energy_pj:g}"
    said = f"{owner.source.short}: DRAM {shown} pJ per {dram.word_bits} b, {'upper' if high else 'lower'} end"
    return Price(energy_pj, None, said + _borrowed(table, owner))


def word_price(table: Rows, what: str, row: Word, bits: int) -> Price:
    """Return the price of a row that says what a word costs, for a word of ``bits`` bits."""
    energy_pj = row.energy_pj / row.word_bits * bits
    said = f"{table.source.short}: {what} {row.energy_pj:g} pJ per {row.word_bits} b"
    if bits != row.word_bits:
        said += f"; proportional to the word -> {bits} b: {energy_pj:.4g} pJ"
    return Price(energy_pj, None, said)


def _borrowed(table: Rows, owner: Rows) -> str:
    if owner is table:
        return ""
    return f"; {table.source.short} has none, so this is at {owner.source.node_nm:g} nm, not rescaled"
