"""Hardware: one machine, the shelf of machines, and how one is found."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from addersim.datapath import Circuit, Datapath, Kind, Stage
from addersim.errors import InputError
from addersim.fixed import MAX_BITS, IntFormat, Overflow
from addersim.shelf import Shelf
from addersim.toml import Record, build, read

Role = Literal["inputs", "weights", "outputs"]
ROLES: tuple[Role, ...] = ("inputs", "weights", "outputs")
Side = Annotated[int, Field(ge=1, le=4096)]


class Buffer(Record):
    """An on-chip memory: what it holds, its size, and the bits of one access."""

    name: Role
    size_bytes: Annotated[int, Field(ge=1, le=1 << 30)]
    word_bits: Annotated[int, Field(ge=1, le=4096)]


class Hardware(Record):
    """A rows x cols array of adder or multiplier elements with three buffers and a DRAM port.

    Attributes
    ----------
    pe
        ``"adder"``: each element does ``acc += |x - w|``; ``"multiplier"``: ``acc += x * w``.
    circuit
        Circuit of the absolute value; says nothing in a multiplier machine.
    operand_bits, accumulator_bits
        Widths of every element.
    multiplier_rows, multiplier_cols
        Side array of multipliers in an adder machine, which runs the layers that stayed multiplications;
        0 if there is none.
    vector_lanes
        Words per cycle of pooling and residual additions.
    dram_bits_per_cycle
        Width of the DRAM port.

    Examples
    --------
    >>> load_hardware("adder_16x16", rows=8).rows
    8
    """

    name: str
    description: str
    source: str
    pe: Kind
    circuit: Circuit
    rows: Side
    cols: Side
    operand_bits: Annotated[int, Field(ge=1, le=32)]
    accumulator_bits: Annotated[int, Field(ge=2, le=MAX_BITS)]
    multiplier_rows: Annotated[int, Field(ge=0, le=4096)]
    multiplier_cols: Annotated[int, Field(ge=0, le=4096)]
    clock_mhz: Annotated[float, Field(gt=0, le=100_000)]
    node_nm: Annotated[float, Field(gt=0, le=10_000)]
    buffers: tuple[Buffer, ...]
    dram_bits_per_cycle: Annotated[int, Field(ge=1, le=65_536)]
    vector_lanes: Annotated[int, Field(ge=1, le=65_536)]

    @model_validator(mode="after")
    def _is_consistent(self) -> Hardware:
        if sorted(buffer.name for buffer in self.buffers) != sorted(ROLES):
            raise ValueError(f"buffers: expected one each of {', '.join(ROLES)}")
        if bool(self.multiplier_rows) != bool(self.multiplier_cols):
            raise ValueError("multiplier_rows and multiplier_cols: expected both 0 or both positive")
        if self.pe == "multiplier" and self.multiplier_rows:
            raise ValueError("multiplier_rows: a multiplier machine has no side array, expected 0")
        if self.accumulator_bits < self.operand_bits:
            raise ValueError("accumulator_bits: expected operand_bits or more")
        return self

    def buffer(self, name: Role) -> Buffer:
        """Return the buffer called ``name``."""
        return next(buffer for buffer in self.buffers if buffer.name == name)

    def array(self, kind: Kind) -> tuple[int, int]:
        """Return rows and columns of the array that runs layers of ``kind``; (0, 0) if there is none."""
        if kind == self.pe:
            return self.rows, self.cols
        return (self.multiplier_rows, self.multiplier_cols) if kind == "multiplier" else (0, 0)

    def fit(self, layer: str, kind: Kind, datapath: Datapath) -> Datapath:
        """Return ``datapath`` as this machine computes it.

        The accumulator gets ``accumulator_bits`` of the same signedness: wider, or narrower and then
        saturating. The circuit becomes the machine's.

        Parameters
        ----------
        layer
            Name of the layer, for the message.
        kind
            ``"adder"`` or ``"multiplier"``.

        Raises
        ------
        InputError
            If the machine has no array for ``kind``, the operands are wider than its elements, or the
            layer sums several channels per step, which its elements do not.
        """
        _check(self, layer, kind, datapath)
        old = datapath.accumulator
        overflow = Overflow.SATURATE if old.format.bits > self.accumulator_bits else old.overflow
        form = IntFormat(self.accumulator_bits, old.format.signed)
        return replace(datapath, accumulator=Stage(form, overflow), circuit=self.circuit)


def _check(machine: Hardware, layer: str, kind: Kind, datapath: Datapath) -> None:
    where = f"layer {layer!r} does not fit {machine.name}"
    if not all(machine.array(kind)):
        have = "multipliers only" if kind == "adder" else "no side array of multipliers"
        raise InputError(f"{where}: a layer of {kind}s, but the machine has {have}")
    widest = machine.operand_bits
    for name, form in (("x", datapath.x), ("w", datapath.w)):
        if form.bits > widest:
            raise InputError(f"{where}: {name} has {form.bits} bits; expected operand_bits = {widest} or fewer")
    difference = datapath.difference
    if difference is not None and difference.format.bits > widest + 1:
        raise InputError(f"{where}: x - w has {difference.format.bits} bits; expected {widest + 1} or fewer")
    if datapath.tree_inputs > 1:
        raise InputError(f"{where}: tree_inputs = {datapath.tree_inputs}; its elements take 1 tap per cycle")


HARDWARE: Shelf[Hardware] = Shelf("machine", "addersim.hardware")


def load_hardware(hardware: str | os.PathLike[str] | Hardware, **overrides: Any) -> Hardware:
    """Return a machine, with some of its fields replaced.

    Parameters
    ----------
    hardware
        A name on the shelf, the path of a TOML file (a ``Path`` or a string in ``.toml``), or a machine.
    **overrides
        Fields to replace; checked as those of a file are.

    Raises
    ------
    InputError
        If the name, a key or a value is wrong; the message says which and what was expected.
    """
    if isinstance(hardware, Hardware):
        machine = hardware
    elif isinstance(hardware, str) and not hardware.endswith(".toml"):
        machine = HARDWARE[hardware]
    else:
        machine = read(Hardware, Path(hardware))
    if not overrides:
        return machine
    return build(Hardware, {**machine.model_dump(mode="json"), **overrides}, f"overrides of {machine.name}")


def multiplier_twin(hardware: Hardware) -> Hardware:
    """Return the same machine with multiplying elements and, as it needs none, no side array."""
    if hardware.pe == "multiplier":
        return hardware
    return build(
        Hardware,
        {
            **hardware.model_dump(mode="json"),
            "name": f"{hardware.name} with multipliers",
            "description": f"{hardware.name} with a multiplier in every element and no side array",
            "pe": "multiplier",
            "multiplier_rows": 0,
            "multiplier_cols": 0,
        },
        f"twin of {hardware.name}",
    )


def with_full_side_array(hardware: Hardware) -> Hardware:
    """Return the machine with a side array as large as its array, or as it is where it has no side array."""
    size = hardware.rows, hardware.cols
    if not hardware.multiplier_rows or hardware.array("multiplier") == size:
        return hardware
    name = f"{hardware.name} with a side array of {size[0]} x {size[1]}"
    return load_hardware(hardware, name=name, multiplier_rows=size[0], multiplier_cols=size[1])
