"""Which parameters of a torch module the nodes of its network have."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from addersim.errors import InputError
from addersim.network import Node

NAMES = {
    "w_krsc": "weight",
    "bias_k": "bias",
    "gamma_k": "weight",
    "beta_k": "bias",
    "mean_k": "running_mean",
    "var_k": "running_var",
}


def tensors_of(module: nn.Module, node: Node) -> dict[str, Tensor]:
    """Return the tensors of the module from which a float node has its parameters; constants where it has none.

    Raises
    ------
    InputError
        If the node has weights and the module of its name has others.
    """
    made_by = owner(module, node.name)
    found: dict[str, Tensor] = {}
    for key, wanted in node.params.items():
        tensor = getattr(made_by, NAMES[key], None)
        if not isinstance(tensor, Tensor) or array(key, tensor).shape != wanted.shape:
            tensor = None if key in ("w_krsc", "bias_k") else torch.from_numpy(np.array(wanted))
        if tensor is None or not np.array_equal(array(key, tensor), wanted):
            raise InputError(f"layer {node.name!r}: its {NAMES[key]} is not that of a module of that name")
        found[key] = tensor
    return found


def owner(module: nn.Module, name: str) -> nn.Module:
    """Return the module that made a node: nodes are called as modules, or, where one makes several, qualify that."""
    modules = dict(module.named_modules())
    return modules.get(name) or modules.get(name.rpartition(".")[0]) or module


def array(key: str, value: Tensor) -> NDArray[np.float32]:
    """Return a parameter as the network holds it."""
    values = value.detach().to(torch.float32).numpy()
    if key != "w_krsc":
        return values
    return np.ascontiguousarray(values.transpose(0, 2, 3, 1) if values.ndim == 4 else values[:, None, None, :])
