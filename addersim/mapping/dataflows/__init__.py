"""Dataflows: how a layer's loops are laid on an array, as closed forms; one file each.

A dataflow is a function ``f(loops, rows, cols) -> Schedule``. Put it in a file here that ends in
``DATAFLOWS.add(name, f)`` and the tests that iterate over the shelf apply to it. Rows and columns, and the
loop bounds too, may be NumPy arrays: the formulas broadcast.
"""

from __future__ import annotations

from addersim.mapping.dataflows.schedule import DATAFLOWS, Dataflow, Schedule, load_dataflow

__all__ = ["DATAFLOWS", "Dataflow", "Schedule", "load_dataflow"]
