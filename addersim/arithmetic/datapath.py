"""Datapath: how one output comes about, stage by stage, each with its width and its overflow.

distance or product -> adder tree over ``tree_inputs`` channels -> optional requantisation of the tree
sum -> accumulator over channel groups and kernel taps -> output stage.

In an adder datapath a leaf is ``|x - w|``. With ``sign = "positive"`` it travels as an unsigned magnitude,
and the accumulator's negative (one bit more) enters the output stage; with ``sign = "negative"`` every
word carries ``-|x - w|``. In a multiplier datapath a leaf is the product ``x * w``.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any, Literal

from addersim.arithmetic.fixed import MAX_BITS, IntFormat, Overflow, Rounding, format_for
from addersim.errors import InputError

Kind = Literal["adder", "multiplier"]
Circuit = Literal["two_subtractors", "xor_carry", "comparator"]
ORDERS = tuple("".join(p) for p in itertools.permutations("rsc"))
EVENTS = ("difference", "leaf", "tree", "requantise", "accumulator")  # where a value can miss its format
REGISTERS = ("difference", "sign", "leaf", "tree", "requantise", "accumulator")  # the difference without its sign


@dataclass(frozen=True)
class Register:
    """A register: its format, and what happens to a value outside it."""

    format: IntFormat
    overflow: Overflow = Overflow.SATURATE


@dataclass(frozen=True)
class TreeCut:
    """Requantisation of a tree sum: arithmetic right shift, rounding, then a narrower register."""

    shift: int
    rounding: Rounding
    format: IntFormat
    overflow: Overflow = Overflow.SATURATE

    def __post_init__(self) -> None:
        if not 0 <= self.shift <= MAX_BITS:
            raise InputError(f"cut: shift = {self.shift}, expected 0 to {MAX_BITS}")


@dataclass(frozen=True)
class Datapath:
    """The widths of one processing element; see the module's docstring for the stages.

    Attributes
    ----------
    kind
        ``"adder"`` or ``"multiplier"``.
    x, w
        Formats of the operands.
    difference
        Register of ``(x << 0) - (w << weight_shift)``; ``None`` in a multiplier datapath.
    leaf
        Register of ``|difference|`` (or its negative), or of the product.
    tree_inputs
        Input channels summed by the tree in one step; group g holds channels g*T to g*T+T-1.
    tree
        One register per tree level, ``ceil(log2(tree_inputs))`` of them. Level l adds nodes 2i and 2i+1;
        an odd last node passes on.
    cut
        Requantisation of the tree sum, or ``None``.
    accumulator
        Register of the running sum.
    order
        Loop order of the accumulation, outermost first; ``"rsc"`` has the channel groups innermost.
    sign
        ``"positive"`` carries magnitudes, ``"negative"`` carries ``-|x - w|``.
    preload_bias
        The accumulator starts at the output stage's bias instead of 0.
    weight_shift
        Left shift in front of the subtractor, where the weight's step is a power of two times the input's.
    circuit
        Circuit of the absolute value: same bits, other price.
    """

    kind: Kind
    x: IntFormat
    w: IntFormat
    difference: Register | None
    leaf: Register
    accumulator: Register
    tree_inputs: int = 1
    tree: tuple[Register, ...] = ()
    cut: TreeCut | None = None
    order: str = "rsc"
    sign: Literal["positive", "negative"] = "positive"
    preload_bias: bool = False
    weight_shift: int = 0
    circuit: Circuit = "xor_carry"

    def __post_init__(self) -> None:
        levels = (self.tree_inputs - 1).bit_length()
        if self.tree_inputs < 1 or len(self.tree) != levels:
            raise InputError(
                f"datapath: tree_inputs = {self.tree_inputs} needs {levels} tree levels, not {len(self.tree)}"
            )
        if self.order not in ORDERS:
            raise InputError(f"datapath: order = {self.order!r}; choose one of {', '.join(ORDERS)}")
        if (self.kind == "adder") == (self.difference is None):
            raise InputError("datapath: an adder datapath has a difference register, a multiplier's has none")
        if self.weight_shift and self.kind == "multiplier":
            raise InputError("datapath: weight_shift stands in front of a subtractor; a multiplier datapath has none")

    @property
    def negates(self) -> bool:
        """Whether the output stage sees the accumulator's negative."""
        return self.kind == "adder" and self.sign == "positive"

    def to_dict(self) -> dict[str, Any]:
        """Return the datapath as JSON-ready values; :func:`from_dict` is the way back."""
        return {name: plain(getattr(self, name)) for name in self.__dataclass_fields__}


