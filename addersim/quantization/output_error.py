"""OutputError: what a step for inputs and weights does to the output of an adder layer, measured on images.

The squared error of an edge's values says only part of it: the weights take the same step, their clamp costs nothing,
and a mean error goes into the bias.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from addersim.network.float_run import float_batches
from addersim.network.graph import Network
from addersim.network.node import EdgeFormat
from addersim.network.ops import OPS, Floats
from addersim.quantization.fuse import Fused
from addersim.quantization.layer_integers import adder_weights, batch_norm

IMAGES = 16  # of the calibration images: a step is one number, and every image has hundreds of outputs


@dataclass(frozen=True, eq=False)
class OutputError:
    """The float edges around adder layers, from a few images."""

    edges: Mapping[str, Floats]

    def __call__(self, layer: Fused, x: EdgeFormat, weight_bits: int) -> float:
        """Return the error of a layer's outputs if its inputs have the format ``x``.

        ``sum over k of gain_k**2 * var(y'_k - y_k)`` with y the float layer's output, y' that of quantised inputs and
        weights, and the gain of the batch norm behind: each channel's mean error is left out.
        """
        root, shift = layer.root, x.bits - weight_bits
        codes = adder_weights(root, x, shift) << shift
        rounded = replace(root, params={"w_krsc": x.real(codes).astype(np.float32)})
        x_nhwc = x.real(x.quantise(self.edges[root.inputs[0]])).astype(np.float32)
        error = OPS[root.kind].float_run(rounded, x_nhwc) - self.edges[root.name]
        variance_k = error.reshape(-1, error.shape[-1]).var(0, dtype=np.float64)
        return float(np.sum(batch_norm(layer)["gain"] ** 2 * variance_k))


def output_error(network: Network, layers: Sequence[Fused], images: Any) -> OutputError:
    """Return the errors of ``layers`` on the first few images."""
    keep = {name for layer in layers for name in (layer.root.name, layer.root.inputs[0])}
    return OutputError(next(float_batches(network, images[:IMAGES], keep=keep)))
