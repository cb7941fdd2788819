"""The paper's optimiser: SGD with momentum and weight decay, a cosine learning rate, the adder layers' rate; Adam."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from addersim.nn.layers import AdderConv2d, AdderLinear
from addersim.nn.rates import adaptive_rate, parameter_groups
from addersim.train.recipe import Recipe


def learning_rate(recipe: Recipe, epoch: float) -> float:
    """Return ``0.5 * learning_rate * (1 + cos(pi * epoch / epochs))``, as in huawei-noah/AdderNet main.py.

    ``epoch`` counts from 0; with ``schedule = "batch"`` it is the part of the epoch that is done, too. During
    ``warmup_epochs`` it is a growing part of that.
    """
    warm = min(1.0, epoch / recipe.warmup_epochs) if recipe.warmup_epochs else 1.0
    return 0.5 * recipe.learning_rate * (1 + math.cos(math.pi * epoch / recipe.epochs)) * warm


def optimiser_of(recipe: Recipe, model: nn.Module, others: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
    """Return SGD or Adam over a model and what is trained along with it, the adder layers' weights in the second group.

    Every group has a ``factor``, by which :func:`set_learning_rate` multiplies its learning rate: 1, but for adder
    layers under ``adder_rate = "global"``. Under ``"adaptive"`` every step first rescales their gradients, and with
    ``eta_others`` those of all other parameters.
    """
    adaptive = recipe.adder_rate == "adaptive"
    eta, factor = (recipe.eta, 1.0) if adaptive else (None, recipe.adder_rate_factor)
    rest, adders = parameter_groups(model, eta, factor=factor)
    own = {} if recipe.eta_others is None else {"eta": recipe.eta_others}
    groups = [{"params": [*rest["params"], *others], "factor": 1.0, **own}, *([adders] if adders["params"] else [])]
    if recipe.optimiser == "adam":
        betas = recipe.momentum, 0.99
        return torch.optim.Adam(groups, recipe.learning_rate, betas, weight_decay=recipe.weight_decay)
    optimiser = torch.optim.SGD(groups, recipe.learning_rate, recipe.momentum, weight_decay=recipe.weight_decay)
    if any("eta" in group for group in groups):
        adaptive_rate(optimiser)
    return optimiser


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Give every group of parameters the learning rate times its factor."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group.get("factor", 1.0)  # checkpoints of earlier versions have no factor


def set_weight_gradient(recipe: Recipe, model: nn.Module) -> None:
    """Let the adder layers use the recipe's gradient of the weights."""
    for layer in model.modules():
        if isinstance(layer, AdderConv2d | AdderLinear):
            layer.weight_gradient = recipe.weight_gradient
