"""What convolutions and linear layers share: loops, the integer path through a kernel, the output stage."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import ModuleType

import numpy as np

from addersim.arithmetic.datapath import Datapath, Kind
from addersim.arithmetic.fixed import Ints
from addersim.arithmetic.output_stage import OutputStage
from addersim.arithmetic.primitives import Count
from addersim.arithmetic.window import Window
from addersim.kernels.plan import LayerPlan, LayerRunner
from addersim.network.graph import Network
from addersim.network.loops import LoopNest
from addersim.network.node import EdgeFormat, Formats, Node, Shape
from addersim.network.ops import OPS, Facts, Floats, Op, Runner, counts, float_counts


class ArrayLayer(Op):
    """A layer whose taps run on the processing elements; linear layers are 1 x 1 convolutions of one pixel."""

    role = "layer"

    def window(self, node: Node) -> Window:
        """Return the sliding window of a layer with parameter ``w_krsc``."""
        _, R, S, _ = node.params["w_krsc"].shape
        a = node.attrs
        return Window(R, S, a["stride"], a["padding"], a["dilation"], a["groups"])

    def pad_code(self, node: Node, x: EdgeFormat) -> int:
        return x.zero_point

    def shape(self, node: Node, *shapes: Shape) -> Shape:
        K = len(node.params["w_krsc"])
        return (K, *self.window(node).out_size(*shapes[0][1:])) if len(shapes[0]) == 3 else (K,)

    def loops(self, node: Node, shapes: tuple[Shape, ...], out: Shape) -> LoopNest:
        (C, *image), (K, *pixels), window = shapes[0], out, self.window(node)
        (H, W), (P, Q) = image or (1, 1), pixels or (1, 1)
        stride, padding, dilation, groups = window.stride, window.padding, window.dilation, window.groups
        return LoopNest(K, C, P, Q, window.R, window.S, H, W, 1, groups, stride, padding, dilation)

    def prepared(self, node: Node, formats: Formats, kernels: ModuleType) -> Runner:
        stage, p, out = node.output_stage, node.params, formats[-1]
        plan = LayerPlan(
            w_krsc=p["w_krsc"],
            bias_k=p["bias_k"],
            multiplier_k=p["multiplier_k"],
            offset_k=p["offset_k"],
            shift_k=p["shift_k"],
            datapath=node.path,
            stage=stage,
            window=self.window(node),
            pad_code=self.pad_code(node, formats[0]),
            low=out.zero_point if stage.relu else out.format.min,
            high=out.format.max,
        )
        return partial(_run, kernels.layer(plan))

    def primitives(self, node: Node, network: Network, array: Kind | None) -> list[Count]:
        nest = self.loops(node, network.in_shapes(node), network.tensors[node.name].shape)
        if node.datapath is None or node.stage is None:
            tap = ("subtract", "absolute", "add") if array == "adder" else ("multiply", "add")
            bias = ("add",) if "bias_k" in node.params else ()
            return float_counts(node, "tap", nest.taps, *tap) + float_counts(node, "output", nest.outputs, *bias)
        out_bits = network.format(node.name).bits
        return _taps(node, node.datapath, nest) + stage_counts(node, node.stage, nest.outputs, out_bits)


def array_layers(network: Network) -> list[tuple[Node, ArrayLayer]]:
    """Return the layers whose taps run on processing elements, with their operations."""
    found = [(node, OPS[node.kind]) for node in network.nodes]
    return [(node, op) for node, op in found if isinstance(op, ArrayLayer)]


def _run(layer: LayerRunner, x: Ints) -> tuple[Ints, Facts]:
    """Run a layer on images, or on vectors as images of one pixel."""
    r = layer(x if x.ndim == 4 else x[:, None, None, :])
    facts = Facts(r.events, r.stage_overflows, r.saturated, r.accumulator, r.path)
    return (r.y_npqk if x.ndim == 4 else r.y_npqk[:, 0, 0, :]), facts


def _taps(node: Node, path: Datapath, nest: LoopNest) -> list[Count]:
    """Return subtractions, absolute values or products, tree additions level by level, accumulations."""
    x, w = path.x.bits, path.w.bits + path.weight_shift
    leaf = (
        [("multiply", x, w)]
        if path.difference is None
        else [("subtract", path.difference.format.bits), ("absolute", path.leaf.format.bits)]
    )
    rows = counts(node, "tap", nest.taps, *leaf)
    channels, T = nest.C // nest.groups, path.tree_inputs
    places = nest.outputs * nest.R * nest.S
    groups = [min(T, channels - first) for first in range(0, channels, T)]
    for level in path.tree:
        pairs = sum(n // 2 for n in groups)
        groups = [-(-n // 2) for n in groups]
        rows += counts(node, "tap", places * pairs, ("add", level.format.bits))
    if path.cut is not None:
        rows += counts(node, "tap", places * len(groups), ("shift", path.cut.format.bits))
    return rows + counts(node, "tap", places * len(groups), ("add", path.accumulator.format.bits))


def stage_counts(node: Node, stage: OutputStage, outputs: int, out_bits: int) -> list[Count]:
    """Return what the output stage costs: bias, gain, offset, and, where it finishes, rounding and clamp.

    A bias that the accumulator starts at costs no subtraction; the accumulator's sign is that of the gain.
    """
    t, p = stage.centred.bits, stage.product.bits
    preloaded = node.datapath is not None and node.datapath.preload_bias
    biased = bool(np.any(node.params["bias_k"])) and not preloaded
    rows = counts(node, "output", outputs * biased, ("subtract", t))
    if stage.style == "multiplier_shift":
        rows += counts(node, "output", outputs, ("multiply", t, stage.multiplier_bits))
    else:
        two = stage.style == "shift_add"
        rows += counts(node, "output", outputs * (1 + two), ("shift", t)) + counts(
            node, "output", outputs * two, ("add", p)
        )
    rows += counts(node, "output", outputs if np.any(node.params["offset_k"]) else 0, ("add", p))
    return rows + (finish_counts(node, stage, outputs, out_bits) if stage.finish else [])


def finish_counts(node: Node, stage: OutputStage, outputs: int, out_bits: int) -> list[Count]:
    """Return the rounding shift (an addition and a shift) and the clamp (two comparisons)."""
    p = stage.product.bits
    rounded = max(out_bits + 1, p - int(node.params["shift_k"].min()))
    return counts(node, "output", outputs, ("add", p), ("shift", p)) + counts(
        node, "output", 2 * outputs, ("compare", rounded)
    )


def pointwise(run: Callable[..., tuple[Ints, int, int]], *xs: Ints) -> tuple[Ints, Facts]:
    """Run an output stage or a residual addition and name its overflows and saturations."""
    y, overflows, saturated = run(*xs)
    return y, Facts(stage_overflows=overflows, saturated=saturated)


def patches(x_nhwc: Floats, window: Window) -> Floats:
    """Return the zero-padded input under every kernel tap as (N, P, Q, R, S, C)."""
    (py, px), (P, Q) = window.padding, window.out_size(x_nhwc.shape[1], x_nhwc.shape[2])
    padded = np.pad(x_nhwc, ((0, 0), (py, py), (px, px), (0, 0)))
    taps = [[padded[:, window.rows(r, P), window.columns(s, Q)] for s in range(window.S)] for r in range(window.R)]
    return np.stack([np.stack(row, axis=3) for row in taps], axis=3)
