"""Floats to integers: ranges, steps, output stages, corrections."""
