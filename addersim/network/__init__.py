"""The workload: a graph of layers, float or on integers, its loops and its operation counts."""
