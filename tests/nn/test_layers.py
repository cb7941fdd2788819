"""Adder layers, their gradients, the models and the reading of checkpoints."""

import copy
import importlib.util
import logging
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from addersim.errors import InputError
from addersim.nn import MODELS, AdderConv2d, AdderLinear, build_model, load_checkpoint, plain
from addersim.nn.catalogue import CATALOGUE, shipped_weights, weights_by_dataset
from addersim.nn.functional import adder_conv2d, adder_linear

DATA = os.environ.get("ADDERSIM_DATA", "")


def by_definition(x, w, stride, padding, dilation, groups, weight_gradient="full"):
    """The adder convolution, written as explicit sums over taps, in the type of x."""
    x = nn.functional.pad(x, (padding[1], padding[1], padding[0], padding[0]))
    K, C, R, S = w.shape
    P = (x.shape[2] - dilation[0] * (R - 1) - 1) // stride[0] + 1
    Q = (x.shape[3] - dilation[1] * (S - 1) - 1) // stride[1] + 1
    y = []
    for k in range(K):
        first = k // (K // groups) * C
        total = torch.zeros(len(x), P, Q, dtype=x.dtype)
        for c in range(C):
            for r in range(R):
                for s in range(S):
                    top, left = r * dilation[0], s * dilation[1]
                    rows = slice(top, top + (P - 1) * stride[0] + 1, stride[0])
                    columns = slice(left, left + (Q - 1) * stride[1] + 1, stride[1])
                    total = total + Distance.apply(x[:, first + c, rows, columns], w[k, c, r, s], weight_gradient)
        y.append(-total)
    return torch.stack(y, 1)


class Distance(torch.autograd.Function):
    """|x - w| with the published gradients: one tap, one weight."""

    @staticmethod
    def forward(ctx, x, w, weight_gradient):
        ctx.save_for_backward(x, w)
        ctx.of_w = torch.sign if weight_gradient == "sign" else torch.clone
        return (x - w).abs()

    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensors
        return -g * (w - x).clamp(-1, 1), (-g * ctx.of_w(x - w)).sum(), None


@st.composite
def layers(draw):
    """Sizes of a small adder convolution: x shape, w shape, stride, padding, dilation, groups."""
    pair = lambda low, high: (draw(st.integers(low, high)), draw(st.integers(low, high)))  # noqa: E731
    groups = draw(st.integers(1, 3))
    stride, padding, dilation, kernel = pair(1, 3), pair(0, 2), pair(1, 2), pair(1, 3)
    w = (groups * draw(st.integers(1, 5)), draw(st.integers(1, 3)), *kernel)
    size = [d * (k - 1) + 1 + draw(st.integers(0, 6)) for d, k in zip(dilation, kernel, strict=True)]
    return (draw(st.integers(1, 4)), w[1] * groups, *size), w, stride, padding, dilation, groups


def gradients(function, x, w, gy):
    x, w = x.clone().requires_grad_(), w.clone().requires_grad_()
    y = function(x, w)
    y.backward(gy.to(y.dtype))
    return y.detach(), x.grad, w.grad


@settings(max_examples=60, deadline=None)
@given(layers(), st.integers(0, 2**31), st.sampled_from(["full", "sign"]))
def test_conv2d_and_its_gradients_are_the_definition(layer, seed, weight_gradient):
    (x_shape, w_shape, *how), generator = (*layer, weight_gradient), torch.Generator().manual_seed(seed)
    x, w = (torch.randn(s, generator=generator, dtype=torch.float64) * 2 for s in (x_shape, w_shape))
    if weight_gradient == "sign":
        x, w = x.round(decimals=1), w.round(decimals=1)  # ties, and none that are only ties in float32
    gy = torch.randn(adder_conv2d(x, w, *how).shape, generator=generator, dtype=torch.float64)
    expected = gradients(lambda x, w: by_definition(x, w, *how), x, w, gy)
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 3e-5)):
        got = gradients(lambda x, w: adder_conv2d(x, w, *how), x.to(dtype), w.to(dtype), gy)
        for a, b in zip(got, expected, strict=True):
            assert a.dtype == dtype
            torch.testing.assert_close(a.double(), b, rtol=tolerance, atol=tolerance * 10)


