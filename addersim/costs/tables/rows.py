"""What a cost table's TOML file holds: its source, its rows as printed, and the laws between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from addersim.costs.tables.laws import LawName
from addersim.toml import Record

RowName = Literal["add", "multiply", "compare", "shift", "bitwise", "register", "multiply_accumulate"]


@dataclass(frozen=True)
class Price:
    """What one operation or access costs; ``None`` where the table has no such figure.

    Attributes
    ----------
    energy_pj
        One execution, or one access.
    area_um2
        The component; of a memory all of it.
    source
        Row, law, result, and everything assumed on the way.
    leakage_uw
        Of the component, while it is powered.
    delay_ns
        From its inputs to its result.
    """

    energy_pj: float
    area_um2: float | None
    source: str
    leakage_uw: float | None = None
    delay_ns: float | None = None


class Source(Record):
    """Where a table was published; ``short`` is what prices are footnoted with.

    ``ratios_to`` says what one pJ of the rows stands for where a publication prints ratios only.
    """

    cite: str
    short: str
    kind: Literal["published", "fit", "synthesised"]
    node_nm: PositiveFloat
    read_from: str
    vdd_v: PositiveFloat | None = None
    doi: str = ""
    url: str = ""
    note: str = ""
    ratios_to: str = ""


class Row(Record):
    """One row as printed: an operation of ``bits`` bits; ``bitwise`` is one gate (AND, OR, XOR) per bit.

    ``multiply_accumulate`` is a product and the addition behind it in one figure.
    """

    name: RowName
    bits: PositiveInt
    energy_pj: PositiveFloat
    area_um2: PositiveFloat | None = None
    delay_ns: PositiveFloat | None = None
    leakage_uw: PositiveFloat | None = None
    floating: bool = False
    note: str = ""


class Polynomial(Record):
    """A published fit: ``energy_pj = sum coefficients[i] * bits**i``, coefficients as printed."""

    name: RowName
    coefficients: Annotated[tuple[float, ...], Field(min_length=1)]


class Sram(Record):
    """One access of ``word_bits`` bits to a memory of ``size_bytes`` bytes, and the area of that memory.

    ``energy_pj`` is a read's; a write costs the same where ``write_energy_pj`` is not printed.
    """

    size_bytes: PositiveInt
    word_bits: PositiveInt
    energy_pj: PositiveFloat
    write_energy_pj: PositiveFloat | None = None
    area_um2: PositiveFloat | None = None


class Dram(Record):
    """One access of ``word_bits`` bits to DRAM; ``energy_high_pj`` is the upper end of a printed range."""

    word_bits: PositiveInt
    energy_pj: PositiveFloat
    energy_high_pj: PositiveFloat | None = None


class Word(Record):
    """One access to a scratchpad, or one way from an element to its neighbour, of a word of ``word_bits`` bits."""

    word_bits: PositiveInt
    energy_pj: PositiveFloat


class Rows(Record):
    """Everything one publication prints.

    Attributes
    ----------
    name
        The shelf name.
    source
        Citation, node, voltage, where the rows were read.
    primitive, polynomial
        Rows as printed, or the coefficients of a published fit. A table of memories has neither.
    laws
        Per row name, the law between rows: ``linear``, ``power`` or ``square``. Registers are linear.
    delay
        ``fixed``: a row's delay at every width; ``linear``: proportional to the width.
    sram, dram
        Memory rows; ``memory_from`` names another table for those that this publication does not have. A single row
        of SRAM counts for every size.
    scratchpad
        An access of a memory inside an element, whatever its size; without it, that of an SRAM of its size.
    hop
        A word's way from an element to its neighbour; without it that is not priced.
    gates_from
        Table whose ratio of a bitwise operation to an addition stands in where this one has no ``bitwise`` row;
        nothing: a bitwise operation is then charged as an addition.
    """

    name: str
    source: Source
    primitive: tuple[Row, ...] = ()
    polynomial: tuple[Polynomial, ...] = ()
    laws: Mapping[RowName, LawName] = Field(default_factory=dict)
    delay: Literal["fixed", "linear"] = "fixed"
    sram: tuple[Sram, ...] = ()
    dram_row: Dram | None = Field(default=None, alias="dram")
    scratchpad_row: Word | None = Field(default=None, alias="scratchpad")
    hop_row: Word | None = Field(default=None, alias="hop")
    memory_from: str = ""
    gates_from: str = "aladdin_40nm"

    @model_validator(mode="after")
    def _is_complete(self) -> Rows:
        for row in self.primitive:
            if not row.floating and row.name not in {*self.laws, "register", "multiply_accumulate"}:
                raise ValueError(f"laws needs {row.name!r}: how to go between its rows")
        for name, law in self.laws.items():
            if law == "power" and len(self.integer_rows(name)) == 1:
                raise ValueError(f"laws.{name} = 'power' needs two rows of {name!r}, there is one")
        if not self.memory_from and not (self.sram and self.dram_row):
            raise ValueError("needs sram rows and a dram row, or memory_from = another table")
        if self.memory_from and self.source.ratios_to:
            raise ValueError("memory_from: ratios do not go with another table's pJ")
        return self

    def integer_rows(self, name: RowName) -> list[Row]:
        """Return the integer rows called ``name``, the narrowest first."""
        return sorted((r for r in self.primitive if r.name == name and not r.floating), key=lambda row: row.bits)

    def has(self, name: RowName) -> bool:
        """Return whether integers have a row or a fit of that name."""
        return bool(self.integer_rows(name)) or any(fit.name == name for fit in self.polynomial)
