"""Small networks and machines made by hand, which several test files use."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from addersim.arithmetic.datapath import Kind, exact_datapath
from addersim.arithmetic.fixed import IntFormat
from addersim.arithmetic.output_stage import OutputStage
from addersim.errors import InputError
from addersim.hardware import Hardware, load_hardware
from addersim.hardware.machine import ROLES
from addersim.network.graph import Network
from addersim.network.node import EdgeFormat, Node, Tensor
from addersim.network.ops import OPS
from addersim.network.quantized import QuantizedNetwork
from addersim.quantization.quantize import quantize

# Formats, an output stage, the numbers that weights are drawn from.
U6, U8, S8 = IntFormat(6, False), IntFormat(8, False), IntFormat(8, True)
U8_EDGE = EdgeFormat(8, False, 1.0)
STAGE = OutputStage(IntFormat(20, True), IntFormat(28, True), relu=True)
RNG = np.random.default_rng(1)


# Networks of integers.


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


def pointwise(name: str, source: str, K: int, C: int) -> Node:
    """Return an adder layer of single pixels, all its weights 1."""
    return array_node(name, "adder_conv2d", source, np.ones((K, 1, 1, C), np.int64), U6)


def network(*nodes: Node, formats: dict[str, EdgeFormat] | None = None) -> QuantizedNetwork:
    """Return a network on an image of 2 x 4 x 4 whose edges carry 8 bits."""
    shapes = {"x": (2, 4, 4)}
    for node in nodes:
        shapes[node.name] = OPS[node.kind].shape(node, *(shapes[edge] for edge in node.inputs))
    tensors = {name: Tensor(shape, (formats or {}).get(name, U8_EDGE)) for name, shape in shapes.items()}
    return QuantizedNetwork("hand-made", (Node("x", "input"), *nodes), tensors)


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


def residual_network() -> QuantizedNetwork:
    """Return x -> (a, b) -> add: two layers on the array whose products meet in a residual addition."""
    open_stage = replace(STAGE, finish=False)
    w = np.ones((4, 1, 1, 4), np.int64)
    a, b = (replace(array_node(n, "adder_conv2d", "x", w, U6), stage=open_stage) for n in "ab")
    shifts = {key: np.full(4, 12) for key in ("shift_a_k", "shift_b_k", "shift_k")}
    nodes = (Node("x", "input"), a, b, Node("add", "add", ("a", "b"), {}, shifts, None, STAGE))
    nodes += (array_node("fc", "linear", "add", np.ones((2, 1, 1, 4), np.int64), U6),)
    bits = {"x": 6, "a": 24, "b": 24, "add": 6, "fc": 16}
    tensors = {n: Tensor((4, 8, 8), EdgeFormat(k, True, 1.0)) for n, k in bits.items()}
    return QuantizedNetwork("residual", nodes, {**tensors, "fc": Tensor((2, 8, 8), tensors["fc"].format)})


CONCAT = network(
    pointwise("a", "x", 3, 2),
    pointwise("b", "a", 3, 3),
    Node("both", "concat", ("a", "b")),
    pointwise("c", "both", 2, 6),
    pointwise("d", "c", 2, 2),
)


# Float networks, node by node.


def images(n=6, shape=(4, 6, 6), seed=1):
    """Return images, N C H W, of the standard normal distribution."""
    return np.random.default_rng(seed).normal(size=(n, *shape)).astype(np.float32)


def layer(name, source, kind="adder_conv2d", C=4, K=4, R=3, seed=0, spread=1.0):
    """Return a float layer on the array that keeps its input's size."""
    w = np.random.default_rng(seed).normal(size=(K, R, R, C)).astype(np.float32) * np.float32(spread)
    attrs = {"stride": (1, 1), "padding": (R // 2, R // 2), "dilation": (1, 1), "groups": 1}
    return Node(name, kind, (source,), attrs, {"w_krsc": w})


def norm(name, source, K=4, mean=-30.0, gamma=1.0):
    """Return a batch norm with the same numbers in every channel."""
    ones = np.ones(K, np.float32)
    return Node(
        name,
        "batch_norm",
        (source,),
        {"eps": 1e-5},
        {
            "gamma_k": ones * np.float32(gamma),
            "beta_k": 0.3 * ones,
            "mean_k": np.float32(mean) * ones,
            "var_k": 20 * ones,
        },
    )


def chain(*nodes: Node, shape=(4, 6, 6)) -> Network:
    """Return a network of nodes that may name earlier ones; the first reads the input ``x``."""
    everything = (Node("x", "input", attrs={"shape": shape}), *nodes)
    tensors: dict[str, Tensor] = {}
    for node in everything:
        tensors[node.name] = Tensor(OPS[node.kind].shape(node, *(tensors[i].shape for i in node.inputs)))
    return Network("chain", everything, tensors)


def residual(identity_first: bool) -> Network:
    """Return a float network with a residual addition in front of its last layer."""
    inputs = ("r", "m") if identity_first else ("m", "r")
    return chain(
        layer("a", "x", "conv2d"),
        Node("r", "relu", ("a",)),
        layer("b", "r"),
        norm("m", "b"),
        Node("s", "add", inputs),
        Node("t", "relu", ("s",)),
        layer("c", "t"),
        norm("p", "c"),
    )


# Machines.


def machine(inputs: int, outputs: int = 1 << 16, weights: int = 1 << 16) -> Hardware:
    """Return a machine with a buffer of so many bytes per operand."""
    sizes = {"inputs": inputs, "weights": weights, "outputs": outputs}
    return load_hardware("adder_16x16", buffers={name: {"size_bytes": size} for name, size in sizes.items()})


def shared(size_bytes: int, double_buffered: bool = False) -> Hardware:
    """Return a machine with one buffer for all operands."""
    holds = ["inputs", "weights", "outputs"]
    buffer = {"name": "all", "holds": holds, "size_bytes": size_bytes, "word_bits": 64}
    return load_hardware("adder_16x16", buffers=[{**buffer, "double_buffered": double_buffered}])


def stack(near: int, far: int, bits: int = 64, ports: int = 1, double: bool = False, dram: int = 16) -> Hardware:
    """Return a machine with a small buffer per operand inside a shared one."""
    same = {"word_bits": bits, "ports": ports, "double_buffered": double}
    inside = [{"name": role, "holds": [role], "size_bytes": near, **same} for role in ROLES]
    outside = {"name": "far", "holds": list(ROLES), "size_bytes": far, **same}
    return load_hardware("adder_16x16", buffers=[*inside, outside], dram={"bits_per_cycle": dram})


# Random networks of every operation.
KINDS = ["adder_conv2d", "conv2d", "depthwise", "add", "batch_norm", "relu", "max_pool", "avg_pool", "concat", "pad"]


class Grower:
    """A network that grows one node at a time behind ``last``."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng, self.last = rng, "x"
        self.shapes = {"x": (int(rng.integers(1, 5)), 8, 8)}
        self.nodes = [Node("x", "input", attrs={"shape": self.shapes["x"]})]

    def put(self, kind, others=(), attrs=None, params=None):
        name = f"{kind}{len(self.nodes)}"
        node = Node(name, kind, (self.last, *others), attrs or {}, params or {})
        self.shapes[name] = OPS[kind].shape(node, *(self.shapes[i] for i in node.inputs))
        self.nodes.append(node)
        self.last = name

    def layer(self, kind, depthwise):
        C, H, _ = self.shapes[self.last]
        K, R = (
            (C * int(self.rng.integers(1, 3)) if depthwise else int(self.rng.integers(1, 7))),
            int(self.rng.choice([1, 3])),
        )
        window = {
            "stride": (int(self.rng.integers(1, 3)) if H > 4 else 1,) * 2,
            "padding": (R // 2,) * 2,
            "dilation": (1, 1),
            "groups": C if depthwise else 1,
        }
        depth = 1 if depthwise else C
        w = self.rng.normal(size=(K, R, R, depth)) * 10 ** self.rng.uniform(-1, 1)
        bias = {"bias_k": self.rng.normal(size=K).astype(np.float32)} if self.rng.random() < 0.3 else {}
        self.put(kind, (), window, {"w_krsc": w.astype(np.float32), **bias})
        if self.rng.random() < 0.7:
            self.norm(-3.0 * depth * R * R if kind == "adder_conv2d" else 0.0, 4.0 * depth * R * R)

    def norm(self, mean=0.0, variance=1.0):
        K = self.shapes[self.last][0]
        gamma, beta, shift = (self.rng.normal(size=K).astype(np.float32) for _ in range(3))
        var = (self.rng.random(K) * variance + 0.1).astype(np.float32)
        params = {"gamma_k": gamma, "beta_k": beta, "mean_k": np.float32(mean) + shift, "var_k": var}
        self.put("batch_norm", (), {"eps": 1e-5}, params)

    def pool(self, kind):
        kernel, padding = ((2, 2), (0, 0)) if kind == "max_pool" else ((3, 3), (1, 1))
        attrs = {"kernel": kernel, "stride": (2, 2), "padding": padding, "dilation": (1, 1)}
        if kind == "avg_pool":
            attrs |= {"count_include_pad": bool(self.rng.integers(0, 2)), "squeeze": False}
        if self.shapes[self.last][1] >= 4:
            self.put(kind, (), attrs)

    def step(self, kind):
        like = [n for n, s in self.shapes.items() if s[1:] == self.shapes[self.last][1:] and n != self.last]
        if kind in ("adder_conv2d", "conv2d", "depthwise"):
            self.layer("adder_conv2d" if kind == "depthwise" else kind, kind == "depthwise")
        elif kind == "batch_norm":
            self.norm()
        elif kind in ("max_pool", "avg_pool"):
            self.pool(kind)
        elif kind == "pad":
            self.put(kind, (), {"columns": (1, 0), "rows": (0, 1), "channels": (0, 1)})
        elif kind == "relu":
            self.put(kind)
        else:
            partners = [n for n in like if kind == "concat" or self.shapes[n] == self.shapes[self.last]]
            if partners:
                self.put(kind, (str(self.rng.choice(partners)),))

    def network(self):
        used = {self.last}
        for node in reversed(self.nodes):
            if node.name in used:
                used.update(node.inputs)
        kept = tuple(n for n in self.nodes if n.name in used or n.kind == "input")
        return Network("random", kept, {n.name: Tensor(self.shapes[n.name]) for n in kept})


def grown(seed, **settings):
    """Return a random network, images, and its integers by random settings or those given.

    In the place of the integers stands None where an untrained rectifier is dead: an edge of zeros has no range.
    """
    rng = np.random.default_rng(seed)
    grower = Grower(rng)
    grower.layer("conv2d", depthwise=False)
    for _ in range(int(rng.integers(2, 8))):
        grower.step(str(rng.choice(KINDS)))
    network = grower.network()
    choices = {
        "bits": int(rng.choice([2, 4, 8, 8, 12, 16])),
        "residual_bits": int(rng.choice([4, 8, 12, 16])),
        "range": str(rng.choice(["mse", "max", "quantile", "output_mse"])),
        "output_stage": str(rng.choice(["multiplier_shift", "shift_add", "shift_only"])),
        "correction": str(rng.choice(["none", "mean", "least_squares"])),
    }
    x = rng.normal(size=(8, *network.input.shape)).astype(np.float32)
    try:
        return network, x, quantize(network, x, **(settings or choices))
    except InputError as error:
        assert "carries only zeros" in str(error)
        return network, x, None
