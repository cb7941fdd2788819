"""Operations that the package does not know: once on the shelf they go through everything, nothing else touched."""

from __future__ import annotations

import json
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from builders import chain, layer, norm

import addersim
from addersim.arithmetic.datapath import Kind
from addersim.arithmetic.fixed import Ints
from addersim.arithmetic.primitives import Count
from addersim.arithmetic.window import Window
from addersim.kernels import native, reference
from addersim.network.float_run import run_float
from addersim.network.graph import Network
from addersim.network.node import EdgeFormat, Node
from addersim.network.ops import OPS, Facts, Floats, Op, counts, words
from addersim.network.ops.array_layer import ArrayLayer

MACHINE = "adder_16x16"


class Shuffle(Op):
    """Channels of ``groups`` groups in turn, as in ShuffleNet: moves words only."""

    kind = "shuffle"

    def float_run(self, node: Node, *xs: Floats) -> Floats:
        x, groups = xs[0], node.attrs["groups"]
        return np.ascontiguousarray(x.reshape(*x.shape[:-1], groups, -1).swapaxes(-1, -2).reshape(x.shape))

    def fixed_run(
        self, node: Node, formats: tuple[EdgeFormat, ...], kernels: ModuleType, *xs: Ints
    ) -> tuple[Ints, Facts]:
        return self.float_run(node, *xs), Facts()


class Clip(Op):
    """``min(x, most)``: on integers a comparison with the code of ``most``."""

    kind = "clip"

    def float_run(self, node: Node, *xs: Floats) -> Floats:
        return np.minimum(xs[0], np.float32(node.attrs["most"]))

    def fixed_run(
        self, node: Node, formats: tuple[EdgeFormat, ...], kernels: ModuleType, *xs: Ints
    ) -> tuple[Ints, Facts]:
        return np.minimum(xs[0], formats[0].quantise(np.array(node.attrs["most"]))), Facts()

    def primitives(self, node: Node, network: Network, array: Kind | None) -> list[Count]:
        times, form = words(network.tensors[node.name].shape), network.tensors[node.name].format
        return counts(node, "other", times, ("compare", form.bits if form else 32))


class PointwiseAdder(ArrayLayer):
    """An adder layer over channels alone, which has no attributes."""

    kind = "pointwise_adder"
    array = "adder"

    def window(self, node: Node) -> Window:
        return Window(1, 1)

    def float_run(self, node: Node, *xs: Floats) -> Floats:
        return -np.abs(xs[0][..., None, :] - node.params["w_krsc"][:, 0, 0]).sum(-1)


@pytest.fixture(scope="module", autouse=True)
def _on_the_shelf():
    before = dict(OPS)
    for op in (Shuffle(), Clip(), PointwiseAdder()):
        OPS.add(op.kind, op)
    yield
    OPS.replace(before)


@pytest.fixture(scope="module")
def network(_on_the_shelf) -> Network:
    rng = np.random.default_rng(5)
    return chain(
        layer("a", "x", "conv2d", K=8),
        norm("an", "a", K=8, mean=0.0),
        Node("r", "relu", ("an",)),
        Node("s", "shuffle", ("r",), {"groups": 2}),
        Node("b", "pointwise_adder", ("s",), {}, {"w_krsc": rng.normal(size=(6, 1, 1, 8)).astype(np.float32)}),
        norm("bn", "b", K=6, mean=-6.0),
        Node("br", "relu", ("bn",)),
        Node("c", "clip", ("br",), {"most": 0.4}),
        Node("f", "flatten", ("c",)),
        Node("out", "linear", ("f",), {}, {"w_krsc": rng.normal(size=(5, 1, 1, 216)).astype(np.float32)}),
    )


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(2).normal(size=(12, 4, 6, 6)).astype(np.float32)


@pytest.fixture(scope="module")
def qnet(network, images) -> Any:
    return addersim.quantize(network, images, bits=8)


def test_integers_follow_the_floats_on_both_kernels(network, qnet, images):
    trace = addersim.simulate(qnet, images, keep="*")
    again = addersim.simulate(qnet, images, keep="*", kernels=reference)
    assert all(np.array_equal(trace.edges[name], again.edges[name]) for name in trace.edges)
    assert np.array_equal(addersim.simulate(qnet, images).logits_int, trace.logits_int)  # one call of the core, or not
    assert np.abs(trace.logits - run_float(network, images)).max() < 0.03 * np.abs(trace.logits).max()
    assert trace.edges["c"].max() < trace.edges["b"].max()  # the clip has something to clip
    assert addersim.validate(network, qnet, images).worst.sqnr_db > 30


def test_it_is_counted_and_priced(qnet):
    found = addersim.count(qnet)
    assert found.adder_taps == {"b": 6 * 6 * 6 * 8}
    assert [(row.primitive.name, row.times) for row in found.rows if row.layer == "c"] == [("compare", 6 * 6 * 6)]
    assert not [row for row in found.rows if row.layer == "s"]
    placed = qnet.on(MACHINE)
    cost = addersim.evaluate(placed, MACHINE)
    charged = {charge.layer for charge in cost.charges}
    assert {"b", "c"} <= charged and "s" not in charged
    machines = addersim.evaluate_machines(qnet, MACHINE, {"rows": [16, 8]})
    assert machines["cycles"][0, 0] == cost.cycles


def test_activity_and_accumulators_know_the_layer(qnet, images):
    assert {row.layer for row in addersim.activity(qnet, images[:2]).rows} >= {"a", "b"}
    assert [one.layer for one in addersim.accumulators(qnet, images[:2]).layers] == ["a", "b", "out"]


def test_it_is_dumped_and_saved(qnet, images, tmp_path):
    manifest = json.loads(addersim.dump(qnet, images[:1], tmp_path / "golden").read_text())
    by_name = {one["name"]: one for one in manifest["layers"]}
    assert by_name["b"]["window"]["R"] == 1 and by_name["b"]["pad_code"] is not None
    assert by_name["s"]["window"] is None and by_name["s"]["pad_code"] is None
    qnet.save(tmp_path / "net.safetensors")
    loaded = addersim.QuantizedNetwork.load(tmp_path / "net.safetensors")
    assert loaded.to_bytes() == qnet.to_bytes()
    logits = [addersim.simulate(net, images, kernels=native).logits_int for net in (loaded, qnet)]
    assert np.array_equal(*logits)
