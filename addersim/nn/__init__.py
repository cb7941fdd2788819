"""AdderNet in PyTorch: layers, their gradients, models and checkpoints.

The names are loaded at first use, so that :mod:`addersim.nn.catalogue` can be read without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from addersim.nn.batch_norm import reestimate_batch_norm
    from addersim.nn.checkpoint import load_checkpoint
    from addersim.nn.conversion import convert
    from addersim.nn.layers import AdderConv2d, AdderLinear
    from addersim.nn.models import MODELS, build_model
    from addersim.nn.rates import adaptive_rate, parameter_groups, rescale_in_backward

_HOME = {
    "MODELS": "models",
    "AdderConv2d": "layers",
    "AdderLinear": "layers",
    "adaptive_rate": "rates",
    "build_model": "models",
    "convert": "conversion",
    "load_checkpoint": "checkpoint",
    "parameter_groups": "rates",
    "reestimate_batch_norm": "batch_norm",
    "rescale_in_backward": "rates",
}
__all__ = [
    "MODELS",
    "AdderConv2d",
    "AdderLinear",
    "adaptive_rate",
    "build_model",
    "convert",
    "load_checkpoint",
    "parameter_groups",
    "reestimate_batch_norm",
    "rescale_in_backward",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
