"""Comparisons: two networks, four kinds of arrays, and what moves a ratio."""
