"""Small quantised networks made by hand: an adder network and its multiplier twin, layer for layer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from addersim.datapath import Kind, OutputStage, exact_datapath
from addersim.fixed import IntFormat
from addersim.network import EdgeFormat, Network, Node, Tensor
from addersim.ops import OPS
from addersim.quantized import QuantizedNetwork

U6, U8, S8 = IntFormat(6, False), IntFormat(8, False), IntFormat(8, True)
STAGE = OutputStage(IntFormat(20, True), IntFormat(28, True), relu=True)
RNG = np.random.default_rng(1)


def array_node(name: str, kind: str, source: str, w: np.ndarray, x: IntFormat, **attrs: object) -> Node:
    """Return a convolution or linear layer with exact widths and an output stage."""
    array: Kind = "adder" if kind.startswith("adder") else "multiplier"
    K, depth = len(w), int(np.prod(w.shape[1:]))
    params = {
        "w_krsc": w,
        "bias_k": np.full(K, -3),
        "multiplier_k": np.full(K, 200),
        "offset_k": np.full(K, 5),
        "shift_k": np.full(K, 12),
    }
    datapath = exact_datapath(array, x, x if array == "adder" else S8, depth)
    window = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}
    return Node(name, kind, (source,), {**window, **attrs}, params, datapath, STAGE)


def small_network(middle: str = "adder_conv2d", name: str = "small") -> QuantizedNetwork:
    """Return conv 3 -> 4, ``middle`` 4 -> 8 with stride 2, average pooling, linear 32 -> 10; 8 x 8 pixels."""
    pool = {"kernel": (2, 2), "stride": (2, 2), "padding": (0, 0), "dilation": (1, 1)}
    w2 = RNG.integers(0, 30, (8, 3, 3, 4))
    nodes = (
        Node("x", "input"),
        array_node("conv1", "conv2d", "x", RNG.integers(-9, 9, (4, 3, 3, 3)), S8, padding=(1, 1)),
        array_node("conv2", middle, "conv1", w2, U6, padding=(1, 1), stride=(2, 2)),
        Node("pool", "avg_pool", ("conv2",), {**pool, "count_include_pad": True, "squeeze": False}),
        Node("flat", "flatten", ("pool",)),
        array_node("fc", "linear", "flat", RNG.integers(-9, 9, (10, 1, 1, 32)), U8),
    )
    forms = {
        "x": EdgeFormat(8, True, 1.0),
        "conv1": EdgeFormat(6, False, 1.0),
        "conv2": EdgeFormat(6, False, 1.0),
        "fc": EdgeFormat(16, True, 1.0),
        "pool": EdgeFormat(8, False, 1 / 4),
        "flat": EdgeFormat(8, False, 1 / 4),
    }
    shapes = {"x": (3, 8, 8)}
    for node in nodes[1:]:
        shapes[node.name] = OPS[node.kind].shape(node, *(shapes[edge] for edge in node.inputs))
    tensors = {n: Tensor(shape, forms.get(n, EdgeFormat(8, False, 1.0))) for n, shape in shapes.items()}
    return QuantizedNetwork(name, nodes, tensors)


def without_formats(qnet: QuantizedNetwork) -> Network:
    """Return the network as if it had never been quantised."""
    nodes = tuple(replace(node, datapath=None, stage=None) for node in qnet.nodes)
    return Network(qnet.name, nodes, {name: Tensor(t.shape) for name, t in qnet.tensors.items()})
