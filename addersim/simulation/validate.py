"""validate: the integers against the float model, layer by layer and image by image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from addersim.errors import InputError
from addersim.network.float_run import as_images, channels_first, float_batches
from addersim.network.graph import Network
from addersim.network.node import EdgeFormat, Node
from addersim.network.quantized import QuantizedNetwork
from addersim.network.torch_import import from_torch
from addersim.quantization.channel_groups import cut_like
from addersim.simulation.edge_noise import EdgeNoise
from addersim.simulation.simulate import BATCH, simulate
from addersim.tabular import Tabular

LOW_SQNR_DB = 10.0


@dataclass(frozen=True)
class LayerError:
    """How far one layer's output edge is from the float model's, and how well its formats fit the data.

    ``sqnr_db = 10 log10(signal / noise)``: signal is the variance of the float values after each channel's
    mean is taken off, noise the mean squared difference; both on the edge behind the output stage.

    Attributes
    ----------
    widths
        Formats of input, weight and accumulator; empty without them. ``out`` is the output edge's.
    step
        Of the output edge.
    saturated_inputs
        Fraction of the float model's values on the edges that the layer reads that its input formats clamp.
    saturated_weights
        Fraction of the float weights that the weights' format clamps (in an adder layer the bias makes up for it,
        exactly); 0 in a multiplier layer, whose steps hold the largest weight; NaN without weights.
    range_use
        Largest less smallest code on the output edge, over the same of its format.
    """

    name: str
    kind: str
    sqnr_db: float
    largest_error: float
    widths: str = ""
    out: str = ""
    step: float = float("nan")
    saturated_inputs: float = float("nan")
    saturated_weights: float = float("nan")
    range_use: float = float("nan")


@dataclass(frozen=True)
class ImageError:
    """How one image fared.

    An image's SQNR on an edge is the layer's signal, over all images, to the noise of this image alone.

    Attributes
    ----------
    agreement
        1 or 0, or the fraction of its pixels on which both networks choose the same class.
    float_class, integer_class, margin
        The two classes, and by how much the float model's first logit leads; ``None`` where pixels have classes.
    parting, lowest, lowest_db
        The first layer whose SQNR on this image is below the threshold, if any; the layer with the least, and that.
    """

    image: int
    agreement: float
    float_class: int | None
    integer_class: int | None
    margin: float | None
    largest_logit_error: float
    parting: str | None
    lowest: str
    lowest_db: float


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
    images
        One :class:`ImageError` per image.
    threshold_db
        The SQNR below which a layer counts as the one where the networks part.
    """

    layers: tuple[LayerError, ...]
    agreement: float
    largest_logit_error: float
    float_logits: NDArray[np.float64]
    logits: NDArray[np.float64]
    images: tuple[ImageError, ...] = ()
    threshold_db: float = LOW_SQNR_DB

    @property
    def worst(self) -> LayerError:
        """The layer with the least SQNR."""
        return min(self.layers, key=lambda layer: layer.sqnr_db)

    @property
    def parting(self) -> LayerError | None:
        """The first layer whose SQNR over all images is below ``threshold_db``, or ``None``."""
        return next((layer for layer in self.layers if layer.sqnr_db < self.threshold_db), None)

    @property
    def disagreements(self) -> tuple[ImageError, ...]:
        """The images on which the networks choose different classes, on one pixel or more."""
        return tuple(image for image in self.images if image.agreement < 1)

    @property
    def summary(self) -> str:
        """One line: agreement, errors, the worst layer, and the layers where images part."""
        apart = Counter(image.parting or "no layer" for image in self.disagreements)
        parting = "; ".join(f"{name} ({n})" for name, n in apart.most_common())
        return (
            f"top class agrees on {100 * self.agreement:.2f} %, {len(self.disagreements)} of {len(self.images)} images "
            f"differ; largest logit error {self.largest_logit_error:.4g}; worst layer {self.worst.name}, "
            f"{self.worst.sqnr_db:.1f} dB"
            + (f"; first below {self.threshold_db:g} dB where they differ: {parting}" if apart else "")
        )

    def to_pandas(self) -> Any:
        """Return one row per layer."""
        import pandas as pd

        return pd.DataFrame([vars(layer) for layer in self.layers])

    def images_to_pandas(self, all_images: bool = False) -> Any:
        """Return one row per image on which the classes differ, or per image."""
        import pandas as pd

        rows = self.images if all_images else self.disagreements
        return pd.DataFrame([vars(image) for image in rows], columns=list(ImageError.__dataclass_fields__))

    def __repr__(self) -> str:
        return f"{super().__repr__()}\n{self.summary}"


