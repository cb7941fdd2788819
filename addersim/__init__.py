"""addersim: bit-exact simulation, cost and comparison of multiplication-free neural networks."""
