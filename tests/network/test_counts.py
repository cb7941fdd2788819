"""Counts: the published totals, a brute-force walk, and widths from the datapath."""

import itertools

import numpy as np
import pytest
import torch

import addersim
from addersim.arithmetic.datapath import exact_datapath
from addersim.arithmetic.primitives import Primitive
from addersim.nn import build_model


def counted(name, **arguments):
    shape = addersim.nn.catalogue.model_card(name).input_shape
    return addersim.count(addersim.from_torch(build_model(name), torch.zeros(1, *shape)), **arguments)


def test_resnet32():
    """69,124,736 taps; the paper's 69.12 M / 138.24 M (CVPR 2020, table 1) count every layer as an adder layer."""
    counts = counted("resnet32_adder")
    assert counts.taps == 69_124_736
    assert sum(counts.adder_taps.values()) == 68_681_728
    assert counts.additions == 137_806_464
    assert counts.multiplications == 443_008
    paper = counted("resnet32_adder", convention="paper")
    assert paper.multiplications == 0
    assert round(paper.taps / 1e6, 2) == 69.12
    assert paper.additions / 1e6 == pytest.approx(138.24, abs=0.01)


def test_resnet20_and_its_twin():
    """The paper prints 41.17 M for ResNet-20, which its own rule does not give."""
    assert counted("resnet20_adder").taps == counted("resnet20_conv").taps == 40_813_184
    assert counted("resnet20_conv").multiplications == 40_813_184
    assert counted("resnet20_conv").adder_taps == {}


def test_lenet5():
    counts = counted("lenet5_adder")
    assert counts.taps == 416_520
    assert counts.adder_taps == {"conv2": 240_000, "fc1": 48_000, "fc2": 10_080}


def test_float_networks_count_as_fp32(example):
    counts = addersim.count(example)
    assert {row.primitive.bits for row in counts.rows} == {32}
    assert all(row.primitive.floating for row in counts.rows)
    frame = counts.to_pandas()
    assert frame.times.sum() == sum(row.times for row in counts.rows)
    assert "<table" in counts._repr_html_()


def test_taps_have_the_datapaths_widths(qnet):
    rows = {r.primitive: r.times for r in addersim.count(qnet).rows if r.layer == "conv2" and r.part == "tap"}
    assert rows == {Primitive("subtract", 9): 7200, Primitive("absolute", 8): 7200, Primitive("add", 14): 7200}
    rows = {r.primitive: r.times for r in addersim.count(qnet).rows if r.layer == "conv1" and r.part == "tap"}
    assert rows == {Primitive("multiply", 8, 8): 57600, Primitive("add", 20): 57600}


@pytest.mark.parametrize("tree_inputs", [1, 2, 3, 4, 8])
def test_tree_additions_by_walking_the_tree(qnet, tree_inputs):
    """conv2 has 4 channels, 3 x 3 taps and 200 outputs."""
    path = qnet.node("conv2").datapath
    changed = qnet.with_datapaths({"conv2": exact_datapath("adder", path.x, path.w, 36, tree_inputs=tree_inputs)})
    rows = [
        r for r in addersim.count(changed).rows if r.layer == "conv2" and r.part == "tap" and r.primitive.name == "add"
    ]
    walked = 0
    for _ in itertools.product(range(200), range(9)):
        for first in range(0, 4, tree_inputs):
            nodes = min(tree_inputs, 4 - first)
            while nodes > 1:
                walked += nodes // 2
                nodes = -(-nodes // 2)
            walked += 1  # into the accumulator
    assert sum(r.times for r in rows) == walked


def test_output_stages_are_counted_once_per_output(qnet):
    rows = [r for r in addersim.count(qnet).rows if r.layer == "conv2" and r.part == "output"]
    names = {r.primitive.name: r.times for r in rows if r.primitive.name in ("multiply", "shift", "compare")}
    assert names == {"multiply": 200, "shift": 200, "compare": 400}


def test_pooling_counts_comparisons(qnet):
    rows = [r for r in addersim.count(qnet).rows if r.layer == "pool"]
    assert [(r.primitive, r.times, r.part) for r in rows] == [(Primitive("compare", 8), 4 * 12 * 12 * 3, "other")]
    assert np.all([r.times > 0 for r in rows])
