"""How a number is computed: formats, rounding and overflow, the datapath of one output, its output stage."""
