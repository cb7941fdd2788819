"""Stores: the memories of a machine as tilings see them, from the array outwards, and the levels they make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from addersim.costs import CostTable, Price
from addersim.hardware import Hardware
from addersim.hardware.machine import Role
from addersim.ports import accesses


@dataclass(frozen=True)
class Store:
    """A memory as the search sees it.

    Attributes
    ----------
    tile_bits
        Room for tiles.
    word_bits
        Bits of one access; words are packed into it. 1 for DRAM, which is priced per bit.
    read_pj, write_pj, bits_per_cycle
        Energy of one access; bandwidth.
    overlaps
        Whether it is filled while the array works.
    """

    name: str
    holds: tuple[Role, ...]
    tile_bits: Any
    word_bits: Any
    read_pj: float
    write_pj: float
    bits_per_cycle: Any
    overlaps: bool

    def accesses(self, bits: int) -> Any:
        """Return :func:`addersim.ports.accesses` of one word of ``bits`` bits."""
        return accesses(bits, self.word_bits)

    def cycles(self, count: Any, bits: int) -> Any:
        """Return the cycles in which ``count`` words of ``bits`` bits pass its ports."""
        return count * self.accesses(bits) * self.word_bits / self.bits_per_cycle


Level: TypeAlias = tuple[Store, ...]
AccessPrices: TypeAlias = Mapping[tuple[str, bool], Price]


def levels(stores: Sequence[Store]) -> tuple[Level, ...]:
    """Return the levels from DRAM inward: neighbours that hold different operands make one level."""
    found: list[Level] = []
    for store in stores:
        taken = {role for other in (found[-1] if found else ()) for role in other.holds}
        if found and not taken & set(store.holds):
            found[-1] = (*found[-1], store)
        else:
            found.append((store,))
    return tuple(reversed(found))


def outside(role: Role, level: Level, stores: Sequence[Store], dram: Store) -> Store:
    """Return the memory from which ``level`` gets an operand."""
    last = max(stores.index(store) for store in level)
    return next((store for store in stores[last + 1 :] if role in store.holds), dram)


def access_prices(machine: Hardware, table: CostTable) -> AccessPrices:
    """Return the prices of an access by memory and whether it writes, of ``"dram"`` per bit."""
    dram = table.dram(1)
    if machine.dram.pj_per_bit is not None:
        said = f"{machine.name}: DRAM {machine.dram.pj_per_bit:g} pJ per bit"
        dram = Price(machine.dram.pj_per_bit, None, said)
    found = {("dram", write): dram for write in (False, True)}
    for buffer in machine.buffers:
        for write in (False, True):
            found[buffer.name, write] = table.memory(buffer.size_bytes, buffer.word_bits, write)
    return found
