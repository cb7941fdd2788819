"""Kernels, twice: ``reference`` in NumPy defines what is right, ``native`` in C is fast. Same signatures."""
