"""Fit: a layer's datapath as a machine computes it, or why the machine cannot."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from addersim.arithmetic.datapath import Datapath, Kind, Register, with_tree
from addersim.arithmetic.fixed import IntFormat, Overflow
from addersim.errors import InputError

if TYPE_CHECKING:
    from addersim.hardware.machine import Hardware

PLURAL = {"adder": "adders", "multiplier": "multipliers", "shift": "shift elements", "xnor": "xnor elements"}


def fit(machine: Hardware, layer: str, kind: Kind, datapath: Datapath) -> Datapath:
    """Return ``datapath`` as ``machine`` computes it.

    The accumulator gets the width of the array that runs ``kind`` and the same signedness: wider, or narrower and
    then saturating. The circuit and the adder tree become the machine's; a new tree has exact widths.

    Parameters
    ----------
    layer
        Name of the layer, for the message.
    kind
        ``"adder"`` or ``"multiplier"``.

    Raises
    ------
    InputError
        If the machine has no array for ``kind``, the operands are wider than its elements, or the layer has
        an adder tree of another size.
    """
    _check(machine, layer, kind, datapath)
    old = datapath.accumulator
    bits = machine.sum_bits(kind)
    overflow = Overflow.SATURATE if old.format.bits > bits else old.overflow
    form = IntFormat(bits, old.format.signed)
    if datapath.tree_inputs < machine.tree_inputs:
        datapath = with_tree(datapath, machine.tree_inputs)
    return replace(datapath, accumulator=Register(form, overflow), circuit=machine.circuit)


def _check(machine: Hardware, layer: str, kind: Kind, datapath: Datapath) -> None:
    where = f"layer {layer!r} does not fit {machine.name}"
    if not all(machine.array(kind)):
        have = f"{PLURAL[machine.pe]} only" if kind == "adder" else "no side array of multipliers"
        raise InputError(f"{where}: a layer of {kind}s, but the machine has {have}")
    widest = machine.operand_bits
    for name, form in (("x", datapath.x), ("w", datapath.w)):
        if form.bits > widest:
            raise InputError(f"{where}: {name} has {form.bits} bits; expected operand_bits = {widest} or fewer")
    difference = datapath.difference
    if difference is not None and difference.format.bits > widest + 1:
        raise InputError(f"{where}: x - w has {difference.format.bits} bits; expected {widest + 1} or fewer")
    if datapath.tree_inputs not in (1, machine.tree_inputs):
        raise InputError(f"{where}: its adder tree sums {datapath.tree_inputs} channels, not {machine.tree_inputs}")
