"""Stores: the memories of a machine as tilings see them, from the array outwards, and the levels they make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

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
    tile_bits: int
    word_bits: int
    read_pj: float
    write_pj: float
    bits_per_cycle: float
    overlaps: bool

    def accesses(self, bits: int) -> float:
        """Return :func:`addersim.ports.accesses` of one word of ``bits`` bits."""
        return _accesses(bits, self.word_bits)

    def cycles(self, count: Any, bits: int) -> Any:
        """Return the cycles in which ``count`` words of ``bits`` bits pass its ports."""
        return count * self.accesses(bits) * self.word_bits / self.bits_per_cycle


Level: TypeAlias = tuple[Store, ...]


@lru_cache(maxsize=4096)
def _accesses(bits: int, word_bits: int) -> float:
    return float(accesses(bits, word_bits))


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