def plain(value: Any) -> Any:
    """Return a field of a datapath or an output stage as JSON-ready values."""
    if isinstance(value, Register | TreeCut):
        return {name: plain(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, IntFormat):
        return [value.bits, value.signed]
    if isinstance(value, tuple):
        return [plain(v) for v in value]
    return str(value) if isinstance(value, Overflow | Rounding) else value


def _register(d: dict[str, Any]) -> Register:
    return Register(IntFormat(*d["format"]), Overflow(d["overflow"]))


def from_dict(d: dict[str, Any]) -> Datapath:
    """Return the datapath that :meth:`Datapath.to_dict` wrote."""
    cut = d["cut"]
    return Datapath(
        **{k: d[k] for k in d if k not in {"x", "w", "difference", "leaf", "accumulator", "tree", "cut"}},
        x=IntFormat(*d["x"]),
        w=IntFormat(*d["w"]),
        difference=_register(d["difference"]) if d["difference"] else None,
        leaf=_register(d["leaf"]),
        accumulator=_register(d["accumulator"]),
        tree=tuple(_register(s) for s in d["tree"]),
        cut=TreeCut(cut["shift"], Rounding(cut["rounding"]), IntFormat(*cut["format"]), Overflow(cut["overflow"]))
        if cut
        else None,
    )


def leaf_range(kind: Kind, x: IntFormat, w: IntFormat, weight_shift: int = 0) -> tuple[int, int]:
    """Return the least and the largest magnitude ``|x - w|``, or product ``x * w``, of the formats."""
    if kind == "adder":
        low, high = x.min - (w.max << weight_shift), x.max - (w.min << weight_shift)
        return 0, max(-low, high)
    corners = [a * b for a in (x.min, x.max) for b in (w.min, w.max)]
    return min(corners), max(corners)


def exact_datapath(
    kind: Kind,
    x: IntFormat,
    w: IntFormat,
    depth: int,
    *,
    tree_inputs: int = 1,
    sign: Literal["positive", "negative"] = "positive",
    weight_shift: int = 0,
) -> Datapath:
    """Return the narrowest datapath in which nothing can overflow, whatever the data.

    Parameters
    ----------
    depth
        Taps per output, ``C * R * S`` of one group. The accumulator of an adder datapath then has
        ``ceil(log2(depth * (2**b - 1) + 1))`` bits.

    Examples
    --------
    >>> u8 = IntFormat(8, signed=False)
    >>> exact_datapath("adder", u8, u8, depth=144).accumulator.format.bits
    16
    """
    low, high = _leaf_limits(kind, x, w, weight_shift, sign)
    difference = None
    if kind == "adder":
        difference = Register(format_for(x.min - (w.max << weight_shift), x.max - (w.min << weight_shift), signed=True))
    return Datapath(
        kind=kind,
        x=x,
        w=w,
        difference=difference,
        leaf=_sum_of(1, low, high),
        accumulator=_sum_of(depth, low, high),
        tree_inputs=tree_inputs,
        tree=_tree(tree_inputs, min(tree_inputs, depth), low, high),
        sign=sign,
        weight_shift=weight_shift,
    )


def _leaf_limits(kind: Kind, x: IntFormat, w: IntFormat, weight_shift: int, sign: str) -> tuple[int, int]:
    """Return the least and the largest word that travels from a leaf."""
    low, high = leaf_range(kind, x, w, weight_shift)
    return (-high, 0) if kind == "adder" and sign == "negative" else (low, high)


def _sum_of(terms: int, low: int, high: int) -> Register:
    return Register(format_for(low * terms, high * terms, signed=low < 0))


def _tree(inputs: int, terms: int, low: int, high: int) -> tuple[Register, ...]:
    """Return exact registers for every level of a tree over ``inputs`` leaves, ``terms`` of them not 0."""
    levels = (inputs - 1).bit_length()
    return tuple(_sum_of(min(1 << (level + 1), terms), low, high) for level in range(levels))


def with_tree(datapath: Datapath, tree_inputs: int) -> Datapath:
    """Return ``datapath`` with an adder tree over ``tree_inputs`` channels whose registers lose nothing."""
    limits = _leaf_limits(datapath.kind, datapath.x, datapath.w, datapath.weight_shift, datapath.sign)
    return replace(datapath, tree_inputs=tree_inputs, tree=_tree(tree_inputs, tree_inputs, *limits))


def with_accumulator(datapath: Datapath, bits: int, overflow: Overflow = Overflow.SATURATE) -> Datapath:
    """Return ``datapath`` with an accumulator of ``bits`` bits of the same signedness."""
    form = IntFormat(bits, datapath.accumulator.format.signed)
    return replace(datapath, accumulator=Register(form, overflow))
