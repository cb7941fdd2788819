"""From observed values to the format of an edge: which range, which step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from addersim.errors import InputError
from addersim.network.float_run import float_batches
from addersim.network.graph import Network
from addersim.network.node import EdgeFormat

RangeRule = Literal["mse", "output_mse", "quantile", "max"]
SAMPLE = 1 << 17  # values kept per edge
CANDIDATES = 120  # ranges tried by the "mse" rule
COARSE = tuple(2.0 ** (-i / 10) for i in range(36))  # of the largest magnitude; tried where each runs a layer


@dataclass(frozen=True)
class Observed:
    """What calibration saw on one edge: its extremes, and a sample of its values."""

    low: float
    high: float
    sample: NDArray[np.float32]

    @property
    def magnitude(self) -> float:
        """The largest absolute value."""
        return max(self.high, -self.low)


def observe(network: Network, images: Any) -> dict[str, Observed]:
    """Return what every edge of the float network carries over the calibration images.

    Raises
    ------
    InputError
        If there is no image, images do not match the network's input, or an edge carries NaN or infinity.
    """
    if not len(images):
        raise InputError("calibration needs at least one image")
    if np.asarray(images).dtype.kind in "iub":
        raise InputError("calibration images hold integers, expected floats in the units of the float network")
    names = [node.name for node in network.nodes]
    extremes: dict[str, tuple[float, float]] = {}
    samples: dict[str, list[NDArray[np.float32]]] = {name: [] for name in names}
    rng = np.random.default_rng(0)  # a fixed stride could meet the same channel every time
    for batch in float_batches(network, images, keep=names):
        for name, values in batch.items():
            if not np.isfinite(values).all():
                raise InputError(f"edge {name!r} holds NaN or infinity on the calibration images")
            low, high = extremes.get(name, (np.inf, -np.inf))
            extremes[name] = min(low, float(values.min())), max(high, float(values.max()))
            share = min(values.size, -(-SAMPLE * len(values) // len(images)))
            chosen = values.ravel() if share == values.size else rng.choice(values.ravel(), share)
            samples[name].append(chosen.astype(np.float32))
    return {name: Observed(*extremes[name], np.concatenate(samples[name])) for name in names}


def edge_format(
    name: str,
    observed: Observed,
    bits: int,
    *,
    rule: RangeRule = "mse",
    quantile: float = 0.9997,
    centred: bool = False,
    signed: bool = False,
    grid: float | None = None,
    error: Callable[[EdgeFormat], float] | None = None,
) -> EdgeFormat:
    """Return the format of an edge of ``bits`` bits.

    A non-negative edge is unsigned with ``step = a / (2**bits - 1)``; any other, or one that is to be ``signed``, has
    ``step = a / (2**(bits-1) - 1)``, signed with zero point 0, or, if ``centred``, unsigned with zero point
    ``2**(bits-1) - 1``. The range a is the largest magnitude (``"max"``), a quantile of the magnitudes, or the one
    that minimises the squared error of the sample (``"mse"``), or an ``error`` of the format, whatever the rule. With a
    ``grid`` the step is ``grid * 2**i``: the nearest one, or for ``"max"`` the least that covers the range.

    Raises
    ------
    InputError
        If the edge only ever carries zero, or something that is not finite.
    """
    if not np.isfinite(observed.magnitude) or observed.magnitude == 0:
        carried = observed.magnitude or "only zeros"
        raise InputError(f"edge {name!r} carries {carried} on the calibration images: no step can be chosen")
    unsigned = observed.low >= 0 and not signed
    levels = (1 << bits) - 1 if unsigned else (1 << (bits - 1)) - 1

    def form(a: float) -> EdgeFormat:
        step = a / levels if grid is None else _on_grid(a / levels, grid, covers=rule == "max")
        if unsigned:
            return EdgeFormat(bits, False, step)
        return EdgeFormat(bits, False, step, levels) if centred else EdgeFormat(bits, True, step)

    if error is not None:
        return min(dict.fromkeys(form(observed.magnitude * part) for part in COARSE), key=error)
    if rule in ("max", "quantile"):
        return form(_range(observed, rule, quantile))
    candidates = dict.fromkeys(form(observed.magnitude * i / CANDIDATES) for i in range(1, CANDIDATES + 1))
    return min(candidates, key=lambda f: _squared_error(f, observed.sample))


def _range(observed: Observed, rule: RangeRule, quantile: float) -> float:
    """Return the largest magnitude, or a quantile of the magnitudes unless that is 0."""
    found = float(np.quantile(np.abs(observed.sample), quantile)) if rule == "quantile" else 0.0
    return found or observed.magnitude


def _on_grid(step: float, grid: float, covers: bool) -> float:
    exponent = np.log2(step / grid)
    return float(grid * 2.0 ** (np.ceil(exponent - 1e-9) if covers else np.rint(exponent)))


def _squared_error(form: EdgeFormat, sample: NDArray[np.float32]) -> float:
    low, high = form.range
    real = np.clip(np.rint(sample / np.float32(form.step)) * np.float32(form.step), np.float32(low), np.float32(high))
    return float(np.mean((real - sample) ** 2))
