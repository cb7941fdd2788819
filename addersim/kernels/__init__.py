"""Kernels, twice: ``reference`` in NumPy defines what is right, ``native`` in C is fast. Same signatures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from addersim.shelf import lazy

if TYPE_CHECKING:
    from addersim.kernels import native as native
    from addersim.kernels import reference as reference

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(__name__, {"": "native reference"})
