"""convert: a network's convolutions become adder layers, in place; adder layers of other code become ours."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from addersim.nn.layers import AdderConv2d

FOREIGN = ("adder", "pat")  # parameter names of published adder layers: (K, C, R, S), or (K, C, R * S)


def convert(model: nn.Module, *, keep_first_last: bool = True) -> nn.Module:
    """Replace the convolutions of ``model`` by adder layers and return it.

    A layer that stands in several places stays one layer. A model that is itself a layer comes back as the new one.

    Parameters
    ----------
    model
        Any module; it is changed. Its linear layers stay, and so do lazy convolutions and subclasses of ``nn.Conv2d``.
        Layers of published adder code, recognised by a parameter called ``adder`` or ``pat``, become
        :class:`AdderConv2d` with the same weights; they count as adder layers, wherever they stand.
    keep_first_last
        Whether the first convolution, and the last one if no linear layer comes behind it, stay what they are, as
        in the published networks. Order is that of the modules' definition.

    Raises
    ------
    InputError
        If a convolution pads with anything but zeros, or more on one side than on the other.

    Notes
    -----
    New adder layers start from N(0, 1): the weights of a convolution mean nothing to an adder layer.

    Examples
    --------
    >>> from torch import nn
    >>> from addersim.nn import convert
    >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Flatten(), nn.LazyLinear(10))
    >>> [type(layer).__name__ for layer in convert(model)]
    ['Conv2d', 'AdderConv2d', 'Flatten', 'LazyLinear']
    """
    kept = _ends(model) if keep_first_last else set()
    ours = {layer: _ours(layer, layer in kept) for layer in model.modules()}
    for parent in list(model.modules()):
        for name, layer in parent._modules.items():  # named_children leaves out a layer's second name
            if layer is not None and (new := ours.get(layer)) is not None:
                setattr(parent, name, new)
    return ours.get(model) or model


def _ours(layer: nn.Module, kept: bool) -> AdderConv2d | None:
    if _foreign_weight(layer) is not None:
        return _adopted(layer)
    return _replaced(layer) if type(layer) is nn.Conv2d and not kept else None


def _ends(model: nn.Module) -> set[nn.Module]:
    """Return the first convolution, and the last layer with weights if it is one."""
    weighted = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear) or _foreign_weight(m) is not None]
    convolutions = [m for m in weighted if isinstance(m, nn.Conv2d)]
    last = weighted[-1:] if weighted and isinstance(weighted[-1], nn.Conv2d) else []
    return {*convolutions[:1], *last}


def _replaced(conv: nn.Conv2d) -> AdderConv2d:
    kernel, stride, dilation = (_two(v) for v in (conv.kernel_size, conv.stride, conv.dilation))
    padding = conv.padding if isinstance(conv.padding, str) else _two(conv.padding)
    return AdderConv2d(
        conv.in_channels, conv.out_channels, kernel, stride, padding, dilation, conv.groups, conv.bias is not None,
        conv.padding_mode, conv.weight.device, conv.weight.dtype,
    ).train(conv.training)  # fmt: skip


def _foreign_weight(layer: nn.Module) -> Tensor | None:
    """Return the parameter that makes a layer an adder layer of published code, as (K, C, R, S)."""
    if isinstance(layer, AdderConv2d):
        return None
    for name in FOREIGN:
        weight = getattr(layer, name, None)
        if isinstance(weight, nn.Parameter) and weight.dim() == 4:
            return weight
        if isinstance(weight, nn.Parameter) and weight.dim() == 3:
            side = math.isqrt(weight.shape[2])
            return weight.view(*weight.shape[:2], side, side) if side**2 == weight.shape[2] else None
    return None


def _adopted(layer: nn.Module) -> AdderConv2d:
    weight = _foreign_weight(layer)
    assert weight is not None
    K, C, R, S = weight.shape
    stride, padding = _two(getattr(layer, "stride", 1)), _two(getattr(layer, "padding", 0))
    dilation, groups = _two(getattr(layer, "dilation", 1)), int(getattr(layer, "groups", 1))
    bias = next((b for b in (getattr(layer, name, None) for name in ("bias", "b")) if isinstance(b, Tensor)), None)
    ours = AdderConv2d(
        C * groups, K, (R, S), stride, padding, dilation, groups, bias is not None,
        device=weight.device, dtype=weight.dtype,
    )  # fmt: skip
    with torch.no_grad():
        ours.weight.copy_(weight)
        if bias is not None and ours.bias is not None:
            ours.bias.copy_(bias)
    return ours.train(layer.training)


def _two(value: Any) -> tuple[int, int]:
    return (int(value), int(value)) if isinstance(value, int) else (int(value[0]), int(value[1]))
