"""Exploration: a study at every point of a space, on any number of workers, and what is best there."""

from __future__ import annotations

from addersim.explore.front import pareto
from addersim.explore.grid import sweep
from addersim.explore.trials import search

__all__ = ["pareto", "search", "sweep"]
