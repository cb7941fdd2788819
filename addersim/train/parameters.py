"""Which parameters of a torch module the nodes of its network have."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from addersim.errors import InputError
from addersim.network.node import Node
from addersim.quantization.channel_groups import group_of, whole_of

NAMES = {
    "w_krsc": "weight",
    "bias_k": "bias",
    "gamma_k": "weight",
    "beta_k": "bias",
    "mean_k": "running_mean",
    "var_k": "running_var",
}


class Owned(NamedTuple):
    """A tensor of a module, and which of its channels a node has: all, or a group."""

    tensor: Tensor
    channels: slice

    @property
    def own(self) -> Tensor:
        """The node's channels; they share the tensor's memory and pass their gradient on to it."""
        return self.tensor if self.channels == slice(None) else self.tensor[self.channels]


def tensors_of(module: nn.Module, node: Node) -> dict[str, Owned]:
    """Return the tensors of the module from which a float node has its parameters; constants where it has none.

    Raises
    ------
    InputError
        If the node has weights and the module of its name has others.
    """
    made_by = owner(module, whole_of(node))
    group, groups = group_of(node)
    found: dict[str, Owned] = {}
    for key, wanted in node.params.items():
        channels = slice(None) if groups == 1 else slice(group * len(wanted), (group + 1) * len(wanted))
        tensor = getattr(made_by, NAMES[key], None)
        owned = Owned(tensor, channels) if isinstance(tensor, Tensor) else None
        if owned is None or array(key, owned.own).shape != wanted.shape:
            owned = None if key in ("w_krsc", "bias_k") else Owned(torch.from_numpy(np.array(wanted)), slice(None))
        if owned is None or not np.array_equal(array(key, owned.own), wanted):
            raise InputError(f"layer {node.name!r}: its {NAMES[key]} is not that of a module of that name")
        found[key] = owned
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
