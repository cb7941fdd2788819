"""The parameters of ``adder_pe.sv`` for a :class:`~addersim.arithmetic.datapath.Datapath`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from addersim.arithmetic.datapath import Circuit, Datapath, Register, TreeCut
from addersim.arithmetic.fixed import IntFormat, Overflow, Rounding
from addersim.errors import InputError

MAX_LEVELS = 12  # of the module's packed tree parameters
PLAIN_BITS = 31  # a decimal number without a size is a signed word of 32 bits


def source() -> Path:
    """Return the path of ``adder_pe.sv``; its header says what every port and parameter means."""
    return Path(__file__).with_name("adder_pe.sv")


def parameters(datapath: Datapath) -> dict[str, int]:
    """Return the value of every parameter of the module ``adder_pe`` that the datapath decides.

    The loop order is not among them: whoever feeds the module decides it.

    Raises
    ------
    InputError
        If the difference register is unsigned, or the tree has more levels than the module.

    Examples
    --------
    >>> from addersim.arithmetic.datapath import exact_datapath
    >>> u8 = IntFormat(8, signed=False)
    >>> values = parameters(exact_datapath("adder", u8, u8, depth=144, tree_inputs=4))
    >>> values["T"], values["ACC_BITS"], hex(values["TREE_BITS"])
    (4, 16, '0xa09')
    """
    difference, cut = datapath.difference, datapath.cut
    if difference is not None and not difference.format.signed:
        raise InputError(f"adder_pe: its difference register is signed, the datapath's is {difference.format}")
    if len(datapath.tree) > MAX_LEVELS:
        raise InputError(f"adder_pe: {datapath.tree_inputs} tree inputs; it has at most {1 << MAX_LEVELS}")
    return {
        "MULTIPLIER": int(datapath.kind == "multiplier"),
        **_word("X", datapath.x),
        **_word("W", datapath.w),
        **(_difference(difference, datapath) if difference else {}),
        **_register("LEAF", datapath.leaf),
        "T": datapath.tree_inputs,
        **_tree(datapath.tree),
        **(_cut(cut) if cut else {"CUT": 0}),
        **_register("ACC", datapath.accumulator),
    }


def assignments(values: dict[str, int]) -> str:
    """Return what stands between the brackets of ``adder_pe #(...)``.

    Examples
    --------
    >>> assignments({"T": 8, "TREE_BITS": 0x0C0B0A0908})
    ".T(8), .TREE_BITS(36'hc0b0a0908)"
    """
    return ", ".join(f".{name}({_literal(value)})" for name, value in values.items())


def _literal(value: int) -> str:
    return str(value) if value.bit_length() <= PLAIN_BITS else f"{value.bit_length()}'h{value:x}"


def _word(name: str, form: IntFormat) -> dict[str, int]:
    return {f"{name}_BITS": form.bits, f"{name}_SIGNED": int(form.signed)}


def _register(name: str, stage: Register) -> dict[str, int]:
    return {**_word(name, stage.format), f"{name}_SATURATE": int(stage.overflow == Overflow.SATURATE)}


def _difference(stage: Register, datapath: Datapath) -> dict[str, int]:
    return {
        "DIFFERENCE_BITS": stage.format.bits,
        "DIFFERENCE_SATURATE": int(stage.overflow == Overflow.SATURATE),
        "WEIGHT_SHIFT": datapath.weight_shift,
        "CIRCUIT": get_args(Circuit).index(datapath.circuit),
        "NEGATIVE": int(datapath.sign == "negative"),
    }


def _tree(levels: Sequence[Register]) -> dict[str, int]:
    """Return the levels packed, level 0 lowest: 8 bits for a width, 1 for the rest."""
    return {
        "TREE_BITS": sum(stage.format.bits << 8 * level for level, stage in enumerate(levels)),
        "TREE_SIGNED": sum(stage.format.signed << level for level, stage in enumerate(levels)),
        "TREE_SATURATE": sum((stage.overflow == Overflow.SATURATE) << level for level, stage in enumerate(levels)),
    }


def _cut(cut: TreeCut) -> dict[str, int]:
    rounding = {"CUT_SHIFT": cut.shift, "CUT_ROUNDING": list(Rounding).index(cut.rounding)}
    return {"CUT": 1, **rounding, **_register("CUT", Register(cut.format, cut.overflow))}
