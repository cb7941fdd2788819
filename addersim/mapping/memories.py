"""Memories of a machine as tilings see them, the levels they make, and how long their ports take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from addersim.hardware.machine import Role


def accesses(bits: Any, word_bits: Any) -> Any:
    """Return the accesses of ``word_bits`` that one word of ``bits`` takes.

    ``1 / (word_bits // bits)``: words are packed and none straddles two accesses; a word wider than an access takes
    ``ceil(bits / word_bits)``.

    Examples
    --------
    >>> accesses(8, 64), accesses(24, 64), accesses(24, 16)
    (0.125, 0.5, 2.0)
    """
    packed = word_bits // bits + (bits > word_bits)
    return -(-bits // word_bits) / packed


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
        """Return :func:`accesses` of one word of ``bits`` bits."""
        return accesses(bits, self.word_bits)

    def cycles(self, count: Any, bits: int) -> Any:
        """Return the cycles in which ``count`` words of ``bits`` bits pass its ports."""
        return count * self.accesses(bits) * self.word_bits / self.bits_per_cycle


Level: TypeAlias = tuple[Store, ...]


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


def near(role: Role, stores: Sequence[Store], dram: Store) -> Store:
    """Return the memory from which the array takes an operand."""
    return next((store for store in stores if role in store.holds), dram)


def far(role: Role, stores: Sequence[Store], dram: Store) -> Store:
    """Return the outermost memory of an operand."""
    return near(role, stores[::-1], dram)


def outside(role: Role, level: Level, stores: Sequence[Store], dram: Store) -> Store:
    """Return the memory from which ``level`` gets an operand."""
    last = max(stores.index(store) for store in level)
    return near(role, stores[last + 1 :], dram)
