"""The paper's optimiser: SGD with momentum and weight decay, a cosine learning rate, the adder layers' own rate."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from addersim.errors import InputError
from addersim.nn.gradient import scale_adder_gradients
from addersim.nn.layers import AdderConv2d, AdderLinear
from addersim.train.recipe import Recipe


def learning_rate(recipe: Recipe, epoch: int) -> float:
    """Return ``0.5 * learning_rate * (1 + cos(pi * epoch / epochs))``, as in huawei-noah/AdderNet main.py."""
    return 0.5 * recipe.learning_rate * (1 + math.cos(math.pi * epoch / recipe.epochs))


def sgd(recipe: Recipe, model: nn.Module, others: Sequence[nn.Parameter]) -> torch.optim.SGD:
    """Return SGD over a model and what is trained along with it.

    Every group of parameters has a ``factor``, by which :func:`set_learning_rate` multiplies its learning rate: 1,
    but for the weights of adder layers under ``adder_rate = "global"``.
    """
    adders = [m.weight for m in model.modules() if isinstance(m, AdderConv2d | AdderLinear)]
    apart = {id(weight) for weight in adders} if recipe.adder_rate == "global" else set()
    rest = [p for p in (*model.parameters(), *others) if id(p) not in apart]
    groups = [{"params": rest, "factor": 1.0}]
    if apart:
        groups.append({"params": adders, "factor": recipe.adder_rate_factor})
    return torch.optim.SGD(groups, recipe.learning_rate, momentum=recipe.momentum, weight_decay=recipe.weight_decay)


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Give every group of parameters the learning rate times its factor."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group.get("factor", 1.0)  # checkpoints of earlier versions have no factor


def set_weight_gradient(recipe: Recipe, model: nn.Module) -> None:
    """Let the adder layers use the recipe's gradient of the weights; InputError if they know only the full one."""
    for layer in model.modules():
        if recipe.weight_gradient != "full" and isinstance(layer, AdderConv2d | AdderLinear):
            if not hasattr(layer, "weight_gradient"):
                raise InputError(f"weight_gradient = {recipe.weight_gradient!r}: the adder layers know only 'full'")
            setattr(layer, "weight_gradient", recipe.weight_gradient)  # noqa: B010  mypy takes it for a tensor


def step(recipe: Recipe, model: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    """Move the weights; the adder layers' gradients are rescaled first, under ``adder_rate = "adaptive"``."""
    if recipe.adder_rate == "adaptive":
        scale_adder_gradients(model, recipe.eta)
    optimiser.step()
