"""Batch norm in evaluation: ``y = gamma * (x - mean) / sqrt(var + eps) + beta`` per channel.

Behind a layer the quantiser makes it that layer's output stage; a batch norm that stands alone becomes a
``scale`` node. It never runs as floats between integers.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from addersim.arithmetic.datapath import Kind
from addersim.arithmetic.primitives import Count
from addersim.network.graph import Network
from addersim.network.node import Node, Shape
from addersim.network.ops import OPS, Arguments, Floats, Imported, Op, float_counts, words


class BatchNorm(Op):
    """``torch.nn.BatchNorm1d`` and ``BatchNorm2d`` with running statistics."""

    kind = "batch_norm"
    role = "norm"
    aten = ("aten.batch_norm.default", "aten._native_batch_norm_legit_no_training.default")

    def from_aten(self, arguments: Arguments) -> Imported:
        mean_k, var_k = arguments["running_mean"], arguments["running_var"]
        weight, bias = arguments.get("weight"), arguments.get("bias")
        params = {
            "gamma_k": np.ones_like(mean_k) if weight is None else weight,
            "beta_k": np.zeros_like(mean_k) if bias is None else bias,
            "mean_k": mean_k,
            "var_k": var_k,
        }
        return Imported((arguments["input"].name,), {"eps": float(arguments["eps"])}, params)

    def float_run(self, node: Node, *xs: Floats) -> Floats:
        p = node.params
        sigma_k = np.sqrt(p["var_k"] + np.float32(node.attrs["eps"]))
        return np.asarray(p["gamma_k"] * ((xs[0] - p["mean_k"]) / sigma_k) + p["beta_k"])

    def primitives(self, node: Node, network: Network, array: Kind | None) -> list[Count]:
        return float_counts(node, "other", words(network.tensors[node.name].shape), "multiply", "add")

    def examples(self) -> Iterable[tuple[Node, tuple[Shape, ...]]]:
        rng = np.random.default_rng(9)
        for shape in ((4, 5, 5), (4,)):
            params = {
                "gamma_k": np.array([1.5, -0.5, 0.0, 0.8], np.float32),
                "beta_k": rng.normal(size=4).astype(np.float32),
                "mean_k": rng.normal(size=4).astype(np.float32),
                "var_k": np.array([1.0, 0.5, 2.0, 0.3], np.float32),
            }
            yield Node("layer", self.kind, ("x",), {"eps": 1e-5}, params), (shape,)


OPS.add(BatchNorm.kind, BatchNorm())
