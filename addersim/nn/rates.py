"""The adaptive learning rate of adder layers: parameter groups and a hook of the optimiser, or of backward.

Source: Chen et al., CVPR 2020, eqs. 12 and 13; huawei-noah/AdderNet ``adder.py``.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from addersim.errors import InputError
from addersim.nn.layers import AdderConv2d, AdderLinear


def parameter_groups(model: nn.Module, eta: float | None = 0.2, **adder_options: Any) -> list[dict[str, Any]]:
    """Return the parameters of ``model`` for an optimiser, the weights of adder layers in a group of their own.

    Parameters
    ----------
    model
        Any module. Biases of adder layers are ordinary parameters.
    eta
        Goes into the adder weights' group as ``"eta"``, for :func:`adaptive_rate`; None leaves it out. The published
        code has 0.2, the paper's MNIST network 0.1.
    **adder_options
        Further options of that group, such as ``lr`` or ``weight_decay``. The paper's other ablation, one rate that
        is 100 times as high in all adder layers, is ``eta=None, lr=100 * lr``.

    Returns
    -------
    list of dict
        The ordinary parameters, then the adder weights.

    Raises
    ------
    InputError
        If ``eta`` is not a positive number.
    """
    weights = _adder_weights(model)
    adder = {id(w) for w in weights}
    options = adder_options if eta is None else {"eta": _positive(eta), **adder_options}
    ordinary = [p for p in model.parameters() if id(p) not in adder]
    return [{"params": ordinary}, {"params": weights, **options}]


def adaptive_rate(optimiser: Optimizer) -> RemovableHandle:
    """Let every step of ``optimiser`` first scale the gradients of the groups that have an ``eta``.

    ``g *= eta * sqrt(k) / max(||g||_2, 1e-12)`` in place, where k is the number of elements of the whole parameter and
    the norm runs over all of them, so that all layers move by the same amount per weight. At that time gradients are
    accumulated, and averaged over the processes of ``DistributedDataParallel``; weight decay and momentum act on the
    scaled gradient. ``eta`` is read at each step and is in the optimiser's ``state_dict``; the hook is not, so call
    this for every new optimiser.

    Parameters
    ----------
    optimiser
        With groups such as those of :func:`parameter_groups`. Its step must not take a closure. A parameter must be
        whole in one process: flattened shards have other norms.

    Returns
    -------
    RemovableHandle
        ``handle.remove()`` takes the hook away.

    Raises
    ------
    InputError
        If no group has an ``eta``, or one is not a positive number; when stepping with a closure, too.
    """
    etas = [group["eta"] for group in optimiser.param_groups if "eta" in group]
    if not etas:
        raise InputError("adaptive_rate: no parameter group has an 'eta'; make them with addersim.nn.parameter_groups")
    for eta in etas:
        _positive(eta)
    return optimiser.register_step_pre_hook(_scale_groups)


def rescale_in_backward(model: nn.Module, eta: float = 0.2) -> list[RemovableHandle]:
    """Scale the gradient of every adder weight within each backward call, as the published code does.

    With one backward call per step and one process this equals :func:`adaptive_rate`. Accumulated gradients, however,
    are then sums of scaled ones, and the average over processes is one of scaled ones. Use one or the other.

    Parameters
    ----------
    model
        Copies made later do not have the hooks. In the published code a layer called twice scales twice; here the
        sum of both is scaled.
    eta
        Positive.

    Returns
    -------
    list of RemovableHandle
        One per adder layer.

    Raises
    ------
    InputError
        If ``eta`` is not a positive number.
    """
    eta = _positive(eta)
    return [weight.register_hook(lambda grad: grad * _factor(grad, eta)) for weight in _adder_weights(model)]  # type: ignore[no-untyped-call]


def _adder_weights(model: nn.Module) -> list[nn.Parameter]:
    """Return each adder weight once, in the order of the modules."""
    layers = (layer for layer in model.modules() if isinstance(layer, AdderConv2d | AdderLinear))
    return list({id(layer.weight): layer.weight for layer in layers}.values())


def _positive(eta: float) -> float:
    if not (math.isfinite(eta) and eta > 0):
        raise InputError(f"eta must be a positive number, got {eta}")
    return eta


def _factor(grad: Tensor, eta: float) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(grad, dtype=torch.promote_types(grad.dtype, torch.float32))
    factor: Tensor = eta * math.sqrt(grad.numel()) / norm.clamp_min(1e-12)
    return factor


def _scale_groups(optimiser: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    if any(a is not None and a is not optimiser for a in (*args, *kwargs.values())):
        raise InputError("adaptive_rate: step(closure) would compute new gradients after they were scaled")
    for group in optimiser.param_groups:
        for parameter in group["params"] if "eta" in group else ():
            if parameter.grad is not None:
                parameter.grad.mul_(_factor(parameter.grad, group["eta"]))
