"""validate: the integers against the float model, layer by layer and image by image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from addersim.errors import InputError
from addersim.floating import as_images, channels_first, channels_last, float_batches
from addersim.importer import from_torch
from addersim.network import Network, Node
from addersim.quantized import QuantizedNetwork
from addersim.simulate import BATCH, simulate
from addersim.tabular import Tabular

LOW_SQNR_DB = 10.0


@dataclass(frozen=True)
class LayerError:
    """How far one layer's output edge is from the float model's.

    ``sqnr_db = 10 log10(signal / noise)``: signal is the variance of the float values after each channel's
    mean is taken off, noise the mean squared difference; both on the edge behind the output stage.
    """

    name: str
    kind: str
    sqnr_db: float
    largest_error: float


@dataclass(frozen=True, eq=False, repr=False)
class Validation(Tabular):
    """The result of :func:`validate`.

    Attributes
    ----------
    layers
        One :class:`LayerError` per quantised layer.
    agreement
        Fraction of images (of pixels, where every pixel has a class) on which both networks choose the same class.
    largest_logit_error
        Largest absolute difference of a logit.
    float_logits, logits
        Both networks' logits.
    """

    layers: tuple[LayerError, ...]
    agreement: float
    largest_logit_error: float
    float_logits: NDArray[np.float64]
    logits: NDArray[np.float64]

    @property
    def worst(self) -> LayerError:
        """The layer with the least SQNR."""
        return min(self.layers, key=lambda layer: layer.sqnr_db)

    @property
    def parting(self) -> LayerError | None:
        """The first layer whose SQNR is below 10 dB, or ``None``."""
        return next((layer for layer in self.layers if layer.sqnr_db < LOW_SQNR_DB), None)

    def to_pandas(self) -> Any:
        """Return one row per layer."""
        import pandas as pd

        return pd.DataFrame([vars(layer) for layer in self.layers])


def validate(
    module: Any, qnet: QuantizedNetwork, images: Any, progress: Callable[[float], None] = lambda done: None
) -> Validation:
    """Compare the simulated integers with the float model they came from.

    Parameters
    ----------
    module
        The ``torch.nn.Module`` that was imported, or the float :class:`~addersim.Network` itself.
    qnet
        Its quantised network.
    images
        N C H W, floats in the units of the module.
    progress
        Called with the fraction of the images that are done, after every batch.

    Raises
    ------
    InputError
        If the two networks are not of one origin.

    Examples
    --------
    >>> import addersim
    >>> images, _ = addersim.sample("fashion_sample", limit=8)
    >>> net = addersim.example_network()
    >>> addersim.validate(net, addersim.quantize(net, images), images).worst.sqnr_db > 15
    True
    """
    x_nchw = as_images(images, qnet.input.shape)
    network = module if isinstance(module, Network) else from_torch(module, x_nchw[:1])
    pairs = {node.name: node.attrs["float_edge"] for node in qnet.nodes}
    missing = [edge for edge in pairs.values() if edge not in network.tensors]
    if missing:
        raise InputError(f"the float model has no edge {missing[0]!r}: it is not the model that was quantised")
    errors = {node.name: _Error(node) for node in qnet.nodes[1:]}
    logits: list[NDArray[Any]] = []
    floats: list[NDArray[Any]] = []
    for first in range(0, len(x_nchw), BATCH):
        batch = x_nchw[first : first + BATCH]
        trace = simulate(qnet, batch, keep="*")
        edges = next(float_batches(network, batch, keep=set(pairs.values())))
        for name, error in errors.items():
            error.update(_real(qnet, qnet.node(name), trace.edges[name]), edges[pairs[name]])
        logits.append(trace.logits)
        floats.append(edges[pairs[qnet.nodes[-1].name]])
        progress((first + len(batch)) / len(x_nchw))
    integer, real = np.concatenate(logits), channels_first(np.concatenate(floats).astype(np.float64))
    same = float(np.mean(integer.argmax(1) == real.argmax(1)))
    gap = float(np.abs(integer - real).max())
    return Validation(tuple(e.result() for e in errors.values()), same, gap, real, integer)


def _real(qnet: Network, node: Node, codes_nchw: NDArray[Any]) -> NDArray[np.float64]:
    """Return the real values of an edge, channels last; a product p counts as ``p / 2**n_k`` steps."""
    form = qnet.tensors[node.name].format
    assert form is not None
    codes = channels_last(codes_nchw)
    partial = node.stage is not None and not node.stage.finish
    return form.real(codes / 2.0 ** node.params["shift_k"] if partial else codes)


@dataclass
class _Error:
    """Running sums of one edge, per channel."""

    node: Node
    count: int = 0
    largest: float = 0.0
    noise: float = 0.0
    total_k: Any = field(default=0.0)
    square_k: Any = field(default=0.0)

    def update(self, real: NDArray[np.float64], expected: NDArray[Any]) -> None:
        signal = expected.reshape(-1, expected.shape[-1]).astype(np.float64)
        difference = real.reshape(signal.shape) - signal
        self.count += len(signal)
        self.largest = max(self.largest, float(np.abs(difference).max(initial=0)))
        self.noise += float((difference**2).sum())
        self.total_k = self.total_k + signal.sum(0)
        self.square_k = self.square_k + (signal**2).sum(0)

    def result(self) -> LayerError:
        mean_k = self.total_k / self.count
        signal = float((self.square_k / self.count - mean_k**2).sum())
        noise = self.noise / self.count
        sqnr = 10 * np.log10(signal / noise) if noise > 0 and signal > 0 else (np.inf if noise == 0 else -np.inf)
        return LayerError(self.node.name, self.node.kind, float(sqnr), self.largest)
