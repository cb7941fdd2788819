"""A network as one call of the core: the same integers and facts as layer by layer, or no replay at all."""

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

import addersim
from addersim.arithmetic.datapath import with_accumulator
from addersim.arithmetic.fixed import Overflow
from addersim.arithmetic.window import Window
from addersim.kernels import native
from addersim.network.node import EdgeFormat
from addersim.network.ops import OPS
from addersim.simulation import replay
from addersim.simulation.replay import record
from addersim.simulation.simulate import simulate


def recorded(qnet, images):
    """Return the replay of a network for the images' shape."""
    formats = {node.name: [qnet.tensors[name].format for name in (*node.inputs, node.name)] for node in qnet.nodes}
    runners = {n.name: OPS[n.kind].prepared(n, tuple(formats[n.name]), native) for n in qnet.nodes[1:]}
    N, C, H, W = images.shape
    return record(qnet, runners, (N, H, W, C))


def quantized_resnet20():
    torch = pytest.importorskip("torch")
    from addersim.nn import build_model

    torch.manual_seed(0)
    x = torch.randn(6, 3, 32, 32)
    module = build_model("resnet20_adder")
    with torch.no_grad():
        for _ in range(40):
            module.train()(x)
    return addersim.quantize(addersim.from_torch(module.eval(), x[:1]), x, bits=4), x.numpy()


def check_same(qnet, images):
    """One call and layer by layer: the same logits and the same facts; return the trace."""
    assert recorded(qnet, images) is not None
    ours, expected = simulate(qnet, images), simulate(qnet, images, keep="*")
    np.testing.assert_array_equal(ours.logits_int, expected.logits_int)
    assert ours.layers == expected.layers
    assert ours.saturated_inputs == expected.saturated_inputs
    return ours


def test_one_call_makes_what_layer_by_layer_makes(qnet, images):
    check_same(qnet, images)
    check_same(*quantized_resnet20())


def test_batches_of_unequal_size_and_codes_as_input(qnet, images):
    many = np.concatenate([images] * 3)[:70]  # two batches of 32 and one of 6
    whole = check_same(qnet, many)
    first = qnet.nodes[0].name
    codes = simulate(qnet, many, keep=[first]).edges[first]
    np.testing.assert_array_equal(simulate(qnet, codes).logits_int, whole.logits_int)


def test_overflows_are_counted(qnet, images):
    path = qnet.node("conv2").datapath
    narrow = qnet.with_datapaths({"conv2": with_accumulator(path, path.accumulator.format.bits - 3, Overflow.SATURATE)})
    trace = check_same(narrow, images)
    assert next(layer for layer in trace.layers if layer.name == "conv2").facts.events["accumulator"] > 0


def test_callers_at_once_do_not_share_memory(qnet, images):
    expected = [simulate(qnet, image[None], keep="*").logits_int for image in images]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda image: simulate(qnet, image[None]).logits_int, list(images) * 5))
    np.testing.assert_array_equal(np.concatenate(found), np.concatenate(expected * 5))


def test_results_are_the_callers_own(qnet, images):
    first = simulate(qnet, images[:4])
    before = first.logits_int.copy()
    simulate(qnet, images[4:8])
    np.testing.assert_array_equal(first.logits_int, before)


def test_memory_serves_again():
    with replay.recording() as tape:
        a, b = tape.empty((4, 4), np.int32), tape.empty((8,), np.int64)
        tape.keep([b[2:4]])
        c = tape.empty((2, 2), np.uint8)
        assert np.may_share_memory(a, c) and not np.may_share_memory(b, c)
        assert tape.size_bytes == 128 and tape.owns(b) and not tape.owns(np.zeros(1))


def test_a_call_that_reads_what_numpy_made_is_not_recorded():
    with replay.recording() as tape:
        native.flatten(tape.empty((1, 2, 2, 3), np.uint8))
        with pytest.raises(replay.Unrecordable):
            native.flatten(np.zeros((1, 2, 2, 3), np.uint8))


def test_no_replay_where_numpy_works_between_the_layers(monkeypatch):
    torch = pytest.importorskip("torch")
    up = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Upsample(scale_factor=2),
                             torch.nn.Conv2d(4, 2, 3)).eval()  # fmt: skip
    x = np.random.default_rng(0).normal(size=(5, 3, 9, 9)).astype(np.float32)
    qnet = addersim.quantize(addersim.from_torch(up, x[:1]), x)
    assert recorded(qnet, x) is None
    np.testing.assert_array_equal(simulate(qnet, x).logits_int, simulate(qnet, x, keep="*").logits_int)
    plain = addersim.quantize(addersim.from_torch(up[:2], x[:1]), x)
    assert recorded(plain, x) is not None
    monkeypatch.setattr(replay, "MOST_BYTES", 10)
    assert recorded(plain, x) is None


def test_a_failed_recording_leaves_the_core_as_it_was(qnet, images):
    with pytest.raises(ZeroDivisionError), replay.recording():
        raise ZeroDivisionError
    codes, _ = native.quantise(images, 0.1, 0, EdgeFormat(8, True, 0.1).format)
    assert native.max_pool(codes, Window(2, 2)).max() == codes.max()


def test_a_network_that_was_simulated_goes_with_its_last_name(qnet, images):
    """Its packed weights and replays, too, which hold no network."""
    mine = replace(qnet)
    last, codes = weakref.ref(mine), simulate(mine, images).logits_int
    np.testing.assert_array_equal(simulate(qnet, images).logits_int, codes)
    assert last() is mine
    del mine
    gc.collect()
    assert last() is None
