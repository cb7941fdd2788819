"""Machines: an array of processing elements, its widths, buffers and clock; one TOML file each.

A file put here is on the shelf :data:`HARDWARE` and under every test that iterates over it.
"""

from __future__ import annotations

from addersim.hardware.machine import (
    HARDWARE,
    ROLES,
    Buffer,
    Element,
    Hardware,
    Role,
    hardware_keys,
    load_hardware,
    multiplier_twin,
    with_full_side_array,
)

__all__ = [
    "HARDWARE",
    "ROLES",
    "Buffer",
    "Element",
    "Hardware",
    "Role",
    "hardware_keys",
    "load_hardware",
    "multiplier_twin",
    "with_full_side_array",
]
