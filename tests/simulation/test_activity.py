"""Activity of whole networks: layer by layer what the kernels count, whatever the batches, threads or kernels."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from builders import small_network

import addersim
from addersim import activity
from addersim.arithmetic.datapath import REGISTERS, exact_datapath
from addersim.errors import InputError
from addersim.kernels import reference
from addersim.mapping.dataflows import DATAFLOWS
from addersim.network.ops import OPS
from addersim.simulation.activity import SCHEDULES


def test_every_layer_is_counted_on_its_own_input(qnet, images):
    result = activity(qnet, images)
    edges = addersim.simulate(qnet, images, keep="*").edges
    rows = {(row.layer, row.register): row for row in result.rows}
    assert {layer for layer, _ in rows} == {"conv1", "conv2", "fc"}
    for name in ("conv1", "conv2"):
        node = qnet.node(name)
        source, w = node.inputs[0], node.params["w_krsc"]
        zero = qnet.tensors[source].format.zero_point
        x, window = np.moveaxis(edges[source], 1, -1), OPS[node.kind].window(node)
        counts = reference.toggles(x, w, np.zeros(len(w), np.int64), node.datapath, window, zero)
        assert {register: times for register, times in counts.items() if times} == {
            register: row.toggles for (layer, register), row in rows.items() if layer == name
        }


def test_both_kernels_all_threads(qnet, images):
    result = activity(qnet, images)
    assert result == activity(qnet, images, kernels=reference)
    assert result == activity(qnet, images, threads=3)


def test_schedules(qnet, images):
    by_step, by_pixel = (activity(qnet, images[:6], schedule=f"{what}_stationary") for what in ("output", "weight"))
    assert by_pixel == activity(qnet, images[:6], schedule="weight_stationary", kernels=reference)
    for a, b in zip(by_step.rows, by_pixel.rows, strict=True):
        assert (a.layer, a.register, a.bits, a.cycles) == (b.layer, b.register, b.bits, b.cycles)
        assert a.toggles != b.toggles
    assert set(SCHEDULES) <= set(DATAFLOWS)


def test_batches_add_up(qnet, images, monkeypatch):
    result = activity(qnet, images)
    monkeypatch.setattr(sys.modules["addersim.simulation.activity"], "BATCH", 5)
    assert activity(qnet, images) == result
    halves = activity(qnet, images[:11]), activity(qnet, images[11:])
    for whole, *parts in zip(result.rows, *(half.rows for half in halves), strict=True):
        assert whole.toggles == sum(part.toggles for part in parts)
        assert whole.cycles == sum(part.cycles for part in parts)
    assert result.total() == sum(half.total() for half in halves)


def test_cycles_and_bits_follow_from_the_datapath(qnet, images):
    path = qnet.node("conv2").datapath
    tree = exact_datapath("adder", path.x, path.w, 36, tree_inputs=3)
    changed = qnet.with_datapaths({"conv2": tree})
    rows = {row.register: row for row in activity(changed, images).rows if row.layer == "conv2"}
    assert {name: row.bits for name, row in rows.items()} == {
        "difference": 3 * 8,
        "sign": 3,
        "leaf": 3 * 8,
        "tree": 9 + 10,
        "accumulator": 14,
    }
    taps, steps = 9, 2  # four channels, three at a time
    assert {row.cycles for row in rows.values()} == {len(images) * 8 * 5 * 5 * taps * steps}
    assert all(0 < row.rate < 1 for row in rows.values())


def test_preloaded_bias_and_padding():
    """A bias in the accumulator, padding, more images than a batch: the definition agrees."""
    qnet = small_network()
    node = qnet.node("conv2")
    wide = replace(node.datapath, preload_bias=True)
    qnet = qnet.with_datapaths({"conv2": wide})
    codes = np.random.default_rng(2).integers(-128, 128, (9, 3, 8, 8))
    assert activity(qnet, codes) == activity(qnet, codes, kernels=reference)


def test_tables_and_totals(qnet, images):
    result = activity(qnet, images)
    frame = result.to_pandas()
    assert frame.toggles.sum() == result.total()
    assert result.total(["sign"]) == frame[frame.register == "sign"].toggles.sum() > 0
    assert set(frame.register) <= set(REGISTERS)
    assert "<table" in result._repr_html_() and repr(result).startswith("Activity")
    assert result.images == len(images) and result.schedule == "output_stationary"


def test_no_images(qnet):
    result = activity(qnet, np.zeros((0, 1, 28, 28), np.float32))
    assert result.total() == 0
    assert all(np.isnan(row.rate) for row in result.rows)


def test_arguments_that_cannot_be_used(qnet, images):
    with pytest.raises(InputError, match="schedule = 'output'; did you mean 'output_stationary'"):
        activity(qnet, images, schedule="output")
    with pytest.raises(InputError, match="threads = 0"):
        activity(qnet, images, threads=0)
    with pytest.raises(InputError, match="images have shape"):
        activity(qnet, images[:, :, 1:])
