"""One output of a datapath in SystemVerilog, ``adder_pe.sv``, and how to instantiate it."""

from __future__ import annotations

from addersim.rtl.parameters import assignments, parameters, source

__all__ = ["assignments", "parameters", "source"]
