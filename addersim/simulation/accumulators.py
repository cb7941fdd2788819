"""accumulators: the narrowest register of every layer, proven and observed; narrowed: the network with such registers.

An adder layer's sum S of distances starts at 0 or at the output stage's bias. In the second case the register ends
at ``S + B``, which is -t, and if it wraps, only that end has to fit: sums modulo ``2**bits`` do not ask what they
passed on the way, and the bias itself may be cut to the register.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from addersim.arithmetic.datapath import Datapath, Kind, Register
from addersim.arithmetic.fixed import MAX_BITS, IntFormat, Ints, Overflow, format_for
from addersim.errors import InputError, nearest
from addersim.kernels import native
from addersim.kernels.lanes import walk
from addersim.kernels.theorems import shifted
from addersim.network.float_run import as_images, channels_last
from addersim.network.node import Node
from addersim.network.ops.array_layer import array_layers
from addersim.network.quantized import QuantizedNetwork
from addersim.simulation.simulate import BATCH, simulate
from addersim.simulation.threads import spread
from addersim.tabular import Tabular

Extremes = tuple[Ints, Ints]  # least and most, per output channel


@dataclass(frozen=True)
class LayerAccumulator:
    """The accumulator that a layer has, and the narrowest that would do.

    Attributes
    ----------
    register, overflow, start
        In use: format, ``wrap`` or ``saturate``, and ``0`` or ``bias``.
    unsigned_bits, signed_bits
        Proven to hold every partial sum from 0, for every input of its format and the weights given: for distances
        ``sum max_x |x - w|`` over the taps; unsigned ``None`` where words travel signed.
    centred_bits
        Proven to hold the end of the sum from the bias, in every channel whose multiplier is not 0; signed.
    observed_bits, observed_centred_bits
        The same on images, ``None`` without any: sums from 0 in the narrower of both formats (a multiplier layer's
        only at their ends), and the end of sums from the bias.
    """

    layer: str
    kind: Kind
    register: str
    overflow: str
    start: str
    unsigned_bits: int | None
    signed_bits: int
    centred_bits: int
    observed_bits: int | None = None
    observed_centred_bits: int | None = None


@dataclass(frozen=True, repr=False)
class Accumulators(Tabular):
    """The result of :func:`accumulators`: one :class:`LayerAccumulator` per layer with taps."""

    layers: tuple[LayerAccumulator, ...]

    def to_pandas(self) -> Any:
        """Return one row per layer."""
        import pandas as pd

        frame = pd.DataFrame([vars(layer) for layer in self.layers], columns=list(LayerAccumulator.__annotations__))
        return frame.astype({column: "Int64" for column in frame if column.endswith("_bits")})


def accumulators(qnet: QuantizedNetwork, images: Any = None, *, threads: int = 1) -> Accumulators:
    """Return, per layer, the narrowest accumulator: proven for all inputs, and observed on ``images``.

    Observed sums are exact, whatever register the layer has; what reaches a layer is what the network as it is
    made of the images.

    Parameters
    ----------
    images
        As for :func:`addersim.simulate`; without them only what is proven.
    threads
        Batches run at once.

    Examples
    --------
    >>> import addersim
    >>> images, _ = addersim.sample("fashion_sample", limit=4)
    >>> qnet = addersim.quantize(addersim.example_network(), images)
    >>> found = addersim.accumulators(qnet, images).layers[1]
    >>> found.layer, found.register, found.unsigned_bits, found.observed_bits
    ('conv2', 'u14', 14, 12)
    """
    nodes = [node for node in qnet.nodes if node.datapath is not None]
    seen = _observed(qnet, images, threads) if images is not None else {}
    return Accumulators(tuple(_layer(node, seen.get(node.name)) for node in nodes))


def narrowed(
    qnet: QuantizedNetwork,
    bits: int | Mapping[str, int],
    overflow: Overflow | str = Overflow.WRAP,
    *,
    preload_bias: bool = True,
) -> QuantizedNetwork:
    """Return the network with other accumulators.

    With the bias preloaded and wrapping, logits stay the same bit for bit where ``bits`` holds the centred value of
    every output (``observed_centred_bits`` of :func:`accumulators`, or ``centred_bits`` for all inputs there are),
    although the register, and so ``overflows`` of a trace, passes its ends on the way.

    Parameters
    ----------
    bits
        Width of all adder layers' accumulators, or layer name to width. From 0, magnitudes stay unsigned; from the
        bias, the register is signed, and the output stage's t gets no more bits than can come out of it.
    overflow
        ``"wrap"`` or ``"saturate"``.
    preload_bias
        Whether the accumulators start at the bias.

    Raises
    ------
    InputError
        If a layer has no accumulator, there is no adder layer, or a width or ``overflow`` is out of range.

    Examples
    --------
    >>> import addersim
    >>> images, _ = addersim.sample("fashion_sample", limit=4)
    >>> qnet = addersim.quantize(addersim.example_network(), images)
    >>> narrow = addersim.narrowed(qnet, {"conv2": 13})
    >>> bool((addersim.simulate(narrow, images).logits_int == addersim.simulate(qnet, images).logits_int).all())
    True
    """
    if overflow not in list(Overflow):
        raise InputError(f"overflow = {overflow!r}{nearest(str(overflow), map(str, Overflow))}")
    paths = {node.name: node.datapath for node in qnet.nodes if node.datapath is not None}
    adders = [name for name, path in paths.items() if path.kind == "adder"]
    widths = dict(bits) if isinstance(bits, Mapping) else dict.fromkeys(adders, bits)
    if not widths:
        raise InputError(f"network {qnet.name!r} has no adder layer whose accumulator could be narrowed")
    for name in widths:
        if name not in paths:
            raise InputError(f"bits: layer {name!r} has no accumulator{nearest(name, paths)}")
    settled = partial(_with_register, overflow=Overflow(overflow), preload_bias=preload_bias)
    nodes = tuple(settled(node, widths[node.name]) if node.name in widths else node for node in qnet.nodes)
    return replace(qnet, nodes=nodes)


def _with_register(node: Node, bits: int, overflow: Overflow, preload_bias: bool) -> Node:
    d, stage = node.path, node.output_stage
    unsigned = d.negates and not preload_bias and not d.leaf.format.signed
    form, centred = IntFormat(bits, signed=not unsigned), _centred(node)
    if preload_bias and bits < centred.bits:
        centred = IntFormat(bits + d.negates, signed=True)  # the negative of the least word takes one bit more
    path = replace(d, accumulator=Register(form, overflow), preload_bias=preload_bias)
    return replace(node, datapath=path, stage=replace(stage, centred=centred))


def sum_bounds(d: Datapath, w_krsc: Ints) -> Extremes:
    """Return the least and the largest sum of one output's terms, over every input of the format ``d.x``.

    Exact where no register in front of the accumulator can be missed: taps read different inputs. Otherwise
    intervals through the stages bound them.
    """
    front, _ = walk(d, w_krsc, np.zeros(len(w_krsc), np.int64))
    if d.cut is not None or any(register.missed for register in front.passed.values()):
        return _interval_bounds(d, w_krsc)
    w = shifted(d, w_krsc)
    low, high = d.x.min, d.x.max
    if d.kind == "multiplier":
        least, most = np.minimum(w * low, w * high), np.maximum(w * low, w * high)
    else:
        least, most = np.maximum(np.maximum(low - w, w - high), 0), np.maximum(np.abs(w - low), np.abs(high - w))
        least, most = (least, most) if d.sign == "positive" else (-most, -least)
    return least.sum((1, 2, 3)), most.sum((1, 2, 3))


def _interval_bounds(d: Datapath, w_krsc: Ints) -> Extremes:
    free = replace(d, accumulator=Register(IntFormat(MAX_BITS, True)))
    reach_k = np.full(len(w_krsc), walk(free, w_krsc, np.zeros(len(w_krsc), np.int64))[1].reach)
    forms = [d.leaf.format, *(stage.format for stage in d.tree), *([d.cut.format] if d.cut else [])]
    return (-reach_k if any(form.signed for form in forms) else 0 * reach_k), reach_k


def _start(node: Node) -> Ints:
    """Return the bias that an accumulator may start at, as a whole number."""
    bias_k = np.asarray(node.params["bias_k"], np.int64)
    return bias_k if node.path.negates else -bias_k


def _centred(node: Node) -> IntFormat:
    """Return the register that holds t = acc - B of every channel, for every input."""
    least_k, most_k = (_start(node) + ends for ends in sum_bounds(node.path, node.params["w_krsc"]))
    low, high = int(least_k.min()), int(most_k.max())
    return format_for(-high, -low, signed=True) if node.path.negates else format_for(low, high, signed=True)


def _layer(node: Node, seen: Extremes | None) -> LayerAccumulator:
    d = node.path
    least_k, most_k = sum_bounds(d, node.params["w_krsc"])
    low, high = _ends(least_k, most_k)
    unsigned = format_for(low, high, signed=False).bits if d.kind == "adder" and low >= 0 else None
    return LayerAccumulator(
        layer=node.name,
        kind=d.kind,
        register=str(d.accumulator.format),
        overflow=str(d.accumulator.overflow),
        start="bias" if d.preload_bias else "0",
        unsigned_bits=unsigned,
        signed_bits=format_for(low, high, signed=True).bits,
        centred_bits=_centred_bits(node, least_k, most_k),
        observed_bits=None if seen is None else format_for(*_ends(*seen), signed=unsigned is None).bits,
        observed_centred_bits=None if seen is None else _centred_bits(node, *seen),
    )


def _ends(least_k: Ints, most_k: Ints) -> tuple[int, int]:
    """Return the extremes of sums that start at 0."""
    return min(0, int(least_k.min())), max(0, int(most_k.max()))


def _centred_bits(node: Node, least_k: Ints, most_k: Ints) -> int:
    live_k = np.broadcast_to(node.params["multiplier_k"], least_k.shape) != 0
    ends = (_start(node) + least_k)[live_k], (_start(node) + most_k)[live_k]
    return format_for(int(ends[0].min(initial=0)), int(ends[1].max(initial=0)), signed=True).bits


def _observed(qnet: QuantizedNetwork, images: Any, threads: int) -> dict[str, Extremes]:
    """Return the extremes of every channel's sum from 0 over all images."""
    if threads < 1:
        raise InputError(f"threads = {threads}, expected 1 or more")
    array = as_images(images, qnet.input.shape)
    if not len(array):
        raise InputError("there is no image to observe accumulators on, expected one or more")
    batches = [array[first : first + BATCH] for first in range(0, len(array), BATCH)]
    seen: dict[str, Extremes] = {}
    for part in spread(partial(_sums, qnet), batches, threads):
        for name, (least_k, most_k) in part.items():
            least, most = seen.get(name, (least_k, most_k))
            seen[name] = np.minimum(least, least_k), np.maximum(most, most_k)
    return seen


def _sums(qnet: QuantizedNetwork, images: NDArray[Any]) -> dict[str, Extremes]:
    """Return the extremes of every channel's sum from 0 over one batch, layer by layer."""
    layers = array_layers(qnet)
    trace = simulate(qnet, images, keep={node.inputs[0] for node, _ in layers})
    sums: dict[str, Extremes] = {}
    for node, op in layers:
        x, w_krsc = channels_last(trace.edges[node.inputs[0]]), node.params["w_krsc"]
        free = replace(node.path, accumulator=Register(IntFormat(MAX_BITS, True)))
        nothing_k = np.zeros(len(w_krsc), np.int64)
        x_nhwc = x if x.ndim == 4 else x[:, None, None, :]
        acc_npqk, _ = native.convolve(
            x_nhwc, w_krsc, nothing_k, free, op.window(node), op.pad_code(node, qnet.format(node.inputs[0]))
        )
        sums[node.name] = acc_npqk.min((0, 1, 2)), acc_npqk.max((0, 1, 2))
    return sums
