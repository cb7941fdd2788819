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
    from addersim.nn.gradient import scale_adder_gradients
    from addersim.nn.layers import AdderConv2d, AdderLinear
    from addersim.nn.models import MODELS, build_model

_HOME = {
    "MODELS": "models",
    "AdderConv2d": "layers",
    "AdderLinear": "layers",
    "build_model": "models",
    "convert": "conversion",
    "load_checkpoint": "checkpoint",
    "reestimate_batch_norm": "batch_norm",
    "scale_adder_gradients": "gradient",
}
__all__ = [
    "MODELS",
    "AdderConv2d",
    "AdderLinear",
    "build_model",
    "convert",
    "load_checkpoint",
    "reestimate_batch_norm",
    "scale_adder_gradients",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
