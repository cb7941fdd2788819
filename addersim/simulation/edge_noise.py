"""EdgeNoise: how far the integers of one edge are from the float model's values, as batches pass by."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from addersim.network.float_run import channels_last
from addersim.network.graph import Network
from addersim.network.node import Node


class EdgeNoise:
    """Running sums of one edge: per channel for the signal, per image for the noise.

    Attributes
    ----------
    form
        The edge's format.
    values, outside
        Float values seen, and how many of them the format clamps.
    low, high
        Least and largest code seen.
    largest
        Largest absolute difference.
    """

    def __init__(self, qnet: Network, node: Node) -> None:
        self.form = qnet.format(node.name)
        self.scale_k = node.codes_per_step_k
        self.count = self.values = self.outside = 0
        self.largest = 0.0
        self.low, self.high = self.form.format.max, self.form.format.min
        self.total_k: Any = 0.0
        self.square_k: Any = 0.0
        self.noise_n: list[NDArray[np.float64]] = []

    def update(self, codes_nchw: NDArray[Any], expected: NDArray[Any]) -> None:
        """Take in one batch: codes as the trace has them, the float edge channels last."""
        form = self.form.format
        codes, signal = channels_last(codes_nchw), expected.astype(np.float64)
        self.low, self.high = min(self.low, int(codes.min())), max(self.high, int(codes.max()))
        difference = self.form.real(codes / self.scale_k) - signal
        self.largest = max(self.largest, float(np.abs(difference).max()))
        self.noise_n.append((difference.reshape(len(codes), -1) ** 2).sum(1) * codes.shape[-1] / codes[0].size)
        ideal = np.rint(signal / self.form.step * self.scale_k) + self.form.zero_point * self.scale_k
        self.outside += int(np.count_nonzero((ideal < form.min) | (ideal > form.max)))
        rows = signal.reshape(-1, signal.shape[-1])
        self.count, self.values = self.count + len(rows), self.values + signal.size
        self.total_k = self.total_k + rows.sum(0)
        self.square_k = self.square_k + (rows**2).sum(0)

    def sqnr(self) -> float:
        """Return the SQNR over all images, in dB."""
        return float(_decibels(self._signal(), np.concatenate(self.noise_n).mean(keepdims=True))[0])

    def sqnr_n(self) -> NDArray[np.float64]:
        """Return every image's SQNR against the signal of all, in dB."""
        return _decibels(self._signal(), np.concatenate(self.noise_n))

    def _signal(self) -> float:
        mean_k = self.total_k / self.count
        return float((self.square_k / self.count - mean_k**2).sum())


def _decibels(signal: float, noise: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return ``10 log10(signal / noise)``: infinite without noise, minus infinite with noise alone."""
    if signal <= 0:
        return np.where(noise == 0, np.inf, -np.inf)
    silent = noise == 0
    return np.where(silent, np.inf, 10 * np.log10(signal / np.where(silent, 1.0, noise)))
