"""Adder layers under everything PyTorch does to modules: autograd checks, torch.func, compilers, types, memory."""

import copy
import shutil

import pytest
import torch
from torch import nn
from torch.autograd import gradcheck
from torch.profiler import ProfilerActivity, profile

import addersim
from addersim.nn import AdderConv2d, AdderLinear
from addersim.nn.functional import adder_conv2d, adder_linear
from addersim.nn.operations import TEMPORARY_BYTES

BOTH = pytest.mark.parametrize("weight_gradient", ["full", "sign"])


def network(weight_gradient="full", **options):
    torch.manual_seed(0)
    options["weight_gradient"] = weight_gradient
    conv = AdderConv2d(2, 4, 3, stride=2, padding=1, groups=2, **options)
    return nn.Sequential(nn.Conv2d(3, 2, 3), conv, nn.Flatten(), AdderLinear(36, 5, **options))


def images(n=3, dtype=torch.float32):
    return torch.randn(n, 3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=dtype)


def gradients(model, x):
    return torch.autograd.grad(model(x).square().mean(), list(model.parameters()))


def assert_all_close(got, expected, **tolerance):
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, **tolerance)


@pytest.mark.parametrize("elements", [TEMPORARY_BYTES, 64])
def test_sign_gradient_and_hardtanh_beyond_one_pass_gradcheck(elements):
    """With every |x - w| >= 1, HardTanh is the sign too, and both gradients are the derivatives."""
    generator = torch.Generator().manual_seed(0)
    x, w = (torch.randint(-3, 4, s, generator=generator).double() * 3 for s in ((2, 4, 4, 4), (4, 2, 3, 2)))
    how = ((2, 1), (1, 0), (1, 2), 2, "sign", elements)
    assert gradcheck(lambda x, w: adder_conv2d(x, w, *how), (x.requires_grad_(), (w + 1.4).requires_grad_()))
    rows, weights = x.detach().reshape(-1, 8)[:, :6], (w[:, :1].reshape(4, 6) + 1.4).detach()
    assert gradcheck(lambda x, w: adder_linear(x, w, "sign"), (rows.requires_grad_(), weights.requires_grad_()))


def test_paddings_by_name_are_those_of_conv2d():
    x = torch.randn(1, 2, 9, 9)
    for how in ({"padding": "valid", "stride": 2}, {"padding": "same", "dilation": (2, 1)}):
        adder, conv = AdderConv2d(2, 3, (2, 3), **how), nn.Conv2d(2, 3, (2, 3), **how)
        assert adder(x).shape == conv(x).shape
    for wrong in ({"stride": 2}, {"dilation": (1, 1)}):
        with pytest.raises(addersim.errors.InputError, match="padding='same'"):
            AdderConv2d(2, 3, (2, 3), padding="same", **wrong)


def largest_allocation_bytes(run):
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        run()
    return max(event.self_cpu_memory_usage for event in seen.events())


def forward_and_backward(weight_gradient, dtype, temporary_bytes):
    layer = AdderConv2d(4, 8, 3, dtype=dtype, weight_gradient=weight_gradient, temporary_bytes=temporary_bytes)
    x = torch.randn(2, 4, 12, 12, dtype=dtype, requires_grad=True)
    return lambda: layer(x).sum().backward()


@pytest.mark.parametrize("bound", [1_000, 20_000])
def test_temporaries_are_bounded(bound):
    """The differences of one tap would be 51 kB. (The full gradient of w is a convolution's, memory and all.)"""
    y_bytes = 8 * 2 * 8 * 10 * 10  # the largest operand
    assert largest_allocation_bytes(forward_and_backward("sign", torch.float64, bound)) <= max(y_bytes, bound)
    unbounded = forward_and_backward("sign", torch.float64, TEMPORARY_BYTES)
    assert largest_allocation_bytes(unbounded) == y_bytes * 4


@BOTH
def test_float32_on_the_cpu_needs_the_memory_of_its_operands(weight_gradient):
    run = forward_and_backward(weight_gradient, torch.float32, TEMPORARY_BYTES)
    assert largest_allocation_bytes(run) <= 4 * 2 * 8 * 10 * 10


@BOTH
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_func_grad_and_per_sample_gradients(weight_gradient, dtype):
    model, x = network(weight_gradient).to(dtype), images(dtype=dtype)
    weights = dict(model.named_parameters())

    def loss(weights, x):
        return torch.func.functional_call(model, weights, (x[None] if x.dim() == 3 else x,)).square().mean()

    assert_all_close(torch.func.grad(loss)(weights, x).values(), gradients(model, x))
    mapped = torch.func.vmap(torch.func.grad(loss), (None, 0))(weights, x)
    for i in range(len(x)):
        assert_all_close((g[i] for g in mapped.values()), gradients(model, x[i : i + 1]), rtol=1e-4, atol=1e-5)
    by_x = torch.func.vmap(torch.func.grad(loss, 1), (None, 0))(weights, x)
    x.requires_grad_()
    expected = torch.autograd.grad(sum(loss(weights, one) for one in x), x)[0]
    torch.testing.assert_close(by_x, expected, rtol=1e-4, atol=1e-5)


def test_vmap_over_weights_is_an_ensemble():
    models, x = [network() for _ in range(3)], images()
    for i, model in enumerate(models):
        model[1].weight.data += i
    weights, buffers = torch.func.stack_module_state(models)
    mapped = torch.func.vmap(lambda w, b, x: torch.func.functional_call(models[0], (w, b), (x,)), (0, 0, None))
    torch.testing.assert_close(mapped(weights, buffers, x), torch.stack([model(x) for model in models]))


