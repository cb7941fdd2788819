"""Scale: ``y = (x - bias_k) * gain_k + offset_k``, integers only: a change of step, or a lone batch norm.

``t = x - B_k; p = t * M_k + A_k; y = clamp(round_shift(p, n_k))``, the formula of every output stage. The
quantiser puts it where an edge must change its format: the identity branch of a residual addition (which
takes p itself), narrower inputs of an adder layer, a batch norm without a layer in front.
"""

from __future__ import annotations

from functools import partial
from types import ModuleType

from addersim.arithmetic.datapath import Kind
from addersim.arithmetic.primitives import Count
from addersim.kernels.plan import StagePlan
from addersim.network.graph import Network
from addersim.network.node import Formats, Node
from addersim.network.ops import OPS, Op, Runner, words
from addersim.network.ops.array_layer import pointwise, stage_counts


class Scale(Op):
    """An output stage without a layer."""

    kind = "scale"
    role = "stage"

    def prepared(self, node: Node, formats: Formats, kernels: ModuleType) -> Runner:
        x, out, stage, p = formats[0], formats[-1], node.output_stage, node.params
        b, m, a, n = (p[key] for key in ("bias_k", "multiplier_k", "offset_k", "shift_k"))
        low = out.zero_point if stage.relu else out.format.min
        run = kernels.output_stage(StagePlan(b, m, a, n, x.format, stage, low, out.format.max))
        return partial(pointwise, run)

    def primitives(self, node: Node, network: Network, array: Kind | None) -> list[Count]:
        outputs, bits = words(network.tensors[node.name].shape), network.format(node.name).bits
        rows = stage_counts(node, node.output_stage, outputs, bits)
        return [Count(c.layer, "other", c.primitive, c.times) for c in rows]


OPS.add(Scale.kind, Scale())
