"""The set of instructions that the native core runs on: the processor's best, or the one named by ADDERSIM_ISA."""

from __future__ import annotations

import os
from typing import NamedTuple

from addersim.errors import InputError
from addersim.kernels import _native

ISAS = ("avx512", "avx2", "sse2", "neon", "portable")


class InstructionSet(NamedTuple):
    """A set of instructions of the C core: its name, and the bytes of a vector."""

    name: str
    vector_bytes: int


def instruction_set() -> InstructionSet:
    """Return the best set of instructions of this processor, or the one named by ADDERSIM_ISA.

    Raises
    ------
    InputError
        If this processor does not have it.
    """
    wanted = os.environ.get("ADDERSIM_ISA") or None
    found: tuple[str, int] | None = _native.instruction_set(wanted)
    if found is None:
        raise InputError(f"ADDERSIM_ISA = {wanted!r}: this processor has {', '.join(instruction_sets())}")
    return InstructionSet(*found)


def instruction_sets() -> list[str]:
    """Return the sets of instructions that run here, best first."""
    return [name for name in ISAS if _native.instruction_set(name)]
