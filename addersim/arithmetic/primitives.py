"""Primitive: one arithmetic operation of one width, the unit in which layers are counted and priced."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Name = Literal["subtract", "absolute", "add", "multiply", "compare", "shift", "xor", "select", "register"]
Part = Literal["tap", "output", "other"]
NAMES: tuple[Name, ...] = get_args(Name)


@dataclass(frozen=True, order=True)
class Primitive:
    """An operation on words of ``bits`` bits.

    Attributes
    ----------
    name
        Counted: ``subtract``, ``absolute``, ``add``, ``multiply``, ``compare``, ``shift``. What circuits are
        made of besides, and only priced: ``xor`` (or XNOR) of a word, ``select`` of one of two words by a
        multiplexer, ``register`` that latches a word.
    bits
        Width of the result for additions and subtractions, of the word that goes in for the others.
    other_bits
        Width of a multiplication's second operand; 0 elsewhere.
    floating
        Whether the words are IEEE floats of ``bits`` bits rather than integers.
    """

    name: Name
    bits: int
    other_bits: int = 0
    floating: bool = False

    def __str__(self) -> str:
        """Return name and width, as a bill words it."""
        other = f" x {self.other_bits}" if self.other_bits else ""
        return f"{self.name} {self.bits}{other} b"


@dataclass(frozen=True)
class Count:
    """``times`` executions of a primitive for one image.

    ``part`` says where: ``tap`` in the layer's loop nest, ``output`` in its output stage (once per output
    word), ``other`` in layers that are not convolutions or linear (pooling, residual additions).
    """

    layer: str
    part: Part
    primitive: Primitive
    times: int
