"""Whole networks: both kernels, every edge; threads, batches, integers as input; what is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest

import addersim
from addersim.arithmetic.datapath import with_accumulator
from addersim.arithmetic.fixed import Overflow
from addersim.errors import InputError
from addersim.kernels import reference
from addersim.simulation.simulate import simulate


def test_the_result_does_not_depend_on_threads_or_batches(qnet, images):
    whole = simulate(qnet, images, keep="*")
    threaded = simulate(qnet, np.concatenate([images] * 4), threads=3)
    np.testing.assert_array_equal(threaded.logits_int, np.concatenate([whole.logits_int] * 4))
    single = [simulate(qnet, image[None]).logits_int for image in images[:5]]
    np.testing.assert_array_equal(np.concatenate(single), whole.logits_int[:5])
    assert threaded.layers[0].facts.saturated == 4 * whole.layers[0].facts.saturated


def test_reference_and_native_agree_on_every_edge(qnet, images):
    ours, theirs = (simulate(qnet, images, keep="*", kernels=k) for k in (reference, addersim.kernels.native))
    assert set(ours.edges) == {node.name for node in qnet.nodes}
    for name, edge in ours.edges.items():
        np.testing.assert_array_equal(edge, theirs.edges[name])
    assert [layer.facts.accumulator for layer in ours.layers] == [layer.facts.accumulator for layer in theirs.layers]


def test_torch_tensors_and_codes_are_the_same_images(qnet, images):
    import torch

    expected = simulate(qnet, images).logits_int
    np.testing.assert_array_equal(simulate(qnet, torch.tensor(images)).logits_int, expected)
    codes = qnet.input.format.quantise(images)
    np.testing.assert_array_equal(simulate(qnet, codes).logits_int, expected)
    np.testing.assert_array_equal(simulate(qnet, codes.astype(np.int8)).logits_int, expected)


def test_edges_come_out_channels_first(qnet, images):
    trace = simulate(qnet, images, keep=["conv1"])
    assert list(trace.edges) == ["conv1"]
    assert trace.edges["conv1"].shape == (len(images), 4, 24, 24)
    assert trace.logits.dtype == np.float64
    np.testing.assert_array_equal(trace.logits, trace.logits_int * qnet.output.format.step)


def test_no_images(qnet):
    trace = simulate(qnet, np.zeros((0, 1, 28, 28), np.float32))
    assert trace.logits_int.shape == (0, 10)


def test_narrow_accumulators_are_counted_and_explained(qnet, images):
    path = qnet.node("conv2").datapath
    narrow = qnet.with_datapaths({"conv2": with_accumulator(path, path.accumulator.format.bits - 3, Overflow.SATURATE)})
    trace = simulate(narrow, images, explain=True)
    layer = next(layer for layer in trace.layers if layer.name == "conv2")
    assert layer.overflows == layer.facts.events["accumulator"] > 0
    table = trace.to_pandas().set_index("layer")
    assert table.loc["conv2", "overflows"] == layer.overflows
    assert layer.accumulator_bits is None
    exact = {layer.name: layer.accumulator_bits for layer in simulate(qnet, images).layers}
    assert (
        exact["conv2"]
        == int(simulate(qnet, images).to_pandas().set_index("layer").loc["conv2", "accumulator_max"]).bit_length()
    )
    enough = qnet.with_datapaths({"conv2": with_accumulator(path, exact["conv2"], Overflow.SATURATE)})
    assert not any(layer.overflows for layer in simulate(enough, images).layers)
    assert "saturating once" in table.loc["conv2", "path"] and "no register can overflow" in table.loc["conv1", "path"]
    assert "path" not in simulate(qnet, images).to_pandas()
    assert "<table" in trace._repr_html_()


def test_saturated_inputs_are_counted(qnet, images):
    assert simulate(qnet, images).saturated_inputs == 0
    loud = images.copy()
    loud[0, 0, 0, :3] = 1e4
    assert simulate(qnet, loud).saturated_inputs == 3


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[:, :, :-1], r"images have shape \(24, 1, 27, 28\)"),
        (lambda x: x[0], r"images have shape \(1, 28, 28\)"),
        (lambda x: np.where(x == x.max(), np.nan, x), "holds NaN or infinity"),
        (lambda x: np.full(x.shape, 300, np.int64), "images hold codes 300 to 300, the input edge is s8"),
        (lambda x: x.astype(str), "expected"),
    ],
)
def test_images_that_cannot_be_used(qnet, images, change, message):
    with pytest.raises(InputError, match=message):
        simulate(qnet, change(images))


def test_other_arguments_that_cannot_be_used(qnet, images):
    with pytest.raises(InputError, match="no edge 'conv3'; did you mean 'conv"):
        simulate(qnet, images, keep=["conv3"])
    with pytest.raises(InputError, match="threads = 0"):
        simulate(qnet, images, threads=0)


def test_a_machine_that_is_too_narrow_names_the_layer(qnet):
    narrow = addersim.hardware.load_hardware("adder_16x16", operand_bits=4)
    with pytest.raises(InputError, match="layer 'conv1' does not fit"):
        qnet.on(narrow)
    with pytest.raises(InputError, match=r"layer 'conv2'.*multipliers only"):
        qnet.on("multiplier_16x16")


def test_on_a_machine_with_a_narrow_accumulator_nothing_is_silent(qnet, images):
    placed = qnet.on(addersim.hardware.load_hardware("adder_16x16", accumulator_bits=12))
    assert placed.node("conv2").datapath.accumulator.format.bits == 12
    trace = simulate(placed, images)
    assert sum(layer.overflows for layer in trace.layers) > 0
    with pytest.raises(InputError, match=r"call \.on\(hardware\)"):
        addersim.evaluate(qnet, addersim.hardware.load_hardware("adder_16x16", accumulator_bits=12))


@pytest.mark.parametrize(("own", "cut"), [({}, {"multiplier"}), ({"multiplier_accumulator_bits": 24}, {"adder"})])
def test_narrow_accumulators_of_adders_may_leave_the_multipliers_alone(qnet, images, own, cut):
    """A first layer cut to 10 bits leaves the adders behind it little to sum."""
    machine = addersim.hardware.load_hardware("adder_16x16", accumulator_bits=10, **own)
    kinds = {node.name: node.datapath.kind for node in qnet.nodes if node.datapath}
    assert {kinds[layer.name] for layer in simulate(qnet.on(machine), images).layers if layer.overflows} == cut


def test_the_whole_network_of_the_demo_on_64_images():
    """Reference and native agree in every integer of every edge, for the adder network and its twin."""
    from addersim.study.outcome import load_network
    from addersim.study.study import Study

    study = Study.read("lenet5-fashion")
    x, calibration = addersim.sample("fashion_sample", 64)[0], addersim.sample("fashion_calibration", 100)[0]
    for source in (study.network, study.twin):
        network, _ = load_network(source)
        qnet = addersim.quantize(network, calibration)
        native = simulate(qnet, x, keep="*", threads=2)
        expected = simulate(qnet, x, keep="*", kernels=reference)
        for name, edge in expected.edges.items():
            np.testing.assert_array_equal(native.edges[name], edge)
        assert not any(layer.overflows for layer in native.layers)


def test_stepwise_and_running_sums_agree_on_a_whole_network(qnet, images):
    """One leaf register of one bit more makes no difference in value, but a tree takes the stepwise loop."""
    from addersim.arithmetic.datapath import exact_datapath

    path = qnet.node("conv2").datapath
    tree = exact_datapath("adder", path.x, path.w, 36, tree_inputs=2)
    saturating = replace(tree, accumulator=with_accumulator(tree, 30).accumulator)
    narrow_but_enough = replace(saturating, order="crs")
    changed = qnet.with_datapaths({"conv2": narrow_but_enough})
    np.testing.assert_array_equal(simulate(changed, images).logits_int, simulate(qnet, images).logits_int)
    assert json.loads(json.dumps(narrow_but_enough.to_dict()))["order"] == "crs"


def test_sums_wider_than_the_core_follow_the_definition():
    """Two exact average pools in a row widen their edge beyond 32 bits in front of the first convolution."""
    torch = pytest.importorskip("torch")

    def pool(side):
        return torch.nn.AvgPool2d(side, 1, side // 2, count_include_pad=False)

    module = torch.nn.Sequential(pool(7), pool(5), torch.nn.Conv2d(3, 4, 3)).eval()
    x = np.random.default_rng(0).normal(size=(5, 3, 9, 9)).astype(np.float32)
    qnet = addersim.quantize(addersim.from_torch(module, x[:1]), x)
    assert qnet.tensors[qnet.nodes[-2].name].format.bits > 32
    ours, theirs = simulate(qnet, x), simulate(qnet, x, kernels=reference)
    np.testing.assert_array_equal(ours.logits_int, theirs.logits_int)
