"""Layers on a machine before any price: tiles, moves between memories, and the cycles that they take."""
