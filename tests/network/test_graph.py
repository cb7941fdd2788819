"""Networks on disk: same bytes on re-save, and every way a file can be wrong."""

import json
import os
import struct

import numpy as np
import pytest

import addersim
from addersim.errors import InputError
from addersim.files import write_atomically
from addersim.network.graph import Network
from addersim.network.node import EdgeFormat, Node, Tensor


def equal(a: Network, b: Network) -> bool:
    return (
        a.name == b.name
        and a.tensors == b.tensors
        and all(
            (m.name, m.kind, m.inputs, dict(m.attrs), m.datapath, m.stage)
            == (n.name, n.kind, n.inputs, dict(n.attrs), n.datapath, n.stage)
            and m.params.keys() == n.params.keys()
            and all(
                np.array_equal(m.params[k], n.params[k]) and m.params[k].dtype == n.params[k].dtype for k in m.params
            )
            for m, n in zip(a.nodes, b.nodes, strict=True)
        )
    )


@pytest.mark.parametrize("quantised", [False, True])
def test_save_load_save_gives_the_same_bytes(tmp_path, example, qnet, quantised):
    network = qnet if quantised else example
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    network.save(first)
    loaded = type(network).load(first)
    assert equal(loaded, network)
    loaded.save(second)
    assert first.read_bytes() == second.read_bytes()


def test_a_loaded_network_computes_the_same(tmp_path, qnet, images):
    qnet.save(tmp_path / "q.safetensors")
    again = addersim.QuantizedNetwork.load(tmp_path / "q.safetensors")
    np.testing.assert_array_equal(
        addersim.simulate(again, images).logits_int, addersim.simulate(qnet, images).logits_int
    )


def test_the_wrong_kind_of_network(tmp_path, qnet):
    qnet.save(tmp_path / "q.safetensors")
    with pytest.raises(InputError, match=r"q.safetensors: holds a QuantizedNetwork, expected a Network"):
        Network.load(tmp_path / "q.safetensors")


@pytest.mark.parametrize("keep", [0, 4, 100, 0.5, 0.99])
def test_truncated_files(tmp_path, example, keep):
    path = tmp_path / "net.safetensors"
    example.save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    with pytest.raises(InputError, match=r"net.safetensors: not a readable safetensors file"):
        Network.load(path)


def test_missing_files_and_other_safetensors(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        Network.load(tmp_path / "none.safetensors")
    header = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    (tmp_path / "other.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    with pytest.raises(InputError, match="without a network's description"):
        Network.load(tmp_path / "other.safetensors")


@pytest.mark.parametrize("graph", ["{", '"text"', '{"version": 9}', '{"version": 1, "type": "Network"}'])
def test_hostile_descriptions(tmp_path, graph):
    header = json.dumps({"__metadata__": {"addersim": graph}}).encode()
    (tmp_path / "net.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(InputError, match=r"net\.safetensors: "):
        Network.load(tmp_path / "net.safetensors")


def test_nan_in_a_weight_is_named(tmp_path, example):
    broken = example.node("conv2").params["w_krsc"].copy()
    broken[0, 0, 0, 0] = np.nan
    nodes = tuple(
        n if n.name != "conv2" else Node(n.name, n.kind, n.inputs, n.attrs, {"w_krsc": broken}) for n in example.nodes
    )
    Network("broken", nodes, example.tensors).save(tmp_path / "net.safetensors")
    with pytest.raises(InputError, match=r"conv2/w_krsc holds NaN"):
        Network.load(tmp_path / "net.safetensors")


def test_graphs_that_are_not_in_order():
    shape = {"a": Tensor((1,)), "b": Tensor((1,))}
    with pytest.raises(InputError, match="reads 'b' before it is made"):
        Network("n", (Node("a", "relu", ("b",)), Node("b", "input")), shape)
    with pytest.raises(InputError, match="two nodes are called 'a'"):
        Network("n", (Node("a", "input"), Node("a", "relu", ("a",))), shape)


def test_edge_formats():
    form = EdgeFormat(4, signed=False, step=0.25, zero_point=7)
    np.testing.assert_array_equal(form.quantise(np.array([0.0, 0.125, 0.375, -9, 9])), [7, 7, 9, 0, 15])
    np.testing.assert_array_equal(form.real(np.array([7, 15, 0])), [0.0, 2.0, -1.75])
    assert form.range == (-1.75, 2.0)
    for step in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InputError, match="is not a positive number"):
            EdgeFormat(4, False, step)
    with pytest.raises(InputError, match="has no code"):
        EdgeFormat(4, False, 1.0, 16)


def test_nothing_half_written(tmp_path):
    (tmp_path / "file").write_text("old")
    with pytest.raises(InputError, match="cannot be written"):
        write_atomically(tmp_path / "file" / "below", "new")
    assert (tmp_path / "file").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_pipes_and_devices_are_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match=r"pipe: cannot be written: it is no regular file"):
        write_atomically(tmp_path / "pipe", "new")
    assert (tmp_path / "pipe").is_fifo() and [p.name for p in tmp_path.iterdir()] == ["pipe"]
