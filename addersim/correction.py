"""Correction: gain and offset of every layer refitted to the float network on the calibration images.

The images run through the integer layers made so far, by the simulator's own kernels, so a layer is fitted to the
inputs that it will get. Layers come in order and each is fitted once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from addersim.choices import Choices
from addersim.fixed import Ints
from addersim.floating import as_images, channels_last
from addersim.fuse import Fused
from addersim.integers import Draft, Reals, finished
from addersim.kernels import native
from addersim.network import EdgeFormat, Network, Node, Tensor
from addersim.ops import OPS, Floats

BATCH = 32
MOST = 4.0  # a fit that changes a gain by more has met a channel that hardly varies


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
        if node.kind == "input":
            self.floats[node.name] = [channels_last(part) for part in self._batches()]
        else:
            parts = zip(*(self.floats[name] for name in node.inputs), strict=True)
            self.floats[node.name] = [OPS[node.kind].float_run(node, *xs) for xs in parts]
        self.readers[node.name] = len(self.network.consumers(node.name))
        for name in dict.fromkeys(node.inputs):
            self.readers[name] -= 1
        for name in [n for n in self.floats if self.readers[n] == 0 and n not in self.wanted and n != node.name]:
            del self.floats[name]

    def _batches(self) -> Iterator[NDArray[np.float32]]:
        array = as_images(self.images, self.network.input.shape).astype(np.float32)
        return (array[i : i + BATCH] for i in range(0, len(array), BATCH))

    def put(self, node: Node, tensors: Mapping[str, Tensor]) -> None:
        """Run an integer node whose inputs have been put before."""
        form = tensors[node.name].format
        assert form is not None
        word = np.min_scalar_type(form.format.min if form.signed else form.format.max)
        if node.kind == "input":
            self.codes[node.name] = [form.quantise(channels_last(part)).astype(word) for part in self._batches()]
        else:
            self.codes[node.name] = [y.astype(word) for y in self.run(node, tensors, form)]

    def run(self, node: Node, tensors: Mapping[str, Tensor], out: EdgeFormat) -> Iterator[Ints]:
        """Yield what an integer node makes of its inputs, batch by batch."""
        formats = [tensors[name].format for name in node.inputs]
        runner = OPS[node.kind].prepared(node, (*[f for f in formats if f is not None], out), native)
        for xs in zip(*(self.codes[name] for name in node.inputs), strict=True):
            yield runner(*(x.astype(np.int64) for x in xs))[0]


def corrected(
    draft: Draft, fused: Fused, out: EdgeFormat, choices: Choices, walk: Walk, tensors: Mapping[str, Tensor]
) -> Draft:
    """Return ``draft`` with gain and offset that bring t nearest to the float edge, per output channel.

    ``"mean"`` keeps the gain and moves the offset so that the mean error is zero, the error of the rounded gain
    included. ``"least_squares"`` fits the gain first: ``cov(t, y) / var(t)``. Both compare values in front of
    rectifier and rounding, t with the batch norm's output y: what a clamp hides says as much about step and weights as
    what it shows, and a channel that is clamped on most images is still fitted on all of them.
    """
    moments = _moments(draft, fused, out, choices, walk, tensors)
    gain_k = draft.gain_k
    if choices.correction == "least_squares":
        ratio_k = moments.ratio_to(gain_k)
        gain_k = gain_k * np.where((ratio_k > 1 / MOST) & (ratio_k < MOST), ratio_k, 1.0)
    trial = finished(replace(draft, gain_k=gain_k), out, choices, fused)
    encoded_k = trial.params["multiplier_k"] / 2.0 ** trial.params["shift_k"] * out.step
    return replace(draft, gain_k=gain_k, offset_k=moments.y_k - encoded_k * moments.t_k)


@dataclass
class _Moments:
    """Sums of t, y, t * t and t * y per channel, as means."""

    t_k: Reals
    y_k: Reals
    tt_k: Reals
    ty_k: Reals

    def ratio_to(self, gain_k: Reals) -> Reals:
        """Return the least-squares gain over ``gain_k``; 1 where t does not vary or the gain is 0."""
        variance_k = self.tt_k - self.t_k**2
        slope_k = (self.ty_k - self.t_k * self.y_k) / np.where(variance_k > 0, variance_k, 1.0)
        return np.where((variance_k > 0) & (gain_k != 0), slope_k / np.where(gain_k != 0, gain_k, 1.0), 1.0)


def _moments(
    draft: Draft, fused: Fused, out: EdgeFormat, choices: Choices, walk: Walk, tensors: Mapping[str, Tensor]
) -> _Moments:
    """Return the moments of t, from the simulator with M_k = 1 and A_k = 0, and of the edge in front of a rectifier."""
    node = finished(draft, out, choices, fused)
    assert node.stage is not None
    K = len(draft.gain_k)
    plain = {"multiplier_k": np.ones(K, np.int64), "offset_k": np.zeros(K, np.int64), "shift_k": np.ones(K, np.int64)}
    stage = replace(node.stage, product=node.stage.centred, finish=False)
    probe = replace(node, stage=stage, params={**node.params, **plain})
    sums, count = np.zeros((4, K)), 0
    y_edge = fused.norm.name if fused.norm else fused.root.name
    for t, y in zip(walk.run(probe, tensors, out), walk.target(y_edge), strict=True):
        t_nk, y_nk = (np.asarray(v, np.float64).reshape(-1, K) for v in (t, y))
        sums += np.stack([t_nk.sum(0), y_nk.sum(0), (t_nk * t_nk).sum(0), (t_nk * y_nk).sum(0)])
        count += len(t_nk)
    return _Moments(*(sums / count))
