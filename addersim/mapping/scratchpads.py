"""Inside the array: words to and from the scratchpads of elements, and from element to element."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

from addersim.arithmetic.datapath import Datapath
from addersim.hardware import ROLES, Hardware, Role
from addersim.hardware.broadcast import occurs
from addersim.hardware.machine import Scratchpad
from addersim.mapping.dataflows import Dataflow, Schedule
from addersim.mapping.dataflows.row_stationary import EYERISS_WORDS

WORDS: dict[Role, str] = {"inputs": "input_words", "weights": "weight_words", "outputs": "sum_words"}
FIELDS: dict[Role, str] = {"inputs": "input", "weights": "weight", "outputs": "sum"}  # of a schedule, their beginnings


@dataclass(frozen=True)
class Hop:
    """The way of a word of ``bits`` bits from an element to its neighbour."""

    bits: int


Place: TypeAlias = Scratchpad | Hop


def scratchpad_words(dataflow: Dataflow, machine: Hardware) -> dict[str, int]:
    """Return the words of the machine's scratchpads for those parameters of ``dataflow`` that name them."""
    words = {WORDS[role]: pad.size_bytes * 8 // pad.word_bits for pad in machine.scratchpads for role in pad.holds}
    taken = inspect.signature(dataflow).parameters
    return {name: count for name, count in words.items() if name in taken}


@dataclass(frozen=True)
class Inside:
    """``words`` of ``bits`` bits to or from the scratchpads of all elements, or from elements to their neighbours.

    ``field`` is that of the schedule that counts them.
    """

    place: Place
    field: str
    action: str
    bits: int
    words: Any
    remark: str = ""

    @property
    def per_word(self) -> int:
        """Accesses of one word; one narrower than an access costs a whole one."""
        return 1 if isinstance(self.place, Hop) else -(-self.bits // self.place.word_bits)

    @property
    def count(self) -> Any:
        """Accesses."""
        return self.words * self.per_word


def inside_accesses(path: Datapath, schedule: Schedule, machine: Hardware) -> Iterator[Inside]:
    """Yield what a layer reads and writes in scratchpads and hands on, per operand.

    Where the machine's elements have no such scratchpad, they get those of the Eyeriss chip, which the dataflow then
    counts on too.
    """
    for role, form in zip(ROLES, (path.x, path.w, path.accumulator.format), strict=True):
        bits = form.bits
        for way in ("read", "write"):
            field = f"{FIELDS[role]}_pad_{way}s"
            if occurs(words := getattr(schedule, field)):
                pad, remark = _pad(machine, role, bits)
                yield Inside(pad, field, f"{pad.name}: {way} {bits} b", bits, words, remark)
        field = f"{FIELDS[role]}_hops"
        if occurs(words := getattr(schedule, field)):
            name = "partial sums" if role == "outputs" else role
            yield Inside(Hop(bits), field, f"to the next element: {name} {bits} b", bits, words)


def _pad(machine: Hardware, role: Role, bits: int) -> tuple[Scratchpad, str]:
    """Return the scratchpad that holds ``role``, or Eyeriss' for words of ``bits`` bits, and what to say of it."""
    for pad in machine.scratchpads:
        if role in pad.holds:
            return pad, ""
    size_bytes = -(-EYERISS_WORDS[WORDS[role]] * bits // 8)
    pad = Scratchpad(name=f"{FIELDS[role]}_pad", holds=(role,), size_bytes=size_bytes, word_bits=bits)
    return pad, f"; {machine.name} has no scratchpad for {role}: as many words as in the Eyeriss chip"
