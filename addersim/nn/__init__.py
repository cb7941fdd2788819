"""AdderNet in PyTorch: layers, their gradients, models and checkpoints.

The names are loaded at first use, so that :mod:`addersim.nn.catalogue` can be read without torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from addersim.shelf import lazy

if TYPE_CHECKING:
    from addersim.nn import functional as functional
    from addersim.nn.batch_norm import reestimate_batch_norm as reestimate_batch_norm
    from addersim.nn.checkpoint import load_checkpoint as load_checkpoint
    from addersim.nn.conversion import convert as convert
    from addersim.nn.layers import AdderConv2d as AdderConv2d
    from addersim.nn.layers import AdderLinear as AdderLinear
    from addersim.nn.models import MODELS as MODELS
    from addersim.nn.models import build_model as build_model
    from addersim.nn.rates import adaptive_rate as adaptive_rate
    from addersim.nn.rates import parameter_groups as parameter_groups
    from addersim.nn.rates import rescale_in_backward as rescale_in_backward

_NAMES = {
    "": "functional",
    "batch_norm": "reestimate_batch_norm",
    "checkpoint": "load_checkpoint",
    "conversion": "convert",
    "layers": "AdderConv2d AdderLinear",
    "models": "MODELS build_model",
    "rates": "adaptive_rate parameter_groups rescale_in_backward",
}
__all__ = sorted(name for names in _NAMES.values() for name in names.split())
if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(__name__, _NAMES)
