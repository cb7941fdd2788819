"""Integers from input to logits, and how far they are from the floats."""
