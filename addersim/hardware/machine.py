"""Hardware: one machine, the shelf of machines, and how one is found."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from addersim.arithmetic.datapath import Circuit
from addersim.arithmetic.fixed import MAX_BITS
from addersim.errors import InputError, nearest
from addersim.shelf import Shelf
from addersim.toml import Record, build, read

Role = Literal["inputs", "weights", "outputs"]
ROLES: tuple[Role, ...] = ("inputs", "weights", "outputs")
Element = Literal["adder", "multiplier", "shift", "xnor"]
Name = Annotated[str, Field(pattern="^[a-z][a-z0-9_]*$", max_length=40)]
Side = Annotated[int, Field(ge=1, le=4096)]
SizeBytes = Annotated[int, Field(ge=1, le=1 << 34)]
WordBits = Annotated[int, Field(ge=1, le=4096)]


class Memory(Record):
    """A memory: its name, the operands it holds, its size, and the bits of one access."""

    name: Name
    holds: Annotated[tuple[Role, ...], Field(min_length=1)]
    size_bytes: SizeBytes
    word_bits: WordBits

    @model_validator(mode="after")
    def _holds_each_once(self) -> Memory:
        if len(set(self.holds)) < len(self.holds):
            raise ValueError(f"holds of {self.name!r}: expected every operand once")
        return self


class Scratchpad(Memory):
    """A memory inside every processing element; ``size_bytes`` is that of one element."""


class Buffer(Memory):
    """An on-chip memory that the whole array shares.

    Attributes
    ----------
    ports
        Accesses of ``word_bits`` per cycle, reads and writes together.
    double_buffered
        Whether one half is filled while the other half is used, so that a tile has half of ``size_bytes``.
    """

    ports: Annotated[int, Field(ge=1, le=64)] = 1
    double_buffered: bool = False

    @property
    def tile_bytes(self) -> int:
        """Bytes a tile may take: ``size_bytes``, half of it if double buffered."""
        return self.size_bytes // 2 if self.double_buffered else self.size_bytes

    @property
    def bits_per_cycle(self) -> int:
        """Bandwidth, ``ports * word_bits``."""
        return self.ports * self.word_bits


class Dram(Record):
    """The port to DRAM; without ``pj_per_bit`` the cost table prices its bits."""

    bits_per_cycle: Annotated[int, Field(ge=1, le=65_536)]
    pj_per_bit: Annotated[float, Field(gt=0, le=10_000)] | None = None


class Vector(Record):
    """The unit for pooling, residual additions and batch norms without a layer in front: words per cycle."""

    lanes: Annotated[int, Field(ge=1, le=65_536)]


class Hardware(Record):
    """A rows x cols array of processing elements, buffers around it, a vector unit and a DRAM port.

    Attributes
    ----------
    pe
        What an element does per cycle: ``"adder"`` ``acc += |x - w|``; ``"multiplier"`` ``acc += x * w``;
        ``"shift"`` ``acc += +-(x << w)``; ``"xnor"`` ``acc += 1 if x == w else -1`` on single bits.
    circuit
        Circuit of the absolute value; says nothing in other machines than adder machines.
    operand_bits, accumulator_bits
        Widths of every element.
    tree_inputs
        Rows of a column whose results an adder tree sums in one cycle, a divisor of the rows; 1: no tree.
    pipeline_stages
        Registers from an element's operands to its sum. A layer ends ``pipeline_stages - 1`` cycles later.
    multiplier_rows, multiplier_cols
        Side array of multipliers, which runs the layers that stayed multiplications; 0 if there is none.
    multiplier_accumulator_bits
        Width of the side array's accumulators; ``None``: ``accumulator_bits``.
    clock_mhz, node_nm, voltage_v
        Clock, technology node and supply; ``None``: the supply of the cost table.
    buffers
        From the array outwards. An operand may pass any number of them, or none on its way from DRAM.
    scratchpads
        Memories inside every element.

    Examples
    --------
    >>> load_hardware("adder_16x16", rows=8, buffers={"inputs": {"size_bytes": 4096}}).buffer("inputs").size_bytes
    4096
    """

    name: str
    description: str
    source: str
    pe: Element
    circuit: Circuit
    rows: Side
    cols: Side
    operand_bits: Annotated[int, Field(ge=1, le=32)]
    accumulator_bits: Annotated[int, Field(ge=2, le=MAX_BITS)]
    tree_inputs: Side = 1
    pipeline_stages: Annotated[int, Field(ge=1, le=64)] = 1
    multiplier_rows: Annotated[int, Field(ge=0, le=4096)]
    multiplier_cols: Annotated[int, Field(ge=0, le=4096)]
    multiplier_accumulator_bits: Annotated[int, Field(ge=2, le=MAX_BITS)] | None = None
    clock_mhz: Annotated[float, Field(gt=0, le=100_000)]
    node_nm: Annotated[float, Field(gt=0, le=10_000)]
    voltage_v: Annotated[float, Field(gt=0, le=10)] | None = None
    buffers: tuple[Buffer, ...] = ()
    scratchpads: tuple[Scratchpad, ...] = ()
    dram: Dram
    vector: Vector

    @model_validator(mode="after")
    def _is_consistent(self) -> Hardware:
        names = [memory.name for memory in (*self.buffers, *self.scratchpads)]
        side, own, bits = self.multiplier_rows > 0, self.multiplier_accumulator_bits, self.operand_bits
        uneven = self.rows % self.tree_inputs or self.multiplier_rows % self.tree_inputs
        complaints = {
            f"buffers: expected names that differ, not {', '.join(names)}": len(set(names)) < len(names),
            "multiplier_rows and multiplier_cols: expected both 0 or both positive": side != (self.multiplier_cols > 0),
            "multiplier_rows: a multiplier machine has no side array, expected 0": side and self.pe == "multiplier",
            "operand_bits: an xnor element takes single bits, expected 1": self.pe == "xnor" and bits > 1,
            "accumulator_bits: expected operand_bits or more": self.accumulator_bits < bits,
            "multiplier_accumulator_bits: expected a side array of multipliers": own is not None and not side,
            "multiplier_accumulator_bits: expected operand_bits or more": self.sum_bits("multiplier") < bits,
            "tree_inputs: expected a divisor of rows and multiplier_rows": uneven,
        }
        if due := [complaint for complaint, is_due in complaints.items() if is_due]:
            raise ValueError(due[0])
        return self

    def levels(self, role: Role) -> tuple[Buffer, ...]:
        """Return the buffers that hold ``role``, from the array outwards."""
        return tuple(buffer for buffer in self.buffers if role in buffer.holds)

    def buffer(self, role: Role) -> Buffer:
        """Return the buffer next to the array that holds ``role``.

        Raises
        ------
        InputError
            If none does.
        """
        if not self.levels(role):
            raise InputError(f"{self.name} has no buffer that holds {role}")
        return self.levels(role)[0]

    def array(self, kind: Element) -> tuple[int, int]:
        """Return rows and columns of the array that runs layers of ``kind``; (0, 0) if there is none."""
        if kind == self.pe:
            return self.rows, self.cols
        return (self.multiplier_rows, self.multiplier_cols) if kind == "multiplier" else (0, 0)

    def sum_bits(self, kind: Element) -> int:
        """Return the width of the accumulators that layers of ``kind`` run on."""
        side = kind == "multiplier" != self.pe
        return self.multiplier_accumulator_bits if side and self.multiplier_accumulator_bits else self.accumulator_bits


def hardware_keys(key: str) -> set[str]:
    """Return the dotted keys that replace something in a machine, for the memory that ``key`` names, if any."""
    keys = set(Hardware.model_fields)
    keys |= {f"dram.{name}" for name in Dram.model_fields} | {f"vector.{name}" for name in Vector.model_fields}
    field, _, rest = key.partition(".")
    if field in ("buffers", "scratchpads") and rest:
        memory = Buffer if field == "buffers" else Scratchpad
        keys |= {f"{field}.{rest.split('.')[0]}.{name}" for name in memory.model_fields}
    return keys


HARDWARE: Shelf[Hardware] = Shelf("machine", "addersim.hardware.machines", "addersim.hardware")


def load_hardware(hardware: str | os.PathLike[str] | Hardware, **overrides: Any) -> Hardware:
    """Return a machine, with some of its fields replaced.

    Parameters
    ----------
    hardware
        A name on the shelf, the path of a TOML file (a ``Path`` or a string in ``.toml``), or a machine.
    **overrides
        Fields to replace; checked as those of a file are. A mapping replaces only the keys it has:
        ``dram={"bits_per_cycle": 64}``, and for buffers and scratchpads ``{name: {key: value}}``.

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
    where, fields = f"overrides of {machine.name}", machine.model_dump(mode="json")
    merged = {key: _merged(fields.get(key), value, f"{where}: {key}") for key, value in overrides.items()}
    return build(Hardware, {**fields, **merged}, where)


