"""Every operation on the shelf: shapes, float maths against torch, integers on both kernel modules."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from builders import images

import addersim
from addersim.errors import InputError
from addersim.kernels import native, reference
from addersim.network.counts import count
from addersim.network.float_run import run_float
from addersim.network.graph import Network
from addersim.network.node import Node, Tensor
from addersim.network.ops import OPS
from addersim.simulation.simulate import simulate

CASES = [(kind, i) for kind, op in OPS.items() for i, _ in enumerate(op.examples())]


def network_of(kind: str, i: int) -> Network:
    """Return input -> the operation's example -> logits."""
    node, shapes = list(OPS[kind].examples())[i]
    source = Node("x", "input", attrs={"shape": shapes[0]})
    tensors = {"x": Tensor(shapes[0]), "layer": Tensor(OPS[kind].shape(node, *shapes * len(node.inputs)))}
    return Network(kind, (source, node), tensors)


def nchw(w_krsc):
    return torch.tensor(np.asarray(w_krsc)).permute(0, 3, 1, 2).double()


def torch_result(node: Node, x: torch.Tensor) -> torch.Tensor:
    """The same operation in PyTorch, float64."""
    a, p = node.attrs, {k: torch.tensor(v).double() for k, v in node.params.items()}
    bias = p.get("bias_k")
    match node.kind:
        case "conv2d":
            return F.conv2d(x, nchw(node.params["w_krsc"]), bias, a["stride"], a["padding"], a["dilation"], a["groups"])
        case "adder_conv2d":
            w = nchw(node.params["w_krsc"])
            columns = F.unfold(x, w.shape[2:], a["dilation"], a["padding"], a["stride"]).unflatten(1, (a["groups"], -1))
            w_gkd = w.reshape(a["groups"], len(w) // a["groups"], -1)
            y = -(columns[:, :, None] - w_gkd[None, ..., None]).abs().sum(3).flatten(1, 2)
            y = y if bias is None else y + bias[:, None]
            size = [
                (x.shape[2 + i] + 2 * a["padding"][i] - a["dilation"][i] * (w.shape[2 + i] - 1) - 1) // a["stride"][i]
                + 1
                for i in (0, 1)
            ]
            return y.unflatten(2, size)
        case "linear":
            return F.linear(x, p["w_krsc"][:, 0, 0], bias)
        case "adder_linear":
            y = -(x[:, None] - p["w_krsc"][:, 0, 0][None]).abs().sum(2)
            return y if bias is None else y + bias
        case "batch_norm":
            return F.batch_norm(x, p["mean_k"], p["var_k"], p["gamma_k"], p["beta_k"], eps=a["eps"])
        case "relu":
            return F.relu(x)
        case "max_pool":
            return F.max_pool2d(x, a["kernel"], a["stride"], a["padding"], a["dilation"])
        case "avg_pool":
            return F.avg_pool2d(x, a["kernel"], a["stride"], a["padding"], count_include_pad=a["count_include_pad"])
        case "add":
            return x + x
        case "concat":
            return torch.cat([x, x], 1)
        case "flatten":
            return x.flatten(1)
        case "upsample":
            return F.interpolate(x, scale_factor=[float(f) for f in a["factors"]], mode="nearest")
        case "slice":
            index = [slice(None)] * x.ndim
            index[a["axis"] + 1] = slice(a["start"], a["stop"], a["step"])
            return x[tuple(index)]
        case "pad":
            return F.pad(x, [*a["columns"], *a["rows"], *a["channels"]])
    return OPS[node.kind].torch_run(node, x)


def test_every_operation_has_examples():
    assert {kind for kind, _ in CASES} == set(OPS) - {"input", "scale"}  # those two the quantiser makes


@pytest.mark.parametrize(("kind", "i"), CASES)
def test_float_maths_and_shape_are_those_of_torch(kind, i):
    network = network_of(kind, i)
    x = images(4, network.input.shape, seed=0)
    expected = torch_result(network.nodes[-1], torch.tensor(x).double()).numpy()
    ours = run_float(network, x)
    assert ours.shape[1:] == network.output.shape
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("kind", "i"), CASES)
@pytest.mark.parametrize("bits", [3, 8])
def test_integers_agree_between_kernels_and_with_the_floats(kind, i, bits, tmp_path):
    network = network_of(kind, i)
    x = images(6, network.input.shape, seed=0)
    qnet = addersim.quantize(network, x, bits=bits, range="max")
    qnet.save(tmp_path / "q.safetensors")
    loaded = addersim.QuantizedNetwork.load(tmp_path / "q.safetensors")
    traces = [simulate(loaded, x, keep="*", kernels=k) for k in (reference, native)]
    for name, edge in traces[0].edges.items():
        np.testing.assert_array_equal(edge, traces[1].edges[name])
    assert traces[0].layers[-1].facts.events == traces[1].layers[-1].facts.events
    assert not any(layer.overflows for layer in traces[0].layers)
    expected = run_float(network, x)
    if bits == 8:
        spread = np.abs(expected).max()
        assert np.abs(traces[0].logits - expected).max() < 0.05 * spread


