"""What an access of a memory, a scratchpad or a neighbour costs, and the charges of a layer's words."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from addersim.costs import CostTable, Price
from addersim.costs.charges import Charge
from addersim.hardware import Buffer, Hardware
from addersim.hardware.broadcast import each
from addersim.mapping.layers import LaidLayer
from addersim.mapping.scratchpads import Hop, Inside, Place
from addersim.mapping.traffic import Energies
from addersim.mapping.transfers import Access

AccessPrices: TypeAlias = Mapping[tuple[str, bool], Price]


def access_prices(machine: Hardware, table: CostTable) -> AccessPrices:
    """Return the prices of an access by memory and whether it writes, of ``"dram"`` per bit.

    Where the machine's numbers are arrays, so are the prices.
    """
    found = {("dram", write): _dram_price(machine, table) for write in (False, True)}
    buffers = {
        (one.name, write): _memory_price(one, table, write) for one in machine.buffers for write in (False, True)
    }
    return found | buffers


def _dram_price(machine: Hardware, table: CostTable) -> Price:
    """Return the price of a bit: the machine's own, if it has one, else the table's."""
    pj_per_bit = machine.dram.pj_per_bit
    if pj_per_bit is None:
        return table.dram(1)
    said = "its own" if np.ndim(pj_per_bit) else f"{pj_per_bit:g}"
    return Price(pj_per_bit, None, f"{machine.name}: DRAM {said} pJ per bit")


def _memory_price(buffer: Buffer, table: CostTable, write: bool) -> Price:
    """Return the price of one access of a buffer; of buffers of many sizes the energy alone."""
    if not _many(buffer):
        return table.memory(buffer.size_bytes, buffer.word_bits, write)
    law = partial(table.memory, write=write)
    energy_pj: Any = each(lambda *size: law(*size).energy_pj, buffer.size_bytes, buffer.word_bits)
    return Price(energy_pj, None, f"{table.memory_owner.source.short}: SRAM of many sizes")


def memory_area(buffer: Buffer, table: CostTable) -> tuple[Any, str]:
    """Return the area of a buffer, or of buffers of many sizes, and where it stands; ``None`` if nowhere."""
    price = table.memory(np.min(buffer.size_bytes), np.min(buffer.word_bits))
    if price.area_um2 is None:
        return None, f"{table.memory_owner.source.short}: no areas of SRAM"
    if not _many(buffer):
        return price.area_um2, price.source
    area_um2 = each(lambda *size: table.memory(*size).area_um2 or math.nan, buffer.size_bytes, buffer.word_bits)
    return area_um2, f"{table.memory_owner.source.short}: SRAM of many sizes"


def _many(buffer: Buffer) -> bool:
    return bool(np.ndim(buffer.size_bytes) or np.ndim(buffer.word_bits))


def price_inside(place: Place, table: CostTable) -> Price | None:
    """Return the price of one access or hop, ``None`` where the table does not price hops."""
    if isinstance(place, Hop):
        return table.hop(place.bits)
    return table.scratchpad(place.size_bytes, place.word_bits)


def energies(prices: AccessPrices, table: CostTable) -> Energies:
    """Return the energies that tilings weigh."""

    def inside_pj(place: Place) -> float | None:
        price = price_inside(place, table)
        return price.energy_pj if price else None

    return Energies(lambda memory, writes: prices[memory, writes].energy_pj, inside_pj)


def word_charges(laid: LaidLayer, prices: AccessPrices, table: CostTable) -> Iterator[Charge]:
    """Yield the charges of all words that a layer moves; none for hops where the table does not price them."""
    layer = laid.step.node.name
    for transfer in laid.transfers:
        for access in transfer.accesses:
            yield _charge(layer, access, prices[access.store.name, access.writes])
    for one in laid.inside:
        price = price_inside(one.place, table)
        if price is not None:
            yield _charge_inside(layer, one, price)


def _charge(layer: str, access: Access, price: Price) -> Charge:
    """Return the charge of an access; buffers are priced per packed word, DRAM per bit."""
    if access.store.name == "dram":
        bits = access.words * access.bits
        return Charge(layer, "dram", access.action, bits, bits * price.energy_pj, price.source)
    per_access, per_word = access.store.word_bits // access.bits, access.store.accesses(access.bits)
    packed = f"{per_access} words of {access.bits} b per access" if per_access else f"{per_word:g} accesses per word"
    action = f"{access.store.name}: {access.action} {access.bits} b"
    energy_pj = access.words * per_word * price.energy_pj
    return Charge(layer, "buffers", action, access.words, energy_pj, f"{price.source}; {packed}")


def _charge_inside(layer: str, one: Inside, price: Price) -> Charge:
    return Charge(layer, "buffers", one.action, one.words, one.count * price.energy_pj, f"{price.source}{one.remark}")
