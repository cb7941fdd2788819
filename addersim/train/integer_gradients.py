"""What autograd does with the nodes of an integer network: the float layers' gradients, straight through the roundings.

A node's ``r`` is its output in codes before the rounding, ``r = (t * M_k + A_k) / 2**n_k``; its edge's value is
``(round(clamp(r)) - zero_point) * step``. Tensors are N C H W or (N, C), and hold what the integers mean.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd import Function

from addersim.arithmetic.fixed import Ints
from addersim.network.node import EdgeFormat, Node
from addersim.network.ops import OPS
from addersim.nn.operations import TEMPORARY_BYTES, as_images, conv2d_full_grad, conv2d_input_grad, conv2d_sign_grad

Numbers = NDArray[np.floating[Any]]


class Layer(NamedTuple):
    """A layer's integers, its input's format, the format that its output stage leads to, whether the layer's batch
    norm took its mean and variance from this batch, and whether an adder layer's gradients are signs.
    """

    node: Node
    x: EdgeFormat
    out: EdgeFormat
    normed: bool = False
    signs: bool = False

    @property
    def gain_k(self) -> Tensor:
        """The gain from t to codes, ``M_k / 2**n_k``."""
        return _per_channel(self.node.params["multiplier_k"] / 2.0 ** self.node.params["shift_k"])

    @property
    def weight_kcrs(self) -> Tensor:
        """The weights that the codes stand for; in a multiplier layer in units of its output's codes and input's step.

        An adder layer's are real numbers, ``((code << weight_shift) - zero_point) * step``.
        """
        path, w_krsc = self.node.path, self.node.params["w_krsc"].astype(np.float64)
        if path.kind == "adder":
            w_krsc = (w_krsc * (1 << path.weight_shift) - self.x.zero_point) * self.x.step
        else:
            w_krsc = w_krsc * self.gain_k.double().numpy()[:, None, None, None] / self.x.step
        return torch.from_numpy(np.ascontiguousarray(w_krsc.transpose(0, 3, 1, 2), np.float32))

    def scaled(self, x: Tensor) -> Tensor:
        """Return r of a scale node for real inputs."""
        start_k = _per_channel(self.node.params["offset_k"] / 2.0 ** self.node.params["shift_k"])
        return x * channels(self.gain_k / self.x.step, x) + channels(start_k, x)

    def before_rounding(self, t_npqk: Ints) -> Tensor:
        """Return r from t, channels last."""
        start_k = _per_channel(self.node.params["offset_k"] / 2.0 ** self.node.params["shift_k"])
        t = torch.from_numpy(t_npqk)
        t = (t.permute(0, 3, 1, 2) if t.dim() == 4 else t).to(torch.float32, memory_format=torch.contiguous_format)
        return t.mul_(channels(self.gain_k, t)).add_(channels(start_k, t))


def real(codes: Ints, form: EdgeFormat) -> Tensor:
    """Return what codes, channels last, stand for, channels first, in float32."""
    tensor = torch.from_numpy(codes)
    if tensor.dim() == 4:
        tensor = tensor.permute(0, 3, 1, 2)
    value = tensor.to(torch.float32, memory_format=torch.contiguous_format)
    return value.sub_(form.zero_point).mul_(form.step)


class Round(Function):
    """From r to the values of a rounded edge, which are given; zero gradient outside the clamp.

    The step's gradient is that of Esser et al., "Learned Step Size Quantization", ICLR 2020: ``code - r`` inside the
    clamp and the clamp's code outside, both less the zero point, times ``1 / sqrt(N * Q)`` with N the values per image
    and Q the largest code.
    """

    @staticmethod
    def forward(ctx: Any, r: Tensor, step: Tensor, value: Tensor, form: EdgeFormat, low: int) -> Tensor:
        ctx.save_for_backward(r, value)
        ctx.form, ctx.low = form, low
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, gy: Tensor) -> tuple[Tensor | None, ...]:
        (r, value), form = ctx.saved_tensors, ctx.form
        inside = (r >= ctx.low) & (r <= form.format.max)
        gr = gy * inside
        gs = None
        if ctx.needs_input_grad[1]:
            scale = 1 / math.sqrt(r[0].numel() * (form.format.max - form.zero_point))
            gs = ((gy * value).sum() / form.step - (gr * (r - form.zero_point)).sum()) * scale
        return gr.mul_(form.step), gs, None, None, None


class Stage(Function):
    """A layer with its output stage: r is given.

    ``gain_k`` and ``offset_k`` are the batch norm's, in real numbers; ``step`` is the input's, from which an adder
    layer's weights have theirs. Mean and variance of this batch depend on the layer, too: what goes back through them
    takes mean and correlation with the output away from the gradient, channel by channel.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, gain_k: Tensor, offset_k: Tensor, step: Tensor, r: Tensor, layer: Layer
    ) -> Tensor:
        ctx.save_for_backward(x, weight, gain_k, r)
        ctx.layer = layer
        return r.view_as(r)

    @staticmethod
    def backward(ctx: Any, gr: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, gain_k, r = ctx.saved_tensors
        layer: Layer = ctx.layer
        axes = [0, 2, 3] if gr.dim() == 4 else [0]
        sums_k = gr.sum(axes)
        start_k = _per_channel(layer.node.params["offset_k"] / 2.0 ** layer.node.params["shift_k"])
        slope_k = (gr * r).sum(axes) - sums_k * start_k
        g_gain = torch.where(gain_k == 0, 0, slope_k / torch.where(gain_k == 0, 1, gain_k))
        gr_image, x_image = (t if t.dim() == 4 else as_images(t) for t in (gr, x))
        if OPS[layer.node.kind].array == "adder":
            gr_image = _centred(gr, r, axes).reshape(gr_image.shape) if layer.normed else gr_image
            w = weight if weight.dim() == 4 else weight[:, :, None, None]
            gx, gw, gs = _adder(layer, gr_image, x_image, w, ctx.needs_input_grad[0])
        else:
            gx, gw, gs = _multiplier(layer, gr_image, x_image, gain_k, ctx.needs_input_grad[0])
        gx = None if gx is None else gx.reshape(x.shape)
        return gx, gw.reshape(weight.shape), g_gain, sums_k / layer.out.step, gs, None, None


def _centred(gr: Tensor, r: Tensor, axes: list[int]) -> Tensor:
    """Return the gradient without its mean and its correlation with the output, per channel."""
    r = r - r.mean(axes, keepdim=True)
    gr = gr - gr.mean(axes, keepdim=True)
    slope = (gr * r).sum(axes, keepdim=True) / r.square().sum(axes, keepdim=True).clamp_min(1e-12)
    return gr.sub_(r.mul_(slope))


def _adder(
    layer: Layer, gr: Tensor, x: Tensor, weight: Tensor, wants_x: bool
) -> tuple[Tensor | None, Tensor, Tensor | None]:
    """Return the gradients of AdderNet at the values that the integers stand for; zero for weights in the clamp.

    Differences of codes are integers, so -1, 0 or 1 once they are clipped: in codes, the inputs' gradient is the sign.
    """
    how, w = _window(layer.node), layer.weight_kcrs
    gy = gr * (layer.gain_k / layer.x.step)[:, None, None]
    codes = [(values / layer.x.step).round_() for values in (x, w)] if layer.signs else [x, w]
    gx = conv2d_input_grad(gy, *codes, *how, TEMPORARY_BYTES) if wants_x else None
    path = layer.node.path
    low, high = ((code << path.weight_shift) - layer.x.zero_point for code in (path.w.min, path.w.max))
    gw = conv2d_sign_grad(gy, *codes, *how, TEMPORARY_BYTES) if layer.signs else conv2d_full_grad(gy, x, w, *how)
    gw = gw * ((weight >= low * layer.x.step) & (weight <= high * layer.x.step))
    scale = layer.x.step * math.sqrt(w.numel() * max(high, 1))
    return gx, gw, (gw * (w - weight)).sum() / scale


def _multiplier(
    layer: Layer, gr: Tensor, x: Tensor, gain_k: Tensor, wants_x: bool
) -> tuple[Tensor | None, Tensor, None]:
    """Return the gradients of a convolution; its batch norm is folded into the weights, ``w * gain_k``."""
    stride, padding, dilation, groups = _window(layer.node)
    gx, g_folded, _ = torch.ops.aten.convolution_backward(
        gr, x, layer.weight_kcrs, None, stride, padding, dilation, False, [0, 0], groups, [wants_x, True, False]
    )
    return gx, g_folded * (gain_k / layer.out.step)[:, None, None, None], None


def _window(node: Node) -> tuple[Any, ...]:
    a = node.attrs
    pairs = [list(a.get(key, default)) for key, default in (("stride", (1, 1)), ("padding", (0, 0)))]
    return *pairs, list(a.get("dilation", (1, 1))), a.get("groups", 1)


def _per_channel(values: Numbers) -> Tensor:
    return torch.from_numpy(np.asarray(values, np.float32))


def channels(values_k: Tensor, x: Tensor) -> Tensor:
    """Return a number per channel so that they broadcast over x, (N, K, H, W) or (N, K)."""
    return values_k[:, None, None] if x.dim() == 4 else values_k


class Replace(Function):
    """The values of the integers in place of those of floats, which differ by float32's rounding; same gradient."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, value: Tensor) -> Tensor:
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, gy: Tensor) -> tuple[Tensor, None]:
        return gy, None
