"""run_float: a network in floating point, layer by layer, for ranges, errors and accuracy."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from addersim.errors import InputError
from addersim.network.graph import Network
from addersim.network.node import Shape
from addersim.network.ops import OPS, Floats

BATCH = 64


def as_images(images: Any, shape: Shape) -> NDArray[Any]:
    """Return ``images`` (NumPy or torch) as an N C H W array after checking its shape and for NaN.

    Raises
    ------
    InputError
        If the shape without N is not ``shape``, or a value is NaN or infinite.
    """
    array = np.asarray(images)
    if array.dtype.kind not in "iuf" or array.shape[1:] != shape or array.ndim != len(shape) + 1:
        raise InputError(
            f"images have shape {array.shape} and type {array.dtype}, expected (N, {', '.join(map(str, shape))})"
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        bad = int(np.flatnonzero(~np.isfinite(array).reshape(len(array), -1).all(axis=1))[0])
        raise InputError(f"image {bad} holds NaN or infinity")
    return array


def channels_last(x: NDArray[Any]) -> NDArray[Any]:
    """Return N C H W as N H W C; (N, C) stays."""
    return np.ascontiguousarray(np.moveaxis(x, 1, -1)) if x.ndim == 4 else x


def channels_first(x: NDArray[Any]) -> NDArray[Any]:
    """Return N H W C as N C H W; (N, C) stays."""
    return np.moveaxis(x, -1, 1) if x.ndim == 4 else x


def float_batches(network: Network, images: Any, keep: Collection[str] = ()) -> Iterator[dict[str, Floats]]:
    """Yield, per batch of images, the channels-last edges in ``keep`` and the output, in the network's order."""
    x_nchw = as_images(images, network.input.shape).astype(np.float32)
    wanted = {*keep, network.nodes[-1].name}
    for first in range(0, len(x_nchw), BATCH):
        edges: dict[str, Floats] = {}
        for i, node in enumerate(network.nodes):
            if not node.inputs:
                edges[node.name] = channels_last(x_nchw[first : first + BATCH])
            else:
                edges[node.name] = OPS[node.kind].float_run(node, *(edges[name] for name in node.inputs))
            for name in node.inputs:  # an edge lives until its last reader
                if name not in wanted and not any(name in later.inputs for later in network.nodes[i + 1 :]):
                    edges.pop(name, None)
        yield {node.name: edges[node.name] for node in network.nodes if node.name in wanted}


def run_float(network: Network, images: Any) -> Floats:
    """Return the float logits (N, K) of a network that is not quantised."""
    name = network.nodes[-1].name
    parts = [batch[name] for batch in float_batches(network, images)]
    return channels_first(np.concatenate(parts)) if parts else np.zeros((0, *network.output.shape), np.float32)
