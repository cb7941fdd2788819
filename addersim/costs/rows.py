"""What a cost table's TOML file holds: its source, its rows as printed, and the laws between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from addersim.costs.laws import LawName
from addersim.toml import Record

RowName = Literal["add", "multiply", "compare", "register"]


@dataclass(frozen=True)
class Price:
    """What one operation or access costs: ``area_um2`` is ``None`` where the table has no area."""

    energy_pj: float
    area_um2: float | None
    source: str


class Source(Record):
    """Where a table was published; ``short`` is what prices are footnoted with."""

    cite: str
    short: str
    kind: Literal["published", "fit", "synthesised"]
    node_nm: PositiveFloat
    read_from: str
    vdd_v: PositiveFloat | None = None
    doi: str = ""
    url: str = ""
    note: str = ""


class Row(Record):
    """One row as printed: an operation of ``bits`` bits."""

    name: RowName
    bits: PositiveInt
    energy_pj: PositiveFloat
    area_um2: PositiveFloat | None = None
    delay_ns: PositiveFloat | None = None
    floating: bool = False
    note: str = ""


class Polynomial(Record):
    """A published fit: ``energy_pj = sum coefficients[i] * bits**i``, coefficients as printed."""

    name: RowName
    coefficients: Annotated[tuple[float, ...], Field(min_length=1)]


class Sram(Record):
    """One access of ``word_bits`` bits to a memory of ``size_bytes`` bytes."""

    size_bytes: PositiveInt
    word_bits: PositiveInt
    energy_pj: PositiveFloat


class Dram(Record):
    """One access of ``word_bits`` bits to DRAM; ``energy_high_pj`` is the upper end of a printed range."""

    word_bits: PositiveInt
    energy_pj: PositiveFloat
    energy_high_pj: PositiveFloat | None = None


class Rows(Record):
    """Everything one publication prints.

    Attributes
    ----------
    name
        The shelf name.
    source
        Citation, node, voltage, where the rows were read.
    primitive, polynomial
        Rows as printed, or the coefficients of a published fit.
    laws
        Per row name, the law between rows: ``linear``, ``power`` or ``square``.
    sram, dram
        Memory rows; ``memory_from`` names another table where this publication has none.
    """

    name: str
    source: Source
    primitive: tuple[Row, ...] = ()
    polynomial: tuple[Polynomial, ...] = ()
    laws: Mapping[RowName, LawName] = Field(default_factory=dict)
    sram: tuple[Sram, ...] = ()
    dram_row: Dram | None = Field(default=None, alias="dram")
    memory_from: str = ""

    @model_validator(mode="after")
    def _is_complete(self) -> Rows:
        for row in self.primitive:
            if not row.floating and row.name not in {*self.laws, "register"}:
                raise ValueError(f"laws needs {row.name!r}: how to go between its rows")
        if not self.memory_from and not (len(self.sram) > 1 and self.dram_row):
            raise ValueError("needs two sram rows and a dram row, or memory_from = another table")
        return self
