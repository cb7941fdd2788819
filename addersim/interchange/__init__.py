"""Interchange: one file per foreign format, each of which reads it, writes it, or both."""
