"""Adder linear layer: ``y[k] = bias[k] - sum over c of |x[c] - w[k,c]|``."""

from __future__ import annotations

import numpy as np

from addersim.network.node import Node
from addersim.network.ops import OPS, Floats
from addersim.network.ops.adder_conv2d import l1_distance
from addersim.network.ops.linear import Linear


class AdderLinear(Linear):
    """``addersim.nn.AdderLinear`` on (N, C)."""

    kind = "adder_linear"
    aten = ("addersim.adder_linear.default",)
    array = "adder"

    def float_run(self, node: Node, *xs: Floats) -> Floats:
        w_kc = node.params["w_krsc"][:, 0, 0, :]
        return np.asarray(node.params.get("bias_k", 0) - l1_distance(xs[0], w_kc))


OPS.add(AdderLinear.kind, AdderLinear())
