"""Where numbers stop being finite: the first layer, in the order of a forward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def first_not_finite(model: nn.Module, images: Tensor) -> str | None:
    """Return what is not finite in the layer that meets it first: a parameter before the layer's output.

    Runs the model once more, in the mode in which it is, without gradients. Batch norms in training mode move
    their running statistics, so that the model is not to be trained on afterwards.

    Returns
    -------
    str or None
        Such as ``"the weight of conv2"`` or ``"the output of bn1"``; None if all is finite.
    """
    found: list[str] = []
    layers = [(name, m) for name, m in model.named_modules() if not list(m.children())]
    hooks = [layer.register_forward_hook(_looker(name, found)) for name, layer in layers]
    try:
        with torch.no_grad():
            model(images)
    finally:
        for hook in hooks:
            hook.remove()
    return found[0] if found else first_not_finite_parameter(model)


def first_not_finite_parameter(model: nn.Module) -> str | None:
    """Return the first parameter or buffer that holds NaN or infinity, such as ``"the weight of conv2"``."""
    tensors = [*model.named_parameters(), *model.named_buffers()]
    name = next((name for name, value in tensors if not torch.isfinite(value).all()), None)
    if name is None:
        return None
    layer, _, what = name.rpartition(".")
    return f"the {what} of {layer or 'the network'}"


def _looker(name: str, found: list[str]) -> Callable[[nn.Module, Any, Tensor], None]:
    """Return a hook that notes what is not finite in one layer."""

    def look(layer: nn.Module, _inputs: Any, output: Tensor) -> None:
        bad = [what for what, value in layer.named_parameters() if not torch.isfinite(value).all()]
        if bad or not torch.isfinite(output).all():
            found.append(f"the {bad[0] if bad else 'output'} of {name or 'the network'}")

    return look
