"""simulate: a quantised network on integers, image by image, from the input's codes to the logits."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from types import ModuleType
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from addersim.arithmetic.fixed import Ints, format_for
from addersim.errors import InputError, nearest
from addersim.kernels import native
from addersim.kernels.plan import split_bias
from addersim.network.float_run import as_images, channels_first, channels_last
from addersim.network.graph import Network
from addersim.network.node import EdgeFormat, Formats, Node
from addersim.network.ops import OPS, Facts, Runner
from addersim.network.quantized import QuantizedNetwork
from addersim.simulation.replay import Numbers, Prepared, Replay
from addersim.simulation.threads import spread
from addersim.tabular import Tabular

BATCH = 32


_PREPARED: WeakKeyDictionary[Network, dict[tuple[str, str | None], Prepared]] = WeakKeyDictionary()


@dataclass(frozen=True)
class LayerTrace:
    """What one layer did over all images.

    Attributes
    ----------
    accumulator_bits
        The narrowest accumulator that would have held what these images made of it; ``None`` without one, or
        where a register of the datapath overflowed. Distances only grow, so it covers every step of an adder
        layer; in a multiplier layer it covers start and end, which is what counts if the register wraps.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    facts: Facts
    accumulator_bits: int | None = None

    @property
    def overflows(self) -> int:
        """Values that missed a register: in the datapath or in the output stage's t and p."""
        return sum(self.facts.events.values()) + self.facts.stage_overflows


@dataclass(frozen=True, repr=False)
class Trace(Tabular):
    """The result of :func:`simulate`.

    Attributes
    ----------
    logits_int
        Integers of the output edge, (N, K) or N C H W.
    logits_format
        Their format; ``logits`` is ``(logits_int - zero_point) * step`` in float64.
    layers
        One :class:`LayerTrace` per node behind the input, in order.
    edges
        The integers of the edges asked for by ``keep``, N C H W.
    saturated_inputs
        Input values that met the clamp of the input edge.
    """

    logits_int: Ints
    logits_format: EdgeFormat
    layers: tuple[LayerTrace, ...]
    edges: Mapping[str, Ints]
    saturated_inputs: int
    explain: bool = False

    @property
    def logits(self) -> NDArray[np.float64]:
        """The logits as real numbers."""
        return self.logits_format.real(self.logits_int)

    def to_pandas(self) -> Any:
        """Return one row per layer: shape, overflows, saturations, the accumulator's extremes and bits."""
        import pandas as pd

        frame = pd.DataFrame([_row(layer, self.explain) for layer in self.layers])
        return frame.astype(dict.fromkeys([c for c in frame if c.startswith("accumulator")], "Int64"))  # may be missing


