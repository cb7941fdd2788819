"""What an access of a memory, a scratchpad or a neighbour costs, and the charges of a layer's words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from addersim.costs import CostTable, Price
from addersim.costs.charges import Charge
from addersim.hardware import Hardware
from addersim.mapping.memories import accesses
from addersim.mapping.scratchpads import Hop, Place, accesses_inside
from addersim.mapping.traffic import Move, Step


def inside_charges(step: Step, machine: Hardware, table: CostTable) -> list[Charge]:
    """Return a charge per operand and direction; none for hops where the table does not price them."""
    found = []
    for one in accesses_inside(step, machine):
        price = price_inside(one.place, table)
        if price is not None:
            source = f"{price.source}{one.remark}"
            found.append(Charge(step.node.name, "buffers", one.action, one.words, one.count * price.energy_pj, source))
    return found


def inside_pj(step: Step, machine: Hardware, table: CostTable) -> tuple[tuple[str, float], ...]:
    """Return the energy of a word by the schedule's field that counts it; none for hops that are not priced."""
    priced = ((one, price_inside(one.place, table)) for one in accesses_inside(step, machine))
    return tuple((one.field, one.per_word * price.energy_pj) for one, price in priced if price is not None)


def price_inside(place: Place, table: CostTable) -> Price | None:
    """Return the price of one access or hop, ``None`` where the table does not price hops."""
    if isinstance(place, Hop):
        return table.hop(place.bits)
    return table.scratchpad(place.size_bytes, place.word_bits)


AccessPrices: TypeAlias = Mapping[tuple[str, bool], Price]


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


def charge(move: Move, layer: str, machine: Hardware, prices: AccessPrices) -> Charge:
    """Return the charge of a move; buffers are priced per packed word, DRAM per bit."""
    price = prices[move.where, move.writes]
    if move.where == "dram":
        bits = move.count * move.bits
        return Charge(layer, "dram", move.action, bits, bits * price.energy_pj, price.source)
    buffer = next(buffer for buffer in machine.buffers if buffer.name == move.where)
    per_access, per_word = buffer.word_bits // move.bits, accesses(move.bits, buffer.word_bits)
    packed = f"{per_access} words of {move.bits} b per access" if per_access else f"{per_word:g} accesses per word"
    action = f"{move.where}: {move.action} {move.bits} b"
    energy_pj = move.count * per_word * price.energy_pj
    return Charge(layer, "buffers", action, move.count, energy_pj, f"{price.source}; {packed}")
