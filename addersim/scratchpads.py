"""Scratchpads inside the elements: what a dataflow may count on, and what its words to and from them cost."""

from __future__ import annotations

import inspect
from functools import partial

from addersim.charges import Charge
from addersim.costs import CostTable
from addersim.dataflows import Dataflow
from addersim.dataflows.row_stationary import EYERISS_WORDS
from addersim.hardware import ROLES, Hardware, Role
from addersim.hardware.machine import Scratchpad
from addersim.traffic import Step

WORDS: dict[Role, str] = {"inputs": "input_words", "weights": "weight_words", "outputs": "sum_words"}
FIELDS: dict[Role, str] = {"inputs": "input_pad", "weights": "weight_pad", "outputs": "sum_pad"}


def with_scratchpads(dataflow: Dataflow, machine: Hardware) -> Dataflow:
    """Return ``dataflow`` with the machine's scratchpads, in words, for those of its parameters that name them."""
    words = {WORDS[role]: pad.size_bytes * 8 // pad.word_bits for pad in machine.scratchpads for role in pad.holds}
    taken = inspect.signature(dataflow).parameters
    return partial(dataflow, **{name: count for name, count in words.items() if name in taken})


def scratchpad_charges(step: Step, machine: Hardware, table: CostTable) -> list[Charge]:
    """Return a charge per operand and direction: accesses times the price of a memory of the scratchpad's size.

    A word narrower than an access costs a whole one. Where the machine's elements have no such scratchpad, they are
    charged those of the Eyeriss chip, which the dataflow then counts on too.
    """
    datapath, found = step.node.datapath, []
    if step.schedule is None or datapath is None:
        return []
    for role in ROLES:
        bits = {"inputs": datapath.x, "weights": datapath.w, "outputs": datapath.accumulator.format}[role].bits
        pad, remark = _pad(machine, role, bits)
        price = table.memory(pad.size_bytes, pad.word_bits)
        for action in ("reads", "writes"):
            words = getattr(step.schedule, f"{FIELDS[role]}_{action}")
            energy_pj = words * -(-bits // pad.word_bits) * price.energy_pj
            said = f"{pad.name}: {action[:-1]} {bits} b"
            if words:
                found.append(Charge(step.node.name, "buffers", said, words, energy_pj, f"{price.source}{remark}"))
    return found


def _pad(machine: Hardware, role: Role, bits: int) -> tuple[Scratchpad, str]:
    """Return the scratchpad that holds ``role``, or Eyeriss' for words of ``bits`` bits, and what to say of it."""
    for pad in machine.scratchpads:
        if role in pad.holds:
            return pad, ""
    size_bytes = -(-EYERISS_WORDS[WORDS[role]] * bits // 8)
    pad = Scratchpad(name=FIELDS[role], holds=(role,), size_bytes=size_bytes, word_bits=bits)
    return pad, f"; {machine.name} has no scratchpad for {role}: as many words as in the Eyeriss chip"