@pytest.mark.parametrize("stride", [(1, 1), (2, 3)])
def test_signs_zeros_and_the_clamps_ends_are_exact(stride):
    """Halves and small integers: every float32 sum is exact, so the loops that compare floats as integers are, too."""
    generator = torch.Generator().manual_seed(0)
    x, w = (torch.randint(-6, 7, s, generator=generator) / 2 for s in ((5, 3, 9, 11), (40, 3, 3, 2)))
    x, w = (torch.where(torch.rand(t.shape, generator=generator) < 0.1, -0.0, t) for t in (x, w))
    how = (stride, (1, 0), (1, 2), 1)
    gy = torch.randint(-3, 4, adder_conv2d(x, w, *how).shape, generator=generator).float()
    got = gradients(lambda x, w: adder_conv2d(x, w, *how), x, w, gy)
    expected = gradients(lambda x, w: by_definition(x, w, *how, "full"), x.double(), w.double(), gy)
    for a, b in zip(got, expected, strict=True):
        assert torch.equal(a.double(), b)


@pytest.mark.parametrize("shape", [(7,), (5, 7), (2, 3, 7), (40, 7)])
def test_linear_is_a_convolution_of_single_pixels(shape):
    torch.manual_seed(0)
    x, w = torch.randn(shape), torch.randn(4, 7)
    gy = torch.randn(*shape[:-1], 4)
    y, gx, gw = gradients(adder_linear, x, w, gy)
    d = w - x[..., None, :]
    sign = gradients(lambda x, w: adder_linear(x, w, "sign"), x, w, gy)[2]
    torch.testing.assert_close(sign, (-d.sign() * gy[..., None]).reshape(-1, 4, 7).sum(0), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(y, -d.abs().sum(-1))
    torch.testing.assert_close(gx, (d.clamp(-1, 1) * gy[..., None]).sum(-2))
    torch.testing.assert_close(gw, (-d * gy[..., None]).reshape(-1, 4, 7).sum(0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("weight_gradient", ["full", "sign"])
@pytest.mark.parametrize("padding", [(0, 0), (1, 2)])
def test_many_lanes_of_several_images_and_channels(weight_gradient, padding):
    torch.manual_seed(1)
    conv = lambda x, w: adder_conv2d(x, w, padding=padding, weight_gradient=weight_gradient)  # noqa: E731
    x, w = torch.randn(6, 6, 14, 14), torch.randn(17, 6, 5, 5)
    gy = torch.randn(6, 17, 10 + 2 * padding[0], 10 + 2 * padding[1])
    got, expected = (gradients(conv, x.to(t), w.to(t), gy) for t in (torch.float32, torch.float64))
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("weight_gradient", ["full", "sign"])
def test_strided_and_expanded_inputs(weight_gradient):
    conv = lambda x, w: adder_conv2d(x, w, weight_gradient=weight_gradient)  # noqa: E731
    x = torch.randn(2, 8, 8, 3).permute(0, 3, 1, 2)
    w = torch.randn(3, 3, 4, 4).transpose(2, 3)
    gy = torch.ones(()).expand(2, 4, 6, 6)
    w = w[:1].expand(4, 3, 4, 4)[..., 1:, 1:]
    got = gradients(conv, x, w, gy)
    for a, b in zip(got, gradients(conv, x.contiguous(), w.contiguous(), gy.contiguous()), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("weight_gradient", ["full", "sign"])
def test_no_images(weight_gradient):
    layer = AdderConv2d(2, 3, 3, weight_gradient=weight_gradient)
    x = torch.empty(0, 2, 5, 5, requires_grad=True)
    layer(x).sum().backward()
    assert x.grad.shape == x.shape and layer.weight.grad.abs().sum() == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["conv2d", "linear"])
@pytest.mark.parametrize("weight_gradient", ["full", "sign"])
def test_opcheck(name, dtype, weight_gradient):
    x, w = torch.randn(2, 4, 6, 6, dtype=dtype), torch.randn(6, 2, 3, 3, dtype=dtype)
    if name == "conv2d":
        op, arguments = torch.ops.addersim.adder_conv2d.default, ([2, 1], [1, 0], [1, 1], 2, weight_gradient)
    else:
        op, arguments, x, w = (
            torch.ops.addersim.adder_linear.default,
            (weight_gradient,),
            x[0, 0],
            w[:, 0, 0].repeat(1, 2),
        )
    found = torch.library.opcheck(op, (x.requires_grad_(), w.detach().requires_grad_(), *arguments))
    assert set(found.values()) == {"SUCCESS"}


@pytest.mark.parametrize(
    ("x", "w", "how"),
    [
        ((2, 3, 5), (4, 3, 3, 3), {}),
        ((2, 3, 5, 5), (4, 2, 3, 3), {}),
        ((2, 4, 5, 5), (3, 2, 3, 3), {"groups": 2}),
        ((2, 3, 5, 5), (4, 3, 7, 3), {}),
        ((2, 3, 5, 5), (4, 3, 3, 3), {"stride": (0, 1)}),
        ((2, 3, 5, 5), (4, 3, 3, 3), {"padding": (-1, 0)}),
        ((2, 3, 5, 5), (4, 3, 3, 3), {"dilation": (1, 1, 1)}),
    ],
)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_shapes_that_do_not_fit_are_refused(x, w, how, device):
    with pytest.raises(InputError, match="adder_conv2d"):
        adder_conv2d(torch.randn(x, device=device), torch.randn(w, device=device), **how)


def test_types_that_do_not_agree_are_refused():
    with pytest.raises(InputError, match="must agree"):
        adder_conv2d(torch.randn(1, 1, 3, 3), torch.randn(1, 1, 3, 3, dtype=torch.float64))
    with pytest.raises(InputError, match="adder_linear"):
        adder_linear(torch.randn(2, 3), torch.randn(4, 5))


def test_layer_arguments():
    layer = AdderConv2d(4, 6, (3, 1), stride=2, padding=(1, 0), dilation=(2, 1), groups=2)
    assert layer(torch.randn(1, 4, 9, 9)).shape == (1, 6, 4, 5)
    assert layer.weight.shape == (6, 2, 3, 1) and layer.bias is not None
    assert AdderConv2d(4, 6, 3, bias=False).bias is None and AdderLinear(4, 6, bias=False).bias is None
    assert "kernel_size=(3, 1)" in repr(layer) and "in_features=4" in repr(AdderLinear(4, 6))
    wrong_arguments = ({"groups": 3}, {"padding": "full"}, {"stride": 0}, {"padding_mode": "reflect"})
    for wrong in (*wrong_arguments, {"weight_gradient": "l1"}, {"temporary_bytes": 0}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            AdderConv2d(4, 6, 3, **wrong)


def test_bias_is_added():
    layer, linear = AdderConv2d(2, 3, 3), AdderLinear(4, 3)
    x, rows = torch.randn(2, 2, 5, 5), torch.randn(2, 4)
    y, z = layer(x).detach(), linear(rows).detach()
    with torch.no_grad():
        layer.bias += torch.tensor([1.0, 2.0, 3.0])
        linear.bias += torch.tensor([1.0, 2.0, 3.0])
    torch.testing.assert_close(layer(x) - y, torch.tensor([1.0, 2.0, 3.0])[:, None, None].expand_as(y))
    torch.testing.assert_close(linear(rows) - z, torch.tensor([1.0, 2.0, 3.0]).expand_as(z))


def test_weights_start_as_standard_normal():
    torch.manual_seed(0)
    weight = AdderConv2d(64, 64, 3).weight
    assert abs(weight.mean()) < 0.02 and abs(weight.std() - 1) < 0.02


@pytest.mark.parametrize("name", MODELS)
def test_models_on_the_meta_device_copy_and_state(name):
    model, card = build_model(name), CATALOGUE[name]
    with torch.device("meta"):
        shape = build_model(name)(torch.empty(2, *card.input_shape)).shape
    (C, H, W), locations = card.input_shape, 32 * 32 + 16 * 16 + 8 * 8
    expected = {"segmentation": (card.classes, H, W), "detection": ((card.classes + 5) * locations,)}
    assert shape == (2, *expected.get(card.task, (card.classes,)))
    model.eval()
    twin = copy.deepcopy(model)
    x = torch.randn(2, C, min(H, 64), min(W, 64))
    with torch.no_grad():
        assert torch.equal(twin(x), model(x))
    fresh = build_model(name).eval()
    fresh.load_state_dict(model.state_dict())
    with torch.no_grad():
        assert torch.equal(fresh(x), model(x))


def test_catalogue_and_builders_agree_and_list_without_torch():
    assert list(MODELS) == list(CATALOGUE)
    code = "import sys, addersim.nn.catalogue; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    with pytest.raises(InputError, match="did you mean 'resnet20_adder'"):
        build_model("resnet20_ader")


def test_adder_layers_are_where_they_belong():
    def kinds(name):
        return [type(m).__name__ for m in build_model(name).modules() if hasattr(m, "weight") and m.weight.dim() > 1]

    assert kinds("lenet5_adder") == ["Conv2d", "AdderConv2d", "AdderLinear", "AdderLinear", "Linear"]
    assert kinds("lenet5_conv") == ["Conv2d", "Conv2d", "Linear", "Linear", "Linear"]
    assert kinds("resnet20_adder") == ["Conv2d"] + ["AdderConv2d"] * 20 + ["Conv2d"]
    assert len(kinds("resnet20_conv")) == 22 and len(kinds("resnet20_conv_a")) == 20
    assert len(kinds("resnet32_adder")) == 34


@pytest.mark.parametrize("name", ["lenet5_adder", "resnet20_adder"])
def test_export_keeps_the_operations(name):
    model = build_model(name).eval()
    x = torch.randn(2, *CATALOGUE[name].input_shape)
    program = torch.export.export(model, (x,))
    targets = [node.target for node in program.graph.nodes]
    adders = sum(isinstance(m, AdderConv2d) for m in model.modules())
    assert targets.count(torch.ops.addersim.adder_conv2d.default) == adders
    assert targets.count(torch.ops.addersim.adder_linear.default) == (2 if name == "lenet5_adder" else 0)
    with torch.no_grad():
        torch.testing.assert_close(program.module()(x), model(x))


def test_export_with_any_number_of_images_and_compile_without_a_break():
    model, x = build_model("lenet5_adder").eval(), torch.randn(4, 1, 28, 28)
    program = torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim("n", min=2)},))
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(program.module()(x[:3]), model(x[:3]))
    compiled(x).sum().backward()
    got = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    model(x).sum().backward()
    for a, b in zip(got, model.parameters(), strict=True):
        torch.testing.assert_close(a, b.grad)


@pytest.fixture
def lenet():
    torch.manual_seed(0)
    return build_model("lenet5_adder").eval()


def check_loads(model, name, file):
    x = torch.randn(2, *CATALOGUE[name].input_shape)
    with torch.no_grad():
        loaded = load_checkpoint(name, file)
        assert not loaded.training
        assert torch.equal(loaded(x), model(x))


def test_checkpoint_layouts_met_in_the_wild(lenet, tmp_path):
    state = lenet.state_dict()
    adders = {f"{name}.weight" for name, m in lenet.named_modules() if isinstance(m, AdderConv2d | AdderLinear)}
    renamed = {"module." + (k.replace(".weight", ".adder") if k in adders else k): v for k, v in state.items()}
    flat = {
        k.replace("conv2.weight", "conv2.pat"): v.flatten(2) if k == "conv2.weight" else v for k, v in state.items()
    }
    for i, content in enumerate((state, renamed, {"state_dict": renamed, "epoch": 3}, flat)):
        torch.save(content, tmp_path / f"{i}.pth")
        check_loads(lenet, "lenet5_adder", tmp_path / f"{i}.pth")
    save_file({k: v for k, v in renamed.items() if "num_batches" not in k}, tmp_path / "a.safetensors")
    check_loads(lenet, "lenet5_adder", str(tmp_path / "a.safetensors"))


def test_number_of_classes_comes_from_the_file(tmp_path):
    model = build_model("resnet20_adder", classes=100).eval()
    torch.save(model.state_dict(), tmp_path / "cifar100.pth")
    check_loads(model, "resnet20_adder", tmp_path / "cifar100.pth")


@pytest.mark.parametrize(
    ("asked", "found"), [("resnet20_conv", "resnet20_conv_a"), ("resnet20_conv_a", "resnet20_conv")]
)
def test_shortcut_option_is_picked_by_the_keys(asked, found, tmp_path, caplog):
    model = build_model(found).eval()
    torch.save(model.state_dict(), tmp_path / "w.pth")
    with caplog.at_level(logging.INFO, "addersim"):
        check_loads(model, asked, tmp_path / "w.pth")
    assert found in caplog.text


def check_refused(file, *words):
    with pytest.raises(InputError) as caught:
        load_checkpoint("lenet5_adder", file)
    message = str(caught.value)
    assert "\n" not in message
    for word in (str(file), *words):
        assert word in message


def test_checkpoint_keys_and_numbers_are_checked(lenet, tmp_path):
    good, file = lenet.state_dict(), tmp_path / "w.safetensors"

    def with_change(**change):
        state = {k: change.get(k.replace(".", "_"), v) for k, v in good.items()}
        save_file({k: v for k, v in state.items() if v is not None}, file)

    with_change(conv2_weight=None, bn1_bias=None)
    check_refused(file, "missing bn1.bias, conv2.weight")
    save_file(good | {"extra.weight": torch.zeros(1)}, file)
    check_refused(file, "unexpected extra.weight")
    with_change(conv2_weight=torch.zeros(16, 6, 3, 3))
    check_refused(file, "conv2.weight", "(16, 6, 3, 3)", "(16, 6, 5, 5)")
    with_change(fc2_weight=torch.full((84, 120), torch.nan))
    check_refused(file, "fc2.weight", "NaN")
    with_change(fc3_weight=torch.zeros(()))
    check_refused(file, "fc3.weight")
    save_file({f"k{i}": torch.zeros(1) for i in range(9)}, file)
    check_refused(file, "missing", "and 22 more")


def test_broken_files_are_refused(lenet, tmp_path):
    check_refused(tmp_path / "none.pth", "no such file")
    whole = tmp_path / "whole.safetensors"
    save_file(lenet.state_dict(), whole)
    torch.save(lenet.state_dict(), tmp_path / "whole.pth")
    for kept in (0, 5, 100, 5000):
        for suffix in ("safetensors", "pth"):
            cut = tmp_path / f"cut.{suffix}"
            cut.write_bytes((tmp_path / f"whole.{suffix}").read_bytes()[:kept])
            check_refused(cut, "not a readable")
    for content in ([1, 2], {}, {"a": 1}, {1: torch.zeros(1)}, torch.zeros(3)):
        torch.save(content, tmp_path / "other.pth")
        check_refused(tmp_path / "other.pth")


class Bomb:
    """A pickle of this would create a file when it is read."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


def test_code_in_a_pickle_is_never_run(lenet, tmp_path):
    target, file = tmp_path / "created", tmp_path / "bomb.pth"
    file.write_bytes(pickle.dumps({"state_dict": Bomb(target)}))
    check_refused(file, "not a readable")
    torch.save({**lenet.state_dict(), "x": Bomb(target)}, file)
    check_refused(file, "not a readable")
    file.write_bytes(pickle.dumps({k: v.numpy() for k, v in lenet.state_dict().items()}))
    check_refused(file, "not a readable")
    torch.save(lenet, file)
    check_refused(file, "not a readable")
    assert not target.exists()


def test_shipped_weights_are_named_when_there_are_none():
    with pytest.raises(InputError, match="no weights are shipped for resnet32_conv"):
        load_checkpoint("resnet32_conv")
    with pytest.raises(InputError, match="lenet5_adder on cifar10"):
        load_checkpoint("lenet5_adder", dataset="cifar10")


def test_of_several_shipped_weights_the_card_names_one():
    for name, card in CATALOGUE.items():
        shipped = weights_by_dataset(name)
        assert not card.dataset or card.dataset in shipped
        assert not shipped or shipped_weights(name) in shipped.values()
        assert all(shipped_weights(name, dataset) == file for dataset, file in shipped.items())
    assert shipped_weights("lenet5_adder").stem == "lenet5_adder-fashion_mnist"


@pytest.mark.parametrize(("name", "right"), [("lenet5_adder", 1843), ("lenet5_conv", 1851)])
def test_shipped_lenets_on_the_shipped_images(name, right):
    folder = Path(plain.__file__).parent.parent / "weights"
    with np.load(folder / "fashion_sample.npz") as sample:
        images, labels = torch.from_numpy(sample["images"]), torch.from_numpy(sample["labels"])
    with torch.no_grad():
        logits = load_checkpoint(name)((images / 255 - 0.2860) / 0.3530)
    assert abs(int((logits.argmax(1) == labels).sum()) - right) <= 2  # another processor may round a tie away


@pytest.fixture(scope="module")
def cifar10_test_images():
    reader = Path(DATA) / "images.py"
    if not DATA or not (Path(DATA) / "cifar10_test.xz").is_file() or not reader.is_file():
        pytest.skip("needs ADDERSIM_DATA with images.py and cifar10_test.xz")
    spec = importlib.util.spec_from_file_location("addersim_test_images", reader)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    images = module.decode((Path(DATA) / "cifar10_test.xz").read_bytes(), (10000, 32, 32, 3))[:1000]
    with np.load(Path(DATA) / "cifar10_labels.npz") as arrays:
        labels = arrays["test_labels"][:1000]
    return torch.from_numpy(images).permute(0, 3, 1, 2) / 255, torch.from_numpy(labels)


@pytest.mark.parametrize(
    ("name", "file", "mean", "std", "right"),
    [
        ("resnet20_adder", "ResNet20-AdderNet.pth", (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010), 916),
        ("resnet20_conv", "resnet20-12fca82f.th", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 915),
    ],
)
def test_published_resnet20_has_its_published_accuracy(name, file, mean, std, right, cifar10_test_images):
    images, labels = cifar10_test_images
    mean, std = (torch.tensor(v)[:, None, None] for v in (mean, std))
    with torch.no_grad():
        logits = load_checkpoint(name, Path(DATA) / "checkpoints" / file)((images - mean) / std)
    hits = int((logits.argmax(1) == labels).sum())
    assert hits >= 910  # published: 91.8 and 91.73 % of 10,000
    assert hits == right
