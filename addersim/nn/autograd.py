"""What autograd, autocast and ``torch.func`` do with the adder operations; importing this registers it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from addersim.nn.operations import (
    ONE,
    ZERO,
    Ints,
    as_images,
    conv2d,
    conv2d_full_grad,
    conv2d_input_grad,
    conv2d_sign_grad,
    linear,
    linear_full_grad,
)

Operation = Callable[..., Tensor]


def transformed() -> bool:
    """Return whether this runs inside of ``torch.func``, where formulas need to be classes like the ones below."""
    return torch._C._are_functorch_transforms_active()


def _conv2d_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, w, *ctx.how, ctx.weight_gradient, ctx.temporary_bytes = inputs
    ctx.save_for_backward(x, w)


def _conv2d_backward(ctx: Any, gy: Tensor) -> tuple[Tensor | None, ...]:
    x, w = ctx.saved_tensors
    gx = gw = None
    if ctx.needs_input_grad[0]:
        gx = _once(conv2d_input_grad, gy, x, w, *ctx.how, ctx.temporary_bytes)
    if ctx.needs_input_grad[1] and ctx.weight_gradient == "sign":
        gw = _once(conv2d_sign_grad, gy, x, w, *ctx.how, ctx.temporary_bytes)
    elif ctx.needs_input_grad[1]:
        gw = conv2d_full_grad(gy, x, w, *ctx.how)
    return gx, gw, None, None, None, None, None, None


def _linear_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, w, ctx.weight_gradient, ctx.temporary_bytes = inputs
    ctx.save_for_backward(x, w)


def _linear_backward(ctx: Any, gy: Tensor) -> tuple[Tensor | None, ...]:
    """As in a convolution of images of one pixel."""
    x, w = ctx.saved_tensors
    images = as_images(gy), as_images(x), w[:, :, None, None], ONE, ZERO, ONE, 1, ctx.temporary_bytes
    gx = gw = None
    if ctx.needs_input_grad[0]:
        gx = _once(conv2d_input_grad, *images).reshape(x.shape)
    if ctx.needs_input_grad[1] and ctx.weight_gradient == "sign":
        gw = _once(conv2d_sign_grad, *images).reshape(w.shape)
    elif ctx.needs_input_grad[1]:
        gw = linear_full_grad(gy, x, w)
    return gx, gw, None, None


class Conv2d(Function):
    """``addersim::adder_conv2d`` with its gradients, for use inside of ``torch.func``."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        x: Tensor, w: Tensor, stride: Ints, padding: Ints, dilation: Ints, groups: int, weight_gradient: str,
        temporary_bytes: int,
    ) -> Tensor:  # fmt: skip
        """Call the operation."""
        y: Tensor = conv2d(x, w, stride, padding, dilation, groups, weight_gradient, temporary_bytes)
        return y

    setup_context = staticmethod(_conv2d_setup)
    backward = staticmethod(_conv2d_backward)


class Linear(Function):
    """``addersim::adder_linear`` with its gradients, for use inside of ``torch.func``."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, w: Tensor, weight_gradient: str, temporary_bytes: int) -> Tensor:
        """Call the operation."""
        y: Tensor = linear(x, w, weight_gradient, temporary_bytes)
        return y

    setup_context = staticmethod(_linear_setup)
    backward = staticmethod(_linear_backward)


def _no_setup(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    pass


def _no_backward(ctx: Any, *_: Tensor) -> Any:
    raise RuntimeError("adder layers: the clipped and the sign gradient have no derivative")


class _Once(Function):
    """A gradient inside of ``torch.func``: it can be mapped, but not be differentiated."""

    generate_vmap_rule = True

    @staticmethod
    def forward(operation: Operation, *arguments: Any) -> Tensor:
        return operation(*arguments)

    setup_context = staticmethod(_no_setup)
    backward = staticmethod(_no_backward)


def _once(operation: Operation, *arguments: Any) -> Tensor:
    if not transformed():
        return operation(*arguments)
    gradient: Tensor = _Once.apply(operation, *arguments)  # type: ignore[no-untyped-call]
    return gradient


def _batch_first(batch: int, tensors: Sequence[Tensor], dims: Sequence[int | None]) -> list[Tensor]:
    return [
        t.expand(batch, *t.shape) if dim is None else t.movedim(dim, 0)
        for t, dim in zip(tensors, dims[: len(tensors)], strict=True)
    ]


def _in_groups(batch: int, tensors: Sequence[Tensor], dims: Sequence[int | None], kinds: str) -> list[Tensor]:
    """Return the members of a batch side by side: images ("x") along their channels, weights ("w") along K."""
    return [
        t.movedim(0, 1).flatten(1, 2) if kind == "x" else t.flatten(0, 1)
        for t, kind in zip(_batch_first(batch, tensors, dims), kinds, strict=True)
    ]


def _mapped(operation: Operation, kinds: str, result: int) -> Callable[..., tuple[Tensor, int]]:
    """Return the rule of ``torch.vmap``: every member of the batch is a group of channels."""

    def rule(info: Any, dims: Sequence[int | None], *arguments: Any) -> tuple[Tensor, int]:
        tensors = _in_groups(info.batch_size, arguments[: len(kinds)], dims, kinds)
        stride, padding, dilation, groups, *options = arguments[len(kinds) :]
        y = operation(*tensors, stride, padding, dilation, groups * info.batch_size, *options)
        return y.unflatten(result, (info.batch_size, -1)), result  # type: ignore[no-untyped-call]

    return rule


_mapped_conv2d = _mapped(conv2d, "xw", 1)


def _mapped_linear(info: Any, dims: Sequence[int | None], x: Tensor, w: Tensor, *options: Any) -> tuple[Tensor, int]:
    x, w = _batch_first(info.batch_size, (x, w), dims)
    images = x.reshape(len(x), -1, x.shape[-1], 1, 1)
    y, at = _mapped_conv2d(info, (0, 0), images, w[..., None, None], ONE, ZERO, ONE, 1, *options)
    return y.movedim(at, 0).reshape(*x.shape[:-1], w.shape[1]), 0


conv2d.register_autograd(_conv2d_backward, setup_context=_conv2d_setup)
linear.register_autograd(_linear_backward, setup_context=_linear_setup)
conv2d.register_vmap(_mapped_conv2d)
linear.register_vmap(_mapped_linear)
for gradient, result in ((conv2d_input_grad, 1), (conv2d_sign_grad, 0)):
    gradient.register_autograd(_no_backward, setup_context=_no_setup)
    gradient.register_vmap(_mapped(gradient, "xxw", result))
for operation in (conv2d, linear):
    for device in ("cpu", "cuda"):
        operation.register_autocast(device, torch.float32)
