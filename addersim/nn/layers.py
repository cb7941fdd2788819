"""AdderConv2d and AdderLinear: drop-in for nn.Conv2d and nn.Linear."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from addersim.errors import InputError
from addersim.nn.functional import adder_conv2d, adder_linear
from addersim.nn.operations import TEMPORARY_BYTES, check_options

Size = int | Sequence[int]
Pair = tuple[int, int]


def _padding(value: Size | str, kernel: Pair, stride: Pair, dilation: Pair) -> Pair:
    """Return numbers for "valid" and for a "same" that pads alike on both sides."""
    if value == "valid":
        return (0, 0)
    if value != "same":
        return _pair("padding", value, 0)  # type: ignore[arg-type]
    both = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    if stride != (1, 1) or any(total % 2 for total in both):
        raise InputError("padding='same' needs stride 1 and dilation * (kernel_size - 1) even")
    return both[0] // 2, both[1] // 2


def _pair(name: str, value: Size, least: int) -> tuple[int, int]:
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if not (len(pair) == 2 and all(isinstance(v, int) and v >= least for v in pair)):
        raise InputError(f"{name} must be one or two integers >= {least}, got {value!r}")
    return pair[0], pair[1]


def _check(in_channels: int, out_channels: int, groups: int, padding_mode: str) -> None:
    if groups < 1 or in_channels % groups or out_channels % groups:
        raise InputError(f"groups={groups} must divide in_channels={in_channels} and out_channels={out_channels}")
    if padding_mode != "zeros":
        raise InputError(f"padding_mode must be 'zeros', got {padding_mode!r}")


class AdderConv2d(nn.Module):
    """Adder convolution, ``y = -sum |x - w| (+ bias)``, with the constructor of :class:`torch.nn.Conv2d`.

    Weights start as N(0, 1) and the bias as 0: Chen et al., CVPR 2020; huawei-noah/AdderNet adder.py.

    Parameters
    ----------
    in_channels, out_channels
        C and K.
    kernel_size, stride, padding, dilation
        One integer or two, or a padding of ``"valid"`` or ``"same"``. Padding is with zeros, and padded pixels take
        part: ``|0 - w|``.
    groups
        Divides C and K.
    bias
        Adds one number per output channel. The published networks have batch norm instead.
    weight_gradient
        ``"full"`` for the full-precision gradient ``x - w``, ``"sign"`` for ``sign(x - w)``, the paper's ablation.
        Also an attribute, which may be changed between steps.
    temporary_bytes
        Bounds the temporaries where the C loops do not apply: :func:`addersim.nn.functional.adder_conv2d`.

    Raises
    ------
    InputError
        If a size or ``groups`` makes no sense.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Size | str = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        weight_gradient: str = "full",
        temporary_bytes: int = TEMPORARY_BYTES,
    ) -> None:
        super().__init__()
        check_options(weight_gradient, temporary_bytes)
        self.weight_gradient, self.temporary_bytes = weight_gradient, temporary_bytes
        _check(in_channels, out_channels, groups, padding_mode)
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size = _pair("kernel_size", kernel_size, 1)
        self.stride, self.dilation = _pair("stride", stride, 1), _pair("dilation", dilation, 1)
        self.padding = _padding(padding, self.kernel_size, self.stride, self.dilation)
        shape = (out_channels, in_channels // groups, *self.kernel_size)
        self.weight = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(out_channels, device=device, dtype=dtype)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights from N(0, 1) and set the bias to 0."""
        nn.init.normal_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return y (N, K, P, Q) for x (N, C, H, W), or without N for an x without."""
        if x.dim() == 3:
            return self(x[None])[0]  # type: ignore[no-any-return]
        how = (self.stride, self.padding, self.dilation, self.groups, self.weight_gradient, self.temporary_bytes)
        y = adder_conv2d(x, self.weight, *how)
        return y if self.bias is None else y + self.bias[:, None, None]

    def extra_repr(self) -> str:
        """Return the arguments, for ``print(model)``."""
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}, "
            f"padding={self.padding}, dilation={self.dilation}, groups={self.groups}, "
            f"bias={self.bias is not None}, weight_gradient={self.weight_gradient!r}"
        )


class AdderLinear(nn.Module):
    """Fully connected adder layer, ``y = -sum |x - w| (+ bias)``, with the constructor of nn.Linear.

    Weights start as N(0, 1) and the bias as 0, and the options are those of :class:`AdderConv2d`.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        weight_gradient: str = "full",
        temporary_bytes: int = TEMPORARY_BYTES,
    ) -> None:
        super().__init__()
        check_options(weight_gradient, temporary_bytes)
        self.weight_gradient, self.temporary_bytes = weight_gradient, temporary_bytes
        self.in_features, self.out_features = in_features, out_features
        self.weight = nn.Parameter(torch.empty(out_features, in_features, device=device, dtype=dtype))
        self.bias = nn.Parameter(torch.empty(out_features, device=device, dtype=dtype)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights from N(0, 1) and set the bias to 0."""
        nn.init.normal_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return y (..., K) for x (..., C)."""
        y = adder_linear(x, self.weight, self.weight_gradient, self.temporary_bytes)
        return y if self.bias is None else y + self.bias

    def extra_repr(self) -> str:
        """Return the arguments, for ``print(model)``."""
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}, "
            f"weight_gradient={self.weight_gradient!r}"
        )