@pytest.mark.parametrize(("kind", "i"), CASES)
def test_counting_is_never_negative_and_floats_count_as_fp32(kind, i):
    network = network_of(kind, i)
    rows = count(network).rows
    assert all(row.times > 0 and row.primitive.floating and row.primitive.bits == 32 for row in rows)
    rows = count(addersim.quantize(network, images(4, network.input.shape, seed=0))).rows
    assert all(row.times > 0 and not row.primitive.floating for row in rows)


def test_average_pool_is_exact_with_and_without_counted_padding():
    """Codes times step equal the average of the input's real values, as fractions."""
    for i in range(3):
        network = network_of("avg_pool", i)
        x = images(4, network.input.shape, seed=0)
        qnet = addersim.quantize(network, x)
        trace = simulate(qnet, x, keep="*")
        real = qnet.input.format.real(trace.edges["x"])
        expected = torch_result(network.nodes[-1], torch.tensor(real)).numpy()
        np.testing.assert_allclose(trace.logits, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        ("max_pool", {"kernel_size": [2], "ceil_mode": True}, "ceil_mode"),
        ("avg_pool", {"kernel_size": [2], "ceil_mode": True}, "ceil_mode"),
        ("avg_pool", {"kernel_size": [2], "divisor_override": 3}, "divisor_override"),
        ("avg_pool", {"dim": [1], "keepdim": False}, "mean over axes"),
        ("avg_pool", {"output_size": [4, 4]}, "windows of unequal size"),
        ("add", {"other": 2.0}, "no other constant"),
        ("flatten", {"start_dim": 2}, "from axis 1"),
        ("flatten", {"size": [1, 3, 49]}, "a view to"),
        ("slice", {"dim": 0, "start": 1}, "slicing the batch"),
        ("pad", {"pad": [1, 1], "mode": "reflect"}, "only padding with zeros"),
        ("upsample", {"input": None, "scale_factors": [1.5, 1.5]}, "whole factors"),
    ],
)
def test_what_an_operation_refuses(kind, arguments, message):
    from addersim.network.ops import Edge

    edge = Edge("x", (3, 7, 7))
    with pytest.raises(InputError, match=message):
        OPS[kind].from_aten({"self": edge, **arguments, **({"input": edge} if "input" in arguments else {})})


def test_a_lone_batch_norm_becomes_a_scale_with_dead_channels_silenced():
    node = network_of("batch_norm", 0).nodes[-1]
    params = {**node.params, "var_k": np.array([1.0, 0.0, 2.0, 0.3], np.float32)}
    tensors = {"x": Tensor((4, 5, 5)), "layer": Tensor((4, 5, 5))}
    network = Network("bn", (Node("x", "input", attrs={"shape": (4, 5, 5)}), replace(node, params=params)), tensors)
    scale = addersim.quantize(network, images(4, (4, 5, 5), seed=0)).nodes[1]
    assert scale.kind == "scale"
    for channel in (1, 2):  # running variance 0; gamma 0
        assert scale.params["multiplier_k"][channel] == 0
        assert scale.params["bias_k"][channel] == 0
