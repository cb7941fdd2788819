"""Exploration: a study at every point of a space, on any number of workers, and what is best there."""
