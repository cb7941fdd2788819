"""Correction: gain and offset of every layer refitted to the float network on the calibration images.

The images run through the integer layers made so far, by the simulator's own kernels, so a layer is fitted to the
inputs that it will get. Layers come in order and each is fitted once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from addersim.arithmetic.fixed import Ints
from addersim.kernels import native
from addersim.network.float_run import as_images, channels_last
from addersim.network.graph import Network
from addersim.network.node import EdgeFormat, Node, Tensor
from addersim.network.ops import OPS, Floats
from addersim.quantization.fuse import Fused
from addersim.quantization.layer_integers import Draft, Reals, finished
from addersim.quantization.settings import Correction, Quantization

BATCH = 32
MOST = 4.0  # a fit that changes a gain by more has met a channel that hardly varies
MARGIN = 0.5  # standard deviations below a rectifier's corner that are still fitted
PASSES = 3  # of fitting the offset behind a rectifier: which values pass depends on the fit
FEWEST = 100  # values that a channel is fitted to behind its rectifier; else the offset stays


@dataclass
class Walk:
    """The calibration images on their way through the float network and its integer twin.

    The float side keeps the edges that somebody has yet to read, the integer side all of them in their narrowest
    words, each over all images.
    """

    network: Network
    images: Any
    wanted: set[str]
    floats: dict[str, list[Floats]] = field(default_factory=dict)
    codes: dict[str, list[NDArray[Any]]] = field(default_factory=dict)
    readers: dict[str, int] = field(default_factory=dict)

    def target(self, edge: str) -> list[Floats]:
        """Return a float edge, batch by batch, after running the float nodes up to it; once for each edge."""
        done = len([node for node in self.network.nodes if node.name in self.readers])
        for node in self.network.nodes[done:]:
            if edge in self.readers:
                break
            self._advance(node)
        self.wanted.discard(edge)
        return self.floats[edge]

    def _advance(self, node: Node) -> None:
        self.floats[node.name] = self._float_batches(node)
        self.readers[node.name] = len(self.network.consumers(node.name))
        for name in dict.fromkeys(node.inputs):
            self.readers[name] -= 1
        for name in [n for n in self.floats if self.readers[n] == 0 and n not in self.wanted and n != node.name]:
            del self.floats[name]

    def _float_batches(self, node: Node) -> list[Floats]:
        if not node.inputs:
            return [channels_last(part) for part in self._batches()]
        parts = zip(*(self.floats[name] for name in node.inputs), strict=True)
        return [OPS[node.kind].float_run(node, *xs) for xs in parts]

    def _batches(self) -> Iterator[NDArray[np.float32]]:
        array = as_images(self.images, self.network.input.shape).astype(np.float32)
        return (array[i : i + BATCH] for i in range(0, len(array), BATCH))

    def put(self, node: Node, tensors: Mapping[str, Tensor]) -> None:
        """Run an integer node whose inputs have been put before."""
        form = tensors[node.name].integers
        word = np.min_scalar_type(form.format.min if form.signed else form.format.max)
        if not node.inputs:
            self.codes[node.name] = [form.quantise(channels_last(part)).astype(word) for part in self._batches()]
        else:
            self.codes[node.name] = [y.astype(word) for y in self.run(node, tensors, form)]

    def run(self, node: Node, tensors: Mapping[str, Tensor], out: EdgeFormat) -> Iterator[Ints]:
        """Yield what an integer node makes of its inputs, batch by batch."""
        formats = *(tensors[name].integers for name in node.inputs), out
        runner = OPS[node.kind].prepared(node, formats, native)
        for xs in zip(*(self.codes[name] for name in node.inputs), strict=True):
            yield runner(*(x.astype(np.int64) for x in xs))[0]

    def real(self, node: Node, tensors: Mapping[str, Tensor]) -> Iterator[Reals]:
        """Yield the values that the integers of a node stand for; p of a partial one counts ``2**-n_k`` steps."""
        form, scale_k = tensors[node.name].integers, node.codes_per_step_k
        for codes in self.codes[node.name]:
            yield form.real(codes / scale_k)


def corrected(
    draft: Draft,
    fused: Fused,
    out: EdgeFormat,
    choices: Quantization,
    walk: Walk,
    tensors: Mapping[str, Tensor],
    beside: Node | None = None,
) -> Draft:
    """Return ``draft`` with gain and offset that bring it nearest to the float network, per output channel.

    ``"mean"`` keeps the gain and moves the offset so that the mean error is zero, the error of the rounded gain
    included. ``"least_squares"`` fits the gain first: ``cov(t, y) / var(t)``, with t in front of the output stage and y
    behind the batch norm; in front of a rectifier the offset is then fitted to what passes it or falls short of it by
    half a standard deviation: what it removes need not be right. ``"batch_norm"`` re-estimates the batch norm: gain and
    offset give the output the mean and the variance of y.

    Parameters
    ----------
    beside
        The integer node at the other input of the addition that a partial layer leads to, if it has been put: the
        layer is then fitted to what that leaves of the float sum.
    """
    points = _points(draft, fused, out, choices, walk, tensors, beside)
    moments = _moments(points)
    ratio_k = moments.ratio_to(draft.gain_k, choices.correction)
    gain_k = draft.gain_k * np.where((ratio_k > 1 / MOST) & (ratio_k < MOST), ratio_k, 1.0)
    trial = finished(replace(draft, gain_k=gain_k), out, choices, fused)
    encoded_k = trial.params["multiplier_k"] / 2.0 ** trial.params["shift_k"] * out.step
    offset_k = moments.y_k - encoded_k * moments.t_k
    if choices.correction == "least_squares" and fused.relu:
        least_k = -MARGIN * np.sqrt(moments.variance_of_y_k)
        for _ in range(PASSES):
            seen = _moments(points, encoded_k, offset_k, least_k)
            offset_k = np.where(seen.count_k < FEWEST, offset_k, seen.y_k - encoded_k * seen.t_k)
    return replace(draft, gain_k=gain_k, offset_k=offset_k)


@dataclass(frozen=True)
class _Moments:
    """Means of t, y, t * t, y * y and t * y per channel over ``count_k`` values."""

    count_k: Reals
    t_k: Reals
    y_k: Reals
    tt_k: Reals
    yy_k: Reals
    ty_k: Reals

    @property
    def variance_of_y_k(self) -> Reals:
        return np.maximum(self.yy_k - self.y_k**2, 0.0)

    def ratio_to(self, gain_k: Reals, correction: Correction) -> Reals:
        """Return the corrected gain over ``gain_k``; 1 where t does not vary or the gain is 0."""
        variance_k = self.tt_k - self.t_k**2
        usable_k = (variance_k > 0) & (gain_k != 0)
        variance_k, gain_k = np.where(usable_k, variance_k, 1.0), np.where(usable_k, gain_k, 1.0)
        if correction == "least_squares":
            wanted_k = (self.ty_k - self.t_k * self.y_k) / variance_k
        elif correction == "batch_norm":
            wanted_k = np.sign(gain_k) * np.sqrt(self.variance_of_y_k / variance_k)
        else:
            wanted_k = gain_k
        return np.where(usable_k, wanted_k / gain_k, 1.0)


Points = list[tuple[Reals, Reals]]


def _moments(
    points: Points, gain_k: Reals | None = None, offset_k: Reals | float = 0.0, least_k: Reals | float = 0.0
) -> _Moments:
    """Return moments of all points, or, given a gain, of those where ``gain * t + offset`` or y exceeds ``least``."""
    K = points[0][0].shape[1]
    sums = np.zeros((6, K))
    for t_nk, y_nk in points:
        weight_nk = np.ones((len(t_nk), K))
        if gain_k is not None:
            weight_nk = ((gain_k * t_nk + offset_k > least_k) | (y_nk > least_k)).astype(np.float64)
        powers = weight_nk, t_nk, y_nk, t_nk * t_nk, y_nk * y_nk, t_nk * y_nk
        sums += np.stack([weight_nk.sum(0), *((weight_nk * power).sum(0) for power in powers[1:])])
    return _Moments(sums[0], *(sums[1:] / np.maximum(sums[0], 1)))


def _points(
    draft: Draft,
    fused: Fused,
    out: EdgeFormat,
    choices: Quantization,
    walk: Walk,
    tensors: Mapping[str, Tensor],
    beside: Node | None,
) -> Points:
    """Return, batch by batch, t from the simulator with M_k = 1 and A_k = 0, and y from the float network."""
    node = finished(draft, out, choices, fused)
    K = len(draft.gain_k)
    plain = {"multiplier_k": np.ones(K, np.int64), "offset_k": np.zeros(K, np.int64), "shift_k": np.ones(K, np.int64)}
    stage = replace(node.output_stage, product=node.output_stage.centred, finish=False)
    probe = replace(node, stage=stage, params={**node.params, **plain})
    targets: Iterable[Floats] = walk.target(fused.norm.name if fused.norm else fused.root.name)
    if beside is not None:
        sums = walk.target(walk.network.consumers(fused.end)[0].name)
        targets = (total - there for total, there in zip(sums, walk.real(beside, tensors), strict=True))
    pairs = zip(walk.run(probe, tensors, out), targets, strict=True)
    return [(np.asarray(t, np.float64).reshape(-1, K), np.asarray(y, np.float64).reshape(-1, K)) for t, y in pairs]
