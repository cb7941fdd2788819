"""Groups of output channels: the same floats, each group in its own step, exact on both kernels, paid for in full."""

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from builders import chain, images, layer, norm, residual
from dumps import by_hand, named, read_dump
from training import joined, lenet, same_integers, shaken

import addersim
from addersim.errors import InputError
from addersim.kernels import native, reference
from addersim.network.float_run import float_batches, run_float
from addersim.network.node import Node
from addersim.network.ops import OPS
from addersim.quantization.channel_groups import grouped
from addersim.quantization.fuse import fuse
from addersim.quantization.requantize import layout, requantise
from addersim.quantization.settings import settings_of
from addersim.simulation.simulate import simulate
from addersim.train.qat import IntegerModule

SETTINGS = [
    {"bits": 4},
    {"bits": 3, "correction": "least_squares", "residual_bits": 10},
    {"bits": 5, "weight_bits": 4, "output_stage": "shift_add"},
    {"bits": 4, "output_stage": "shift_only", "steps": "power_of_two", "range": "quantile"},
]


def plain(K=4, **window):
    """Return a convolution and an adder layer with a batch norm; 4 channels of 6 x 6 pixels between them."""
    b = layer("b", "r", C=4 // window.get("groups", 1), K=K)
    b = replace(b, attrs={**b.attrs, **window})
    return chain(layer("a", "x", "conv2d"), Node("r", "relu", ("a",)), b, norm("m", "b", K))


def imported(make):
    module, x = make()
    return addersim.from_torch(module, x[:1]), x


NETWORKS = {
    "residual": lambda: (residual(False), images()),
    "identity first": lambda: (residual(True), images()),
    "grouped": lambda: (plain(K=8, groups=2), images()),
    "depthwise": lambda: (plain(K=8, groups=4), images()),
    "linear": lambda: imported(lenet),
    "joined": lambda: imported(joined),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_groups_of_a_float_network_change_no_float(name):
    network, x = NETWORKS[name]()
    cut = grouped(network, 2)
    ours, theirs = next(float_batches(network, x, keep=cut.tensors.keys() & network.tensors.keys())), run_float(cut, x)
    assert np.array_equal(run_float(network, x), theirs)
    again = next(float_batches(cut, x, keep=ours))
    assert len(ours) > 3 and all(np.array_equal(ours[edge], again[edge]) for edge in ours)
    adders = [node for node in cut.nodes if OPS[node.kind].array == "adder"]
    assert len(adders) == 2 * sum(OPS[node.kind].array == "adder" for node in network.nodes)
    assert grouped(cut, 2).nodes == cut.nodes and grouped(network, 1) is network


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("name", NETWORKS)
def test_both_kernels_agree_on_every_edge(name, settings, tmp_path):
    network, x = NETWORKS[name]()
    qnet = addersim.quantize(network, x, groups=2, **settings)
    x = x[:3]
    ours, theirs = (simulate(qnet, x, keep="*", kernels=kernels) for kernels in (native, reference))
    assert all(np.array_equal(edge, theirs.edges[name]) for name, edge in ours.edges.items())
    assert all(run.overflows == 0 for run in ours.layers)
    qnet.save(tmp_path / "q.safetensors")
    again = simulate(addersim.QuantizedNetwork.load(tmp_path / "q.safetensors"), x)
    assert np.array_equal(again.logits_int, ours.logits_int)


def test_one_group_is_the_network_as_it_was():
    for make in NETWORKS.values():
        network, x = make()
        assert addersim.quantize(network, x, 4, groups=1).to_bytes() == addersim.quantize(network, x, 4).to_bytes()


def test_multiplier_layers_have_no_groups():
    network = chain(layer("a", "x", "conv2d"), Node("r", "relu", ("a",)), layer("b", "r", "conv2d", K=5))
    whole, cut = (addersim.quantize(network, images(), 4, groups=groups) for groups in (1, 4))
    assert whole.to_bytes() == cut.to_bytes()


def test_a_group_is_a_layer_on_inputs_and_weights_of_one_step_of_its_own(tmp_path):
    """From the files of a dump, by arithmetic of their own; weights from the float network and the step alone."""
    network = plain()
    spread_k = np.array([2, 2, 0.5, 0.5], np.float32)
    w_krsc = np.abs(network.node("b").params["w_krsc"]) * spread_k[:, None, None, None]
    nodes = [replace(n, params={"w_krsc": w_krsc}) if n.name == "b" else n for n in network.nodes[1:]]
    qnet = addersim.quantize(chain(*nodes), images(), 4, groups=2)
    manifest, edges, constants = read_dump(addersim.dump(qnet, images(2), tmp_path / "out").parent)
    steps = [qnet.tensors[f"b.group{g}.input"].format.step for g in range(2)]
    assert steps[0] != steps[1]
    for g, step in enumerate(steps):
        row = named(manifest["layers"], f"b.group{g}")
        assert row["inputs"] == [f"b.group{g}.input"] and named(manifest["edges"], f"b.group{g}.input")["bits"] == 4
        np.testing.assert_array_equal(
            by_hand(row, edges[f"b.group{g}.input"], constants[row["name"]])[1], edges[row["name"]]
        )
        own = w_krsc[2 * g : 2 * g + 2].astype(np.float64)
        np.testing.assert_array_equal(constants[row["name"]]["w_krsc"], np.clip(np.rint(own / step), 0, 15))
        p, wide = constants[f"b.group{g}.input"], edges["a"]
        gain = p["multiplier_k"].item() / 2.0 ** p["shift_k"].item()
        assert gain == pytest.approx(qnet.tensors["a"].format.step / step, rel=2**-8)
        np.testing.assert_array_equal(edges[f"b.group{g}.input"], np.clip(np.floor(wide * gain + 0.5), 0, 15))
    both = np.concatenate([edges["b.group0"], edges["b.group1"]], 1)
    np.testing.assert_array_equal(edges["m"], both)


def test_channels_may_change_places_within_a_group():
    order = [1, 0, 2, 5, 3, 4]
    network = plain(K=6)
    moved = [
        replace(n, params={k: v[order] for k, v in n.params.items()}) if n.name in "bm" else n for n in network.nodes
    ]
    ours, theirs = (
        simulate(addersim.quantize(net, images(), 4, groups=2), images(3, seed=2))
        for net in (network, chain(*moved[1:]))
    )
    np.testing.assert_array_equal(ours.logits_int[:, order], theirs.logits_int)


def moved_words(cost):
    """Return the words of every action on the buffers, by layer."""
    return {(c.layer, c.action): c.times for c in cost.charges if c.unit == "buffers" and c.times}


def test_every_group_pays_for_inputs_of_its_own():
    """144 words between the layers: written with 8 bits; per group read, scaled, rounded, clamped, written with 4."""
    whole, cut = (addersim.quantize(plain(), images(), 4, groups=groups) for groups in (1, 2))
    extra = Counter()
    for row in addersim.count(cut).rows:
        if row.part == "other":
            extra[row.layer, row.primitive.name] += row.times
    each = {"multiply": 144, "add": 144, "shift": 144, "compare": 288}
    assert extra == {(f"b.group{g}.input", name): times for g in range(2) for name, times in each.items()}
    assert addersim.count(cut).taps == addersim.count(whole).taps == 2 * 5184
    words = [moved_words(addersim.evaluate(q.on("adder_16x16"))) for q in (whole, cut)]
    assert words[0]["a", "outputs: write outputs 4 b"] == words[1]["a", "outputs: write outputs 8 b"] == 144
    for g in range(2):
        assert words[1][f"b.group{g}.input", "inputs: read inputs 8 b"] == 144
        assert words[1][f"b.group{g}.input", "outputs: write outputs 4 b"] == 144
        assert words[1][f"b.group{g}", "inputs: read inputs 4 b"] == words[0]["b", "inputs: read inputs 4 b"] == 1296
        assert (
            words[1][f"b.group{g}", "weights: read weights 4 b"]
            == 216
            == words[0]["b", "weights: read weights 4 b"] / 2
        )


def test_the_price_of_a_group_s_inputs_by_hand():
    """Horowitz 2014, 45 nm, by its printed rows; 9 x 8 bits by a power law, 128-bit accesses of 8 and 4-bit words."""
    cost = addersim.evaluate(addersim.quantize(plain(), images(), 4, groups=2).on("adder_16x16"))
    multiply = 0.2 * (math.sqrt(9 * 8) / 8) ** (math.log(3.1 / 0.2) / math.log(32 / 8))
    add = 0.05 + (0.1 - 0.05) * (17 - 16) / 16  # and a shift; a comparison of 6 bits is 6/8 of an addition of 8
    outputs = 144 / 32 * 2 * 20  # 32 KB: 20 pJ per 64 bits
    inputs = 144 / 16 * 2 * 20 * 2 ** (math.log(100 / 20) / math.log(32))  # 64 KB, between 32 KB and 1 MB
    expected = 144 * (multiply + 2 * add) + 288 * 0.03 * 6 / 8 + outputs + inputs
    for g in range(2):
        charged = [c.energy_pj for c in cost.charges if c.layer == f"b.group{g}.input"]
        assert sum(charged) == pytest.approx(expected)


def test_groups_of_a_depthwise_layer_requantise_only_what_they_read():
    for own in (2, 4):
        cut = addersim.quantize(plain(K=8, groups=own), images(), 4, groups=2)
        assert [cut.tensors[f"b.group{g}.input"].shape for g in range(2)] == [(2, 6, 6)] * 2
        assert cut.node("b.group0").attrs["groups"] == own // 2
    finer = addersim.quantize(plain(K=8, groups=2), images(), 4, groups=4)
    assert [finer.node(f"b.group{g}.input").inputs for g in range(4)] == [("r.part0of2",)] * 2 + [("r.part1of2",)] * 2


def test_widths_by_layer_are_those_of_its_groups():
    cut = addersim.quantize(residual(False), images(), 8, layer_bits={"b": 3, "c": 5}, residual_bits=9, groups=2)
    widths = {name: cut.node(name).datapath.x.bits for name in ("b.group0", "b.group1", "c.group0", "c.group1")}
    assert widths == {"b.group0": 3, "b.group1": 3, "c.group0": 5, "c.group1": 5}
    with pytest.raises(InputError, match=r"layer_bits: no layer 'b\.group0'; known: a, b, c"):
        addersim.quantize(residual(False), images(), layer_bits={"b.group0": 3}, groups=2)


@pytest.mark.parametrize(
    ("network", "settings", "message"),
    [
        (plain(K=6), {"groups": 4}, "layer 'b': its 6 output channels do not divide into 4 groups"),
        (
            plain(K=12, groups=4),
            {"groups": 3},
            r"its 12 output channels \(of 4 groups of its own\) do not divide into 3",
        ),
        (plain(), {"groups": 0}, "groups = 0: input should be greater than or equal to 1"),
        (plain(), {"groups": 2, "bits": 8}, "layer 'b': its groups requantise inputs to 8 bits, .* give residual_bits"),
    ],
)
def test_what_is_refused(network, settings, message):
    with pytest.raises(InputError, match=message):
        addersim.quantize(network, images(), **{"bits": 4, **settings})


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("make", [joined, lenet])
def test_training_on_integers_runs_the_groups(make, settings):
    module, x = make()
    network = grouped(addersim.from_torch(module, x[:1]), 2)
    qnet = addersim.quantize(network, x, groups=2, **{**settings, "correction": "none"})
    again = requantise(layout(qnet, settings_of(settings)), {part.root.name: part for part in fuse(network)})
    assert again.to_bytes() == qnet.to_bytes()
    module = shaken(IntegerModule(module, x, groups=2, **settings)).train()
    logits = module(torch.from_numpy(x))
    same_integers(logits.detach(), module.executed, x)
    logits.square().mean().backward()
    for name, parameter in module.named_parameters():
        assert (
            torch.isfinite(parameter.grad).all()
            and (parameter.grad.flatten(1) if parameter.dim() > 1 else parameter.grad).any()
        ), name
    with torch.no_grad():
        same_integers(module.eval()(torch.from_numpy(x)), module.export(), x)


def test_the_gradients_of_groups_are_those_of_the_layer():
    """Where all groups have the layer's own step, a parameter's gradient does not know of them."""
    torch.manual_seed(2)
    module, x = joined()
    grads = []
    for groups in (1, 3):
        integers = IntegerModule(module, x, groups=groups, bits=8, residual_bits=12)
        module.zero_grad()
        integers.eval()(torch.from_numpy(x)).square().mean().backward()
        grads.append(module.adder.weight.grad.clone())
    similarity = torch.nn.functional.cosine_similarity(*(g.flatten() for g in grads), dim=0)
    assert similarity > 0.95


def test_validation_finds_the_groups_in_the_float_network():
    network, x = NETWORKS["residual"]()
    validation = addersim.validate(network, addersim.quantize(network, x, 6, groups=2), x)
    rows = {row.name: row for row in validation.layers}
    assert {"b.group0", "b.group0.input", "c.group1", "s.group0", "t"} <= rows.keys()
    assert rows["t"].sqnr_db > 15 and 0 <= rows["b.group1"].saturated_weights <= 1
