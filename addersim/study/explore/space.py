"""Space: the grid of a sweep, its points numbered in row-major order, and the batches they are evaluated in."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from addersim.errors import InputError
from addersim.hardware.broadcast import Box, boxes
from addersim.study.study import Study, changed, check_key

Point: TypeAlias = dict[str, Any]
Indices: TypeAlias = NDArray[np.int64]
COST_KEYS = ("hardware", "evaluation")  # keys of these tables leave the quantised network as it is
LARGEST = 2**62  # points, so that their numbers are 64-bit integers
SIMULATED = ("data.name", "data.limit")  # keys that only a simulation reads
SCALED = ("hardware.node_nm", "hardware.voltage_v")  # keys that change no price: a table has its own node


@dataclass(frozen=True)
class Space:
    """Dotted keys of a study with the values to try; point 0 has the first value of each, the last key runs fastest."""

    axes: Mapping[str, tuple[Any, ...]]

    def __len__(self) -> int:
        """Return the number of points."""
        return math.prod(self.shape)

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of values per key."""
        return tuple(len(values) for values in self.axes.values())

    def codes(self, indices: Indices) -> dict[str, Indices]:
        """Return, per key, which of its values each point has."""
        return dict(zip(self.axes, map(np.asarray, np.unravel_index(indices, self.shape)), strict=True))

    def columns(self, indices: Indices) -> dict[str, NDArray[Any]]:
        """Return, per key, the value at each point; one type per key, whatever the points."""
        return {key: np.asarray(self.axes[key])[code] for key, code in self.codes(indices).items()}

    def points(self, indices: Indices) -> list[Point]:
        """Return the points as settings for :func:`addersim.study.study.changed`."""
        taken = [[self.axes[key][i] for i in code] for key, code in self.codes(indices).items()]
        return [dict(zip(self.axes, values, strict=True)) for values in zip(*taken, strict=True)]

    @property
    def networks(self) -> int:
        """Number of quantised networks: points that differ in keys of the machine or the bill only share one."""
        return math.prod(self.shape[i] for i in self._axes_of(network=True))

    def numbers(self, network: int | Indices, machine: Indices) -> Indices:
        """Return the points of these networks and machines, each counted on its own; the two broadcast."""
        networks, machines = np.broadcast_arrays(network, machine)
        codes = [np.zeros_like(machines)] * len(self.shape)
        for number, axes in ((networks, self._axes_of(network=True)), (machines, self._axes_of(network=False))):
            if axes:  # NumPy has no index into no axes but ()
                for i, code in zip(axes, np.unravel_index(number, [self.shape[i] for i in axes]), strict=True):
                    codes[i] = code
        return np.ravel_multi_index(codes, self.shape).astype(np.int64)

    def network(self, indices: Indices) -> Indices:
        """Return which network each point has."""
        axes = self._axes_of(network=True)
        codes = np.unravel_index(indices, self.shape)
        if not axes:
            return np.zeros_like(indices)
        return np.ravel_multi_index([codes[i] for i in axes], [self.shape[i] for i in axes]).astype(np.int64)

    def batches(self, size: int) -> list[Indices]:
        """Return the points in batches of up to ``size`` that share one quantised network.

        The machines of a batch are a grid of their own. The first batch of every network comes before the second
        of any, so that workers side by side have different networks to quantise and simulate.
        """
        shape = tuple(self.shape[i] for i in self._axes_of(network=False))
        chunks = [_numbers_in(box, shape) for box in boxes(shape, size)]
        return [self.numbers(network, chunk) for chunk in chunks for network in range(self.networks)]

    def _axes_of(self, *, network: bool) -> list[int]:
        return [i for i, key in enumerate(self.axes) if (key.split(".")[0] not in COST_KEYS) == network]


def _numbers_in(box: Box, shape: tuple[int, ...]) -> Indices:
    """Return the row-major numbers of the points of a grid that are in ``box``."""
    sides = np.ix_(*(np.arange(side.start, side.stop) for side in box))
    return np.ravel_multi_index(sides, shape).ravel().astype(np.int64) if shape else np.zeros(1, np.int64)


def make_space(study: Study, axes: Mapping[str, Sequence[Any]] | None, accuracy: bool) -> Space:
    """Return the space ``axes``, or the study's own, every key known and of some effect, every value possible.

    Values are tried one key at a time, the other keys at their first value.

    Raises
    ------
    InputError
        If the space is empty, or a key or value cannot be used.
    """
    chosen = {key: tuple(map(_plain, values)) for key, values in (study.space if axes is None else axes).items()}
    if not chosen or not all(chosen.values()):
        raise InputError(f"{study.path}: the space is empty; give [space] keys such as hardware.rows = [8, 16]")
    for key in chosen:
        check_key(key, study.path)
        if why := _useless(key, accuracy):
            raise InputError(f"{study.path}: {key} {why}")
    first = {key: values[0] for key, values in chosen.items()}
    for key, value in ((key, value) for key, values in chosen.items() for value in values):
        if not isinstance(value, str | int | float):
            raise InputError(f"{study.path}: {key} = {value!r} in the space, expected texts, numbers or booleans")
        changed(study, {**first, key: value})  # a bad value is reported before any work is done
    space = Space(chosen)
    if len(space) > LARGEST:
        raise InputError(f"{study.path}: the space has {len(space):.1e} points, expected {LARGEST:.1e} at most")
    return space


def _useless(key: str, accuracy: bool) -> str:
    """Return why a key has no effect on a sweep's rows, ``""`` if it has."""
    if key.startswith("twin."):
        return "changes nothing in a sweep, which prices [network]"
    if key in SIMULATED and not accuracy:
        return "changes nothing in a sweep, which simulates nothing without accuracy"
    how = '"evaluation.tables" = ["horowitz2014_45nm", "horowitz2014_45nm@16nm,0.8V"]'
    return f"changes no price, a table has its own node; put {how} in the space" if key in SCALED else ""


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
