"""choose_widths: mixed precision, layer by layer, as narrow as an accuracy or an energy budget allows."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from addersim.costs import CostTable
from addersim.costs.evaluate import evaluate
from addersim.errors import InputError
from addersim.hardware import Hardware
from addersim.mapping.dataflows import Dataflow
from addersim.network.float_run import run_float
from addersim.network.graph import Network
from addersim.network.ops import Floats
from addersim.network.quantized import QuantizedNetwork
from addersim.quantization.fuse import inner_layers
from addersim.quantization.quantize import quantize
from addersim.simulation.simulate import simulate


@dataclass(frozen=True, eq=False)
class Widths:
    """What :func:`choose_widths` chose.

    Attributes
    ----------
    layer_bits
        Width of weights and inputs of every layer but the first and the last; an argument of ``addersim.quantize``.
    agreement
        Fraction of the calibration images on which the integer network chooses the float network's class.
    accuracy
        Fraction of them on which it chooses their label; NaN if no labels were given.
    energy_pj
        Of one image, by ``addersim.evaluate``.
    qnet
        The network with these widths.
    """

    layer_bits: Mapping[str, int]
    agreement: float
    accuracy: float
    energy_pj: float
    qnet: QuantizedNetwork
    noise: float = field(repr=False, default=0.0)


def choose_widths(
    network: Network,
    images: Any,
    labels: Any = None,
    *,
    least_agreement: float | None = None,
    least_accuracy: float | None = None,
    most_energy_pj: float | None = None,
    widths: Sequence[int] = (8, 6, 4, 3),
    hardware: str | os.PathLike[str] | Hardware = "adder_16x16",
    dataflow: str | Dataflow = "output_stationary",
    table: str | os.PathLike[str] | CostTable = "horowitz2014_45nm",
    **settings: Any,
) -> Widths:
    """Return the narrowest widths, chosen greedily, that keep one budget.

    Every layer but the first and the last starts at the widest. A layer's noise at a width is what it adds to the mean
    squared error of the logits when it alone has that width, its saving what that takes off the energy. The step with
    the least noise per energy saved comes first, and so on down to the narrowest widths everywhere; along this path the
    last network is taken that agrees with the float one on ``least_agreement`` of the images, or has ``least_accuracy``
    of them right, or the first that needs ``most_energy_pj`` or less. All are measured on networks quantised as a
    whole, by bisection.

    Costs ``layers * (len(widths) - 1)`` quantisations and simulations of all ``images``, and about
    ``log2(layers * len(widths))`` more.

    Parameters
    ----------
    images
        Calibration images, N C H W; agreement and accuracy are measured on them too.
    labels
        Their classes, N integers; ``least_accuracy`` needs them.
    widths
        The widths to choose from, the widest first.
    hardware, dataflow, table
        What :func:`addersim.evaluate` takes.
    **settings
        Arguments of :func:`addersim.quantize`, such as ``correction``; not ``bits`` and ``layer_bits``.

    Raises
    ------
    InputError
        If not exactly one budget is given, labels are missing or not one per image, ``widths`` are no falling
        sequence, or no widths keep the budget.

    Examples
    --------
    >>> import addersim
    >>> images, _ = addersim.sample("fashion_calibration", limit=32)
    >>> chosen = addersim.choose_widths(addersim.example_network(), images, least_agreement=0.9, widths=(8, 4))
    >>> sorted(set(chosen.layer_bits.values())) <= [4, 8] and chosen.agreement >= 0.9
    True
    """
    _check((least_agreement, least_accuracy, most_energy_pj), widths, settings)
    _check_labels(labels, len(images), least_accuracy is not None)
    expected = run_float(network, images)

    def measured(layer_bits: Mapping[str, int]) -> Widths:
        qnet = quantize(network, images, widths[0], layer_bits=layer_bits, **settings)
        energy_pj = evaluate(qnet.on(hardware), hardware, dataflow, table).energy_pj
        return _compared(qnet, layer_bits, energy_pj, expected, images, labels)

    path = _path(inner_layers(network), widths, measured)
    if least_agreement is not None:
        return _last(path, measured, "agreement", least_agreement)
    if least_accuracy is not None:
        return _last(path, measured, "accuracy", least_accuracy)
    assert most_energy_pj is not None
    return _first(path, measured, most_energy_pj)


def _check(budgets: Sequence[float | None], widths: Sequence[int], settings: Mapping[str, Any]) -> None:
    if budgets.count(None) != len(budgets) - 1:
        raise InputError("choose_widths takes exactly one of least_agreement, least_accuracy and most_energy_pj")
    if len(widths) < 2 or list(widths) != sorted(set(widths), reverse=True):
        raise InputError(f"widths = {tuple(widths)}, expected two or more, the widest first")
    for name in ("bits", "layer_bits", "weight_bits"):
        if name in settings:
            raise InputError(f"{name} is what choose_widths chooses; give widths")


def _check_labels(labels: Any, images: int, needed: bool) -> None:
    if labels is None and needed:
        raise InputError("least_accuracy needs labels, one per calibration image")
    if labels is not None and np.shape(labels) != (images,):
        raise InputError(f"labels have shape {np.shape(labels)}, expected ({images},), one per calibration image")


def _compared(
    qnet: QuantizedNetwork, layer_bits: Mapping[str, int], energy_pj: float, expected: Floats, images: Any, labels: Any
) -> Widths:
    logits = simulate(qnet, images).logits
    found = logits.argmax(1)
    agreement = float(np.mean(found == expected.argmax(1)))
    accuracy = math.nan if labels is None else float(np.mean(found == np.asarray(labels)))
    return Widths(layer_bits, agreement, accuracy, energy_pj, qnet, float(np.mean((logits - expected) ** 2)))


Measure = Callable[[Mapping[str, int]], Widths]


def _path(layers: Sequence[str], widths: Sequence[int], measured: Measure) -> list[dict[str, int]]:
    """Return the widths from the widest everywhere to the narrowest everywhere, one step of one layer at a time."""
    now = dict.fromkeys(layers, widths[0])
    base = measured(now)
    alone = {(name, w): measured({**now, name: w}) for name in layers for w in widths[1:]}
    alone |= {(name, widths[0]): base for name in layers}

    def price(name: str) -> float:
        old, new = alone[name, now[name]], alone[name, _narrower(widths, now[name])]
        return (new.noise - old.noise) / max(old.energy_pj - new.energy_pj, 1e-9)

    path = [dict(now)]
    while left := [name for name in layers if now[name] != widths[-1]]:
        cheapest = min(left, key=price)
        now[cheapest] = _narrower(widths, now[cheapest])
        path.append(dict(now))
    return path


def _narrower(widths: Sequence[int], bits: int) -> int:
    return widths[list(widths).index(bits) + 1]


def _last(path: list[dict[str, int]], measured: Measure, figure: str, least: float) -> Widths:
    """Return the last point of ``path`` whose figure is ``least`` or more, where that of all before it is."""
    found = measured(path[0])
    if getattr(found, figure) < least:
        raise InputError(f"no widths keep the budget: at the widest the {figure} is {getattr(found, figure):.4f}")
    low, high = 0, len(path)
    while high - low > 1:
        middle = (low + high) // 2
        tried = measured(path[middle])
        low, high, found = (middle, high, tried) if getattr(tried, figure) >= least else (low, middle, found)
    return found


def _first(path: list[dict[str, int]], measured: Measure, most_energy_pj: float) -> Widths:
    """Return the first point of ``path`` within the energy, where all behind it are."""
    found = measured(path[-1])
    if found.energy_pj > most_energy_pj:
        raise InputError(f"no widths keep the budget: at the narrowest an image takes {found.energy_pj:.4g} pJ")
    low, high = -1, len(path) - 1
    while high - low > 1:
        middle = (low + high) // 2
        tried = measured(path[middle])
        low, high, found = (low, middle, tried) if tried.energy_pj <= most_energy_pj else (middle, high, found)
    return found