def validate(
    module: Any,
    qnet: QuantizedNetwork,
    images: Any,
    progress: Callable[[float], None] = lambda done: None,
    *,
    threshold_db: float = LOW_SQNR_DB,
) -> Validation:
    """Compare the simulated integers with the float model they came from, layer by layer and image by image.

    Parameters
    ----------
    module
        The ``torch.nn.Module`` that was imported, whose own logits are then compared (in evaluation mode), or the
        float :class:`~addersim.Network` itself.
    qnet
        Its quantised network.
    images
        N C H W, floats in the units of the module.
    progress
        Called with the fraction of the images that are done, after every batch.
    threshold_db
        The networks part in the first layer whose SQNR is below this.

    Raises
    ------
    InputError
        If the two networks are not of one origin, or there is no image.

    Examples
    --------
    >>> import addersim
    >>> images, _ = addersim.sample("fashion_sample", limit=8)
    >>> net = addersim.example_network()
    >>> validation = addersim.validate(net, addersim.quantize(net, images), images)
    >>> validation.worst.sqnr_db > 15, len(validation.images)
    (True, 8)
    """
    x_nchw = as_images(images, qnet.input.shape)
    if not len(x_nchw):
        raise InputError("there is no image to validate on, expected one or more")
    network = cut_like(module if isinstance(module, Network) else from_torch(module, x_nchw[:1]), qnet)
    pairs = {node.name: node.attrs["float_edge"] for node in qnet.nodes}
    missing = [edge for edge in pairs.values() if edge not in network.tensors]
    if missing:
        raise InputError(f"the float model has no edge {missing[0]!r}: it is not the model that was quantised")
    errors = {node.name: EdgeNoise(qnet, node) for node in qnet.nodes}
    logits: list[tuple[NDArray[Any], NDArray[Any]]] = []
    for first in range(0, len(x_nchw), BATCH):
        batch = x_nchw[first : first + BATCH]
        integer, own = _compared(network, qnet, pairs, errors, batch)
        logits.append((integer, _torch_logits(module, batch) if hasattr(module, "training") else own))
        progress((first + len(batch)) / len(x_nchw))
    integer, real = (np.concatenate(parts).astype(np.float64) for parts in zip(*logits, strict=True))
    layers = tuple(_layer_error(network, errors, node) for node in qnet.nodes[1:])
    sqnr_ln = np.stack([errors[layer.name].sqnr_n() for layer in layers])
    by_image = _image_errors([layer.name for layer in layers], sqnr_ln, real, integer, threshold_db)
    same = float(np.mean(integer.argmax(1) == real.argmax(1)))
    gap = float(np.abs(integer - real).max())
    return Validation(layers, same, gap, real, integer, by_image, threshold_db)


def _compared(
    network: Network,
    qnet: QuantizedNetwork,
    pairs: Mapping[str, str],
    errors: Mapping[str, EdgeNoise],
    batch: NDArray[Any],
) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Take a batch into the errors of all edges; return the logits of the integers and of the floats."""
    trace = simulate(qnet, batch, keep="*")
    edges = next(float_batches(network, batch, keep=set(pairs.values())))
    for name, error in errors.items():
        error.update(trace.edges[name], edges[pairs[name]])
    return trace.logits, channels_first(edges[pairs[qnet.nodes[-1].name]])


def _torch_logits(module: Any, batch: NDArray[Any]) -> NDArray[Any]:
    """Return the module's own logits, in evaluation mode; it is left in the mode it was in."""
    import torch

    was_training = module.training
    try:
        with torch.no_grad():
            return np.asarray(module.eval()(torch.as_tensor(batch, dtype=torch.float32)))
    finally:
        module.train(was_training)


def _layer_error(network: Network, errors: Mapping[str, EdgeNoise], node: Node) -> LayerError:
    error, path = errors[node.name], node.datapath
    read = [errors[name] for name in node.inputs]
    return LayerError(
        name=node.name,
        kind=node.kind,
        sqnr_db=error.sqnr(),
        largest_error=error.largest,
        widths=f"{path.x}/{path.w}/{path.accumulator.format}" if path else "",
        out=str(error.form.format),
        step=error.form.step,
        saturated_inputs=sum(e.outside for e in read) / sum(e.values for e in read),
        saturated_weights=_saturated_weights(network, node, read[0].form),
        range_use=(error.high - error.low) / (error.form.format.max - error.form.format.min),
    )


def _saturated_weights(network: Network, node: Node, x: EdgeFormat) -> float:
    """Return the fraction of float weights beyond the weights' format; an adder layer's share the input's step."""
    if node.datapath is None or node.name not in network.tensors:
        return float("nan")
    if node.datapath.kind == "multiplier":
        return 0.0
    w, form = network.node(node.name).params["w_krsc"].astype(np.float64), node.datapath.w
    codes = np.rint((w / x.step + x.zero_point) / 2.0**node.datapath.weight_shift)
    return float(np.mean((codes < form.min) | (codes > form.max)))


def _image_errors(
    names: Sequence[str],
    sqnr_ln: NDArray[np.float64],
    real: NDArray[np.float64],
    integer: NDArray[np.float64],
    threshold_db: float,
) -> tuple[ImageError, ...]:
    """Return one row per image; ``sqnr_ln`` is layers times images."""
    errors = []
    for i, sqnr_l in enumerate(sqnr_ln.T):
        ours, theirs = integer[i].argmax(0), real[i].argmax(0)
        below, lowest = np.flatnonzero(sqnr_l < threshold_db), int(sqnr_l.argmin())
        whole = real.ndim == 2
        leaders = np.sort(real[i])[-2:] if whole else None
        errors.append(
            ImageError(
                image=i,
                agreement=float(np.mean(ours == theirs)),
                float_class=int(theirs) if whole else None,
                integer_class=int(ours) if whole else None,
                margin=None if leaders is None else float(leaders[-1] - leaders[0]),
                largest_logit_error=float(np.abs(integer[i] - real[i]).max()),
                parting=names[below[0]] if len(below) else None,
                lowest=names[lowest],
                lowest_db=float(sqnr_l[lowest]),
            )
        )
    return tuple(errors)
