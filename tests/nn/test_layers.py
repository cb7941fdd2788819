"""Adder layers and their gradients against the definition; what is refused."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from addersim.errors import InputError
from addersim.nn import AdderConv2d, AdderLinear
from addersim.nn.functional import adder_conv2d, adder_linear


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