def _merged(old: Any, new: Any, where: str) -> Any:
    """Return ``new``, or ``old`` with its keys replaced if ``new`` is a mapping; lists of memories go by name."""
    if not isinstance(new, Mapping):
        return new
    if isinstance(old, list):
        names = [memory["name"] for memory in old]
        for name in new:
            if name not in names:
                raise InputError(f"{where}: none is called {name!r}{nearest(name, names)}")
        return [_merged(memory, new.get(memory["name"], {}), where) for memory in old]
    return {**old, **new} if isinstance(old, Mapping) else new


def multiplier_twin(hardware: Hardware) -> Hardware:
    """Return the same machine with multiplying elements and, as it needs none, no side array.

    Its accumulators are as wide as those that the machine's multiplier layers have.
    """
    if hardware.pe == "multiplier":
        return hardware
    return load_hardware(
        hardware,
        name=f"{hardware.name} with multipliers",
        description=f"{hardware.name} with a multiplier in every element and no side array",
        pe="multiplier",
        accumulator_bits=hardware.sum_bits("multiplier"),
        multiplier_rows=0,
        multiplier_cols=0,
        multiplier_accumulator_bits=None,
    )


def with_full_side_array(hardware: Hardware) -> Hardware:
    """Return the machine with a side array as large as its array, or as it is where it has no side array."""
    size = hardware.rows, hardware.cols
    if not hardware.multiplier_rows or hardware.array("multiplier") == size:
        return hardware
    name = f"{hardware.name} with a side array of {size[0]} x {size[1]}"
    return load_hardware(hardware, name=name, multiplier_rows=size[0], multiplier_cols=size[1])
