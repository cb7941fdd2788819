"""Ranges by the error of a layer's output: its definition in float64, and what it chooses."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from builders import chain, images, layer, norm, residual

import addersim
from addersim.network.float_run import float_batches
from addersim.network.node import EdgeFormat, Node
from addersim.quantization.fuse import fuse
from addersim.quantization.output_error import IMAGES, output_error
from addersim.quantization.ranges import COARSE


def network(gamma=1.0):
    return chain(layer("a", "x", "conv2d"), Node("r", "relu", ("a",)), layer("b", "r"), norm("m", "b", gamma=gamma))


def by_torch(net, x_nchw, step, bits, shift):
    """Return the error from torch's distances in float64, with weights on a step ``2**shift`` times as coarse."""
    conv, w = net.node("a"), torch.from_numpy(net.node("b").params["w_krsc"]).double().permute(0, 3, 1, 2)
    weight = torch.from_numpy(conv.params["w_krsc"]).permute(0, 3, 1, 2)
    x = torch.relu(torch.nn.functional.conv2d(torch.from_numpy(x_nchw), weight, padding=1)).double()

    def rounded(values, step, bits):
        return (values / step).round().clamp(0, 2**bits - 1) * step

    def layer_of(x, w):
        columns = torch.nn.functional.unfold(x, 3, padding=1).transpose(1, 2)
        return -torch.cdist(columns, w.flatten(1)[None], p=1)

    error = layer_of(rounded(x, step, bits), rounded(w, step * 2**shift, bits - shift)) - layer_of(x, w)
    p = net.node("m").params
    gain = torch.from_numpy(p["gamma_k"]) / torch.sqrt(torch.from_numpy(p["var_k"]) + 1e-5)
    return float((error.flatten(0, 1).var(0, correction=0) * gain**2).sum())


@pytest.mark.parametrize("shift", [0, 1])
@pytest.mark.parametrize("step", [0.3, 1.1])
def test_its_definition(step, shift):
    net, x = network(gamma=-0.7), images(5)
    fused = {f.root.name: f for f in fuse(net)}
    measured = output_error(net, [fused["b"]], x)(fused["b"], EdgeFormat(4, False, step), 4 - shift)
    assert measured == pytest.approx(by_torch(net, x, step, 4, shift), rel=1e-4)


def test_the_rule_takes_the_least_error_of_all_ranges_tried():
    net, x = network(), images(5)
    qnet = addersim.quantize(net, x, 4, range="output_mse")
    high = float(max(edge.max() for edge in [next(float_batches(net, x, keep=["r"]))["r"]]))
    errors = {step: by_torch(net, x, step, 4, 0) for step in high * np.array(COARSE) / 15}
    best = min(errors, key=errors.get)
    assert qnet.tensors["a"].format.step == pytest.approx(best)
    assert min(errors.values()) <= by_torch(net, x, addersim.quantize(net, x, 4).tensors["a"].format.step, 4, 0)


def test_only_the_first_images_are_looked_at():
    net, x = network(), images(IMAGES + 4)
    fused = {f.root.name: f for f in fuse(net)}
    edges = output_error(net, [fused["b"]], x).edges
    assert len(edges["b"]) == IMAGES


def test_other_edges_are_chosen_by_their_own_error():
    """An edge that an addition reads, too, keeps its width's range, on the grid of the adder layer's step."""
    net = residual(False)
    qnet = addersim.quantize(net, images(), 4, range="output_mse")
    wide, narrow = qnet.tensors["a"].format, qnet.tensors["a.4bit"].format
    assert (wide.bits, narrow.bits) == (8, 4)
    assert np.log2(narrow.step / wide.step) == round(np.log2(narrow.step / wide.step))
    plain = chain(*(replace(n, kind="conv2d") if n.kind == "adder_conv2d" else n for n in network().nodes[1:]))
    ours, theirs = (addersim.quantize(plain, images(), 4, range=rule) for rule in ("output_mse", "mse"))
    assert ours.to_bytes() == theirs.to_bytes()
