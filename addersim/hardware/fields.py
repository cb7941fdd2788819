"""Numbers of a machine that may be many: which can, each value checked, and arrays in their place."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from addersim.errors import InputError, nearest
from addersim.hardware.machine import Hardware, load_hardware

FIELDS = (
    "rows",
    "cols",
    "pipeline_stages",
    "multiplier_rows",
    "multiplier_cols",
    "clock_mhz",
    "dram.bits_per_cycle",
    "dram.pj_per_bit",
    "vector.lanes",
)
BUFFER_FIELDS = ("size_bytes", "word_bits", "ports")


def can_vary(key: str, values: Sequence[Any]) -> bool:
    """Return whether ``key`` is a number of a machine that can be an array of these values."""
    first, _, rest = key.partition(".")
    buffer, _, field = rest.rpartition(".")
    known = key in FIELDS or (first == "buffers" and bool(buffer) and field in BUFFER_FIELDS)
    return known and not (key.startswith("multiplier_") and 0 in values)


def checked(machine: Hardware, key: str, value: float) -> Hardware:
    """Return the machine with one number replaced, checked as a file's is.

    Raises
    ------
    InputError
        If the field cannot vary or the value is out of range.
    """
    if not can_vary(key, [1]):
        known = [*FIELDS, *(f"buffers.{one.name}.{field}" for one in machine.buffers for field in BUFFER_FIELDS)]
        raise InputError(f"fields: {key!r} is no number of {machine.name} that can vary{nearest(key, known)}")
    if not can_vary(key, [value]):
        raise InputError(f"fields: {key} = 0, expected numbers for machines with a side array")
    nested: Any = value
    for name in reversed(key.split(".")):
        nested = {name: nested}
    return load_hardware(machine, **nested)


def with_arrays(machine: Hardware, arrays: Mapping[str, Any]) -> Hardware:
    """Return the machine with arrays in place of numbers, unchecked."""
    parts: dict[str, dict[str, Any]] = defaultdict(dict)
    for key, values in arrays.items():
        part, _, name = key.rpartition(".")
        parts[part][name] = values
    return machine.model_copy(
        update={
            **parts[""],
            "dram": machine.dram.model_copy(update=parts["dram"]),
            "vector": machine.vector.model_copy(update=parts["vector"]),
            "buffers": tuple(one.model_copy(update=parts[f"buffers.{one.name}"]) for one in machine.buffers),
        }
    )
