"""Random networks of every operation: both kernels, disk, prices, and no register that overflows."""

import numpy as np
import pytest

import addersim
from addersim.errors import InputError
from addersim.kernels import native, reference
from addersim.network import Network, Node, Tensor
from addersim.ops import OPS
from addersim.simulate import simulate

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


def grown(seed):
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
    return network, rng.normal(size=(8, *network.input.shape)).astype(np.float32), choices


@pytest.mark.parametrize("seed", [*range(60), 11964])  # the last: a batch norm that feeds an addition
def test_any_network(seed, tmp_path):
    network, x, choices = grown(seed)
    try:
        qnet = addersim.quantize(network, x, **choices)
    except InputError as error:
        assert "carries only zeros" in str(error)  # an untrained rectifier may be dead
        return
    ours, theirs = (simulate(qnet, x, keep="*", kernels=kernels) for kernels in (reference, native))
    for name, edge in ours.edges.items():
        np.testing.assert_array_equal(edge, theirs.edges[name])
    for a, b in zip(ours.layers, theirs.layers, strict=True):
        assert (a.facts.events, a.facts.saturated, a.facts.accumulator) == (
            b.facts.events,
            b.facts.saturated,
            b.facts.accumulator,
        )
        assert a.overflows == b.overflows == 0
    qnet.save(tmp_path / "q.safetensors")
    again = simulate(addersim.QuantizedNetwork.load(tmp_path / "q.safetensors"), x)
    np.testing.assert_array_equal(again.logits_int, ours.logits_int)
    assert all(row.times > 0 for row in addersim.count(qnet).rows)


@pytest.mark.parametrize("seed", range(60, 90))
def test_sixteen_bits_follow_the_floats_to_the_end(seed):
    """Inputs, first and last layer keep 8 bits and M_k has 12; where the output varies, little of it is lost."""
    network, x, _ = grown(seed)
    try:
        qnet = addersim.quantize(network, x, bits=16, residual_bits=16, range="max", multiplier_bits=12)
    except InputError as error:
        assert "carries only zeros" in str(error)
        return
    expected = addersim.floating.run_float(network, x)
    spread = np.abs(expected).max()
    error = np.abs(addersim.simulate(qnet, x).logits - expected).max()
    assert error < 0.08 * spread