def simulate(
    qnet: QuantizedNetwork,
    images: Any,
    *,
    keep: Collection[str] = (),
    threads: int = 1,
    explain: bool = False,
    progress: Callable[[float], None] = lambda done: None,
    kernels: ModuleType = native,
) -> Trace:
    """Run ``images`` through a quantised network on integers; no float between input and logits.

    Parameters
    ----------
    qnet
        What :func:`addersim.quantize` returns.
    images
        N C H W, NumPy or torch: floats in the units of the float model, or integers that are already
        codes of the input edge.
    keep
        Names of edges whose integers the trace shall hold (``"*"`` for all).
    threads
        Batches run at once; the result does not depend on it.
    explain
        Whether the trace's table names the loop that ran each layer, and why that is exact.
    progress
        Called with the fraction of the images that are done, after every batch.
    kernels
        ``addersim.kernels.native`` or its twin ``addersim.kernels.reference``.

    Raises
    ------
    InputError
        If the images' shape is wrong, a value is NaN, a code is outside the input's format, or ``keep``
        names no edge.

    Examples
    --------
    >>> import addersim
    >>> images, _ = addersim.sample("fashion_sample", limit=4)
    >>> qnet = addersim.quantize(addersim.example_network(), images)
    >>> addersim.simulate(qnet, images).logits_int.shape
    (4, 10)
    """
    if threads < 1:
        raise InputError(f"threads = {threads}, expected 1 or more")
    kept, array = _kept(qnet, keep), _checked(qnet, images)
    size = min(BATCH, max(1, -(-len(array) // threads)))
    batches = [array[i : i + size] for i in range(0, len(array), size)] or [array]
    parts: list[_Part] = []
    run = partial(_run, qnet, _prepared(qnet, kernels), kernels, kept)
    for part in spread(run, batches, threads):
        parts.append(part)
        progress(len(parts) / len(batches))
    facts = _merged(parts)
    layers = tuple(_layer(qnet, node, facts[node.name]) for node in qnet.nodes[1:])
    edges = {
        name: channels_first(np.concatenate([part.edges[name] for part in parts]).astype(np.int64))
        for name in parts[0].edges
    }
    kept_edges = {name: edge for name, edge in edges.items() if name in kept}
    outside = sum(part.outside for part in parts)
    return Trace(edges[qnet.nodes[-1].name], qnet.output.integers, layers, kept_edges, outside, explain)


def _kept(qnet: Network, keep: Collection[str]) -> set[str]:
    """Return the names of the edges that ``keep`` asks for."""
    names = {node.name for node in qnet.nodes}
    for name in sorted(set(keep) - names - {"*"}):
        raise InputError(f"keep: no edge {name!r}{nearest(name, names)}")
    return names if "*" in keep else set(keep)


def _checked(qnet: Network, images: Any) -> NDArray[Any]:
    """Return the images as an array, after a look at its shape, for NaN, and at the codes' range."""
    form = qnet.input.integers
    array = as_images(images, qnet.input.shape)
    if array.dtype.kind != "f" and array.size and not form.format.holds(int(array.min()), int(array.max())):
        raise InputError(f"images hold codes {array.min()} to {array.max()}, the input edge is {form.format}")
    return array


def _codes(qnet: Network, batch: NDArray[Any], kernels: ModuleType) -> tuple[Ints, int]:
    """Return the input edge of one batch, channels last, and how many values met its clamp."""
    form = qnet.input.integers
    if batch.dtype.kind != "f":
        return channels_last(batch.astype(np.int64)), 0
    codes: Ints
    codes, outside = kernels.quantise(batch, form.step, form.zero_point, form.format)
    return codes, outside


def _prepared(qnet: Network, kernels: ModuleType) -> Prepared:
    """Return the layers of a network ready to run; packed weights are kept for as long as the network lives."""
    known = _PREPARED.setdefault(qnet, {})
    key = kernels.__name__, os.environ.get("ADDERSIM_ISA")
    if key not in known:
        nodes = qnet.nodes[1:]
        known[key] = Prepared({n.name: OPS[n.kind].prepared(n, _formats(qnet, n), kernels) for n in nodes})
    return known[key]


class _Part(NamedTuple):
    """What became of one batch: kept edges (and the output), channels last, its layers' facts, clamped inputs.

    Facts of a replay are still numbers, to be merged with those of other batches.
    """

    edges: dict[str, Ints]
    facts: dict[str, Facts] | tuple[Replay, Numbers]
    outside: int


def _run(qnet: Network, prepared: Prepared, kernels: ModuleType, keep: Collection[str], batch: NDArray[Any]) -> _Part:
    codes, outside = _codes(qnet, batch, kernels)
    if kernels is native and not keep and (replay := prepared.take(qnet, codes.shape)) is not None:
        output, numbers = replay(codes)
        prepared.give(replay)
        return _Part({qnet.nodes[-1].name: output}, (replay, numbers), outside)
    edges, facts = _one_by_one(qnet, prepared.runners, {*keep, qnet.nodes[-1].name}, codes)
    return _Part(edges, facts, outside)


def _one_by_one(
    qnet: Network, runners: Mapping[str, Runner], wanted: Collection[str], codes: Ints
) -> tuple[dict[str, Ints], dict[str, Facts]]:
    """Return the wanted edges and every layer's facts, layer after layer."""
    edges: dict[str, Ints] = {qnet.nodes[0].name: codes}
    facts: dict[str, Facts] = {}
    last_reader = {name: node.name for node in qnet.nodes for name in node.inputs}
    for node in qnet.nodes[1:]:
        edges[node.name], facts[node.name] = runners[node.name](*(edges[name] for name in node.inputs))
        for name in node.inputs:
            if name not in wanted and last_reader[name] == node.name:
                edges.pop(name, None)
    return {node.name: edges[node.name] for node in qnet.nodes if node.name in wanted}, facts


def _merged(parts: Sequence[_Part]) -> Mapping[str, Facts]:
    """Return every layer's facts over all batches."""
    found = [part.facts for part in parts if isinstance(part.facts, dict)]
    replayed = [part.facts for part in parts if not isinstance(part.facts, dict)]
    if replayed:
        found.append(replayed[0][0].merged([numbers for _, numbers in replayed]))
    return {name: reduce(Facts.merged, (facts[name] for facts in found)) for name in found[0]}


def _formats(qnet: Network, node: Node) -> Formats:
    return tuple(qnet.format(name) for name in (*node.inputs, node.name))


def _layer(qnet: Network, node: Node, facts: Facts) -> LayerTrace:
    shape, d = qnet.tensors[node.name].shape, node.datapath
    if d is None or facts.accumulator is None or any(facts.events.values()):
        return LayerTrace(node.name, node.kind, shape, facts)
    least, most = facts.accumulator
    if d.preload_bias:
        start_k, _ = split_bias(d, node.params["bias_k"])
        least, most = min(least, int(start_k.min())), max(most, int(start_k.max()))
    least, most = min(least, 0), max(most, 0)
    bits = format_for(least, most, signed=d.accumulator.format.signed or least < 0).bits
    return LayerTrace(node.name, node.kind, shape, facts, bits)


def _row(layer: LayerTrace, explain: bool) -> dict[str, Any]:
    low, high = layer.facts.accumulator or (None, None)
    row: dict[str, Any] = {
        "layer": layer.name,
        "kind": layer.kind,
        "shape": "x".join(map(str, layer.shape)),
        "overflows": layer.overflows,
        "saturated": layer.facts.saturated,
        "accumulator_min": low,
        "accumulator_max": high,
        "accumulator_bits": layer.accumulator_bits,
    }
    return {**row, "path": layer.facts.path} if explain else row