def test_vmap_over_any_axis():
    x, w = torch.randn(2, 4, 5, 3, 6), torch.randn(6, 2, 3, 3, 7)
    y = torch.func.vmap(lambda x: torch.func.vmap(lambda w: adder_conv2d(x, w, groups=2), 4, 4)(w), 3)(x)
    assert y.shape == (3, 2, 6, 3, 4, 7)
    torch.testing.assert_close(y[1, ..., 2], adder_conv2d(x[:, :, :, 1], w[..., 2], groups=2))


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")  # by torch.func.jvp itself
def test_second_derivatives_are_right_or_refused():
    """That of the full gradient of w, ``sum (x - w) gy(w)``, against autograd; HardTanh and sign have none."""
    x, w = torch.randn(5, 3, dtype=torch.float64), torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    direction = torch.randn(2, 3, dtype=torch.float64)
    (first,) = torch.autograd.grad(adder_linear(x, w).sum(), w, create_graph=True)
    (second,) = torch.autograd.grad((first * direction).sum(), w)
    torch.testing.assert_close(second, -5 * direction)
    y = adder_linear(x.requires_grad_(), w, "sign").square().sum()
    for leaf in (x, w):
        (first,) = torch.autograd.grad(y, leaf, create_graph=True)
        with pytest.raises(RuntimeError, match="have no derivative"):
            first.sum().backward()
    loss = lambda x: adder_linear(x, w.detach()).square().sum()  # noqa: E731
    with pytest.raises(RuntimeError, match="have no derivative"):
        torch.func.jacrev(torch.func.grad(loss))(x.detach())
    with pytest.raises(RuntimeError, match="forward mode"):
        torch.func.jvp(loss, (x.detach(),), (x.detach(),))


@BOTH
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_float32_rounded_once(weight_gradient, dtype):
    x, w, gy = torch.randn(2, 3, 6, 6).to(dtype), torch.randn(4, 3, 3, 3).to(dtype), torch.randn(2, 4, 4, 4).to(dtype)
    results = []
    for t in (dtype, torch.float32):
        a, b = x.to(t, copy=True).requires_grad_(), w.to(t, copy=True).requires_grad_()
        y = adder_conv2d(a, b, weight_gradient=weight_gradient)
        results.append((y, *torch.autograd.grad(y, (a, b), gy.to(t))))
    for half, single in zip(*results, strict=True):
        assert torch.equal(half, single.to(dtype))
    assert adder_linear(x[0, 0], w[:, 0, :2].flatten(1)).dtype == dtype


@pytest.mark.parametrize("how", ["eager", "func", "compiled"])
def test_under_autocast_adder_layers_stay_in_float32(how):
    model, x = network(), images()
    types = []
    for layer in model:
        layer.register_forward_hook(lambda layer, inputs, y: types.append(y.dtype))

    def loss(weights):
        with torch.autocast("cpu", torch.bfloat16):
            return torch.func.functional_call(model, weights, (x,)).square().mean()

    weights = dict(model.named_parameters())
    if how == "func":
        grads = torch.func.grad(loss)(weights).values()
    else:
        run = torch.compile(loss, backend="aot_eager") if how == "compiled" else loss
        grads = torch.autograd.grad(run(weights), list(weights.values()))
    if how != "compiled":
        assert types == [torch.bfloat16, torch.float32, torch.float32, torch.float32]
    assert all(g.dtype == torch.float32 for g in grads)
    for grad, expected in zip(grads, gradients(network(), x), strict=True):
        assert (grad - expected).norm() < 0.05 * expected.norm()


@BOTH
def test_export_keeps_options_and_trains(weight_gradient):
    model, x = network(weight_gradient, temporary_bytes=1000), images()
    exported = torch.export.export(model, (x,)).module()
    torch.testing.assert_close(exported(x), model(x))
    assert_all_close(gradients(exported, x), gradients(model, x))
    targets = torch.ops.addersim.adder_conv2d.default, torch.ops.addersim.adder_linear.default
    found = [node for node in exported.graph.nodes if node.target in targets]
    assert [node.args[-2:] for node in found] == [(weight_gradient, 1000)] * 2
    assert len(addersim.from_torch(model, x[:1]).nodes) == 7


@BOTH
@pytest.mark.filterwarnings("ignore:.*torch.jit.script_method.*:DeprecationWarning")  # by inductor itself
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_compile_forward_and_backward(backend, weight_gradient):
    if backend == "inductor" and not shutil.which("g++"):
        pytest.skip("needs g++")
    model, x = network(weight_gradient), images()
    torch.compiler.reset()
    compiled = torch.compile(model, backend=backend, fullgraph=True)
    torch.testing.assert_close(compiled(x), model(x), rtol=1e-4, atol=1e-4)
    got = torch.autograd.grad(compiled(x).square().mean(), list(model.parameters()))
    assert_all_close(got, gradients(model, x), rtol=1e-4, atol=1e-4)


@BOTH
def test_meta_device_copies_and_state(weight_gradient):
    with torch.device("meta"):
        model = network(weight_gradient)
        for p, grad in zip(model.parameters(), gradients(model, torch.empty(3, 3, 8, 8)), strict=True):
            assert grad.is_meta and grad.shape == p.shape
    model = network(weight_gradient)
    twin, fresh = copy.deepcopy(model), network(weight_gradient)
    model[1].weight.data += 1
    fresh.load_state_dict(model.state_dict())
    assert twin[1].weight_gradient == weight_gradient
    assert_all_close(gradients(fresh, images()), gradients(model, images()), rtol=0, atol=0)
    assert not torch.equal(twin(images()), model(images()))
