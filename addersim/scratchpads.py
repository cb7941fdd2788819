"""Scratchpads inside the elements: what a dataflow may count on, and what its words to and from them cost."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from addersim.broadcast import occurs
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
    """Return a charge per operand and direction: accesses times the price of a memory of the scratchpad's size."""
    found = []
    for one in pad_accesses(step, machine):
        price = table.memory(one.pad.size_bytes, one.pad.word_bits)
        said, source = f"{one.pad.name}: {one.action} {one.bits} b", f"{price.source}{one.remark}"
        found.append(Charge(step.node.name, "buffers", said, one.words, one.count * price.energy_pj, source))
    return found


@dataclass(frozen=True)
class PadAccess:
    """``words`` of ``bits`` bits to or from the scratchpads of all elements."""

    pad: Scratchpad
    remark: str
    action: str
    bits: int
    words: Any

    @property
    def count(self) -> Any:
        """Accesses; a word narrower than one costs a whole one."""
        return self.words * -(-self.bits // self.pad.word_bits)


def pad_accesses(step: Step, machine: Hardware) -> Iterator[PadAccess]:
    """Yield what a layer reads and writes in scratchpads, per operand and direction.

    Where the machine's elements have no such scratchpad, they get those of the Eyeriss chip, which the dataflow then
    counts on too.
    """
    datapath = step.node.datapath
    if step.schedule is None or datapath is None:
        return
    for role in ROLES:
        bits = {"inputs": datapath.x, "weights": datapath.w, "outputs": datapath.accumulator.format}[role].bits
        for action in ("read", "write"):
            words = getattr(step.schedule, f"{FIELDS[role]}_{action}s")
            if occurs(words):
                yield PadAccess(*_pad(machine, role, bits), action, bits, words)


def _pad(machine: Hardware, role: Role, bits: int) -> tuple[Scratchpad, str]:
    """Return the scratchpad that holds ``role``, or Eyeriss' for words of ``bits`` bits, and what to say of it."""
    for pad in machine.scratchpads:
        if role in pad.holds:
            return pad, ""
    size_bytes = -(-EYERISS_WORDS[WORDS[role]] * bits // 8)
    pad = Scratchpad(name=FIELDS[role], holds=(role,), size_bytes=size_bytes, word_bits=bits)
    return pad, f"; {machine.name} has no scratchpad for {role}: as many words as in the Eyeriss chip"
