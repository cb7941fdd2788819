"""Interchange: one file per foreign format, each of which reads it, writes it, or both."""

from __future__ import annotations

from typing import TYPE_CHECKING

from addersim.shelf import lazy

if TYPE_CHECKING:
    from addersim.interchange import golden_vectors as golden_vectors
    from addersim.interchange import scalesim as scalesim

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(__name__, {"": "golden_vectors scalesim"})
