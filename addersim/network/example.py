"""A small untrained network, for documentation and tests: no torch, no file."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from addersim.network.graph import Network
from addersim.network.node import Node, Tensor
from addersim.network.ops import OPS


def example_network(seed: int = 0, adder: bool = True) -> Network:
    """Return conv1 - norm - relu - pool - conv2 - norm - relu - flatten - fc on 1 x 28 x 28 images.

    ``conv2`` is an adder layer, or a multiplier layer of the same weights where ``adder`` is false.

    Examples
    --------
    >>> import addersim
    >>> addersim.example_network().output.shape
    (10,)
    """
    rng = np.random.default_rng(seed)

    def normal(*shape: int) -> NDArray[np.float32]:
        return rng.normal(size=shape).astype(np.float32)

    window = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}
    pool = {"kernel": (2, 2), "stride": (2, 2), "padding": (0, 0), "dilation": (1, 1)}
    nodes = (
        Node("input", "input", attrs={"shape": (1, 28, 28)}),
        Node("conv1", "conv2d", ("input",), window, {"w_krsc": normal(4, 5, 5, 1) / 5}),
        Node("norm1", "batch_norm", ("conv1",), {"eps": 1e-5}, _norm(normal(4), 0.0, 1.0)),
        Node("relu1", "relu", ("norm1",)),
        Node("pool", "max_pool", ("relu1",), pool),
        Node(
            "conv2",
            "adder_conv2d" if adder else "conv2d",
            ("pool",),
            {**window, "stride": (2, 2)},
            {"w_krsc": normal(8, 3, 3, 4)},
        ),
        Node("norm2", "batch_norm", ("conv2",), {"eps": 1e-5}, _norm(normal(8), -38.0, 40.0)),
        Node("relu2", "relu", ("norm2",)),
        Node("flatten", "flatten", ("relu2",)),
        Node("fc", "linear", ("flatten",), {}, {"w_krsc": normal(10, 1, 1, 200) / 10, "bias_k": normal(10)}),
    )
    tensors: dict[str, Tensor] = {}
    for node in nodes:
        tensors[node.name] = Tensor(OPS[node.kind].shape(node, *(tensors[name].shape for name in node.inputs)))
    return Network("example", nodes, tensors)


def _norm(beta_k: NDArray[np.float32], mean: float, variance: float) -> dict[str, NDArray[np.float32]]:
    ones = np.ones_like(beta_k)
    return {"gamma_k": ones, "beta_k": beta_k, "mean_k": ones * np.float32(mean), "var_k": ones * np.float32(variance)}
