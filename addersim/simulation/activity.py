"""Activity: how many bits change in the registers of the processing elements, on real images, counted exactly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

from numpy.typing import NDArray

from addersim.arithmetic.datapath import Datapath, Kind
from addersim.errors import InputError, nearest
from addersim.kernels import native
from addersim.kernels.plan import split_bias
from addersim.network.float_run import as_images, channels_last
from addersim.network.ops.array_layer import array_layers
from addersim.network.quantized import QuantizedNetwork
from addersim.simulation.simulate import simulate
from addersim.simulation.threads import spread
from addersim.tabular import Tabular

BATCH = 8  # images whose edges are kept at a time
SCHEDULES = ("output_stationary", "weight_stationary")  # as on the shelf of dataflows


@dataclass(frozen=True)
class RegisterActivity:
    """The registers of one name in one layer.

    Attributes
    ----------
    array
        ``"adder"`` or ``"multiplier"``.
    register
        One of :data:`addersim.arithmetic.datapath.REGISTERS`.
    bits
        Bits of all registers of this name in one processing element.
    cycles
        Steps of all outputs of all images; in each one every bit could change once.
    toggles
        Bits that did change.
    """

    layer: str
    array: Kind
    register: str
    bits: int
    cycles: int
    toggles: int

    @property
    def rate(self) -> float:
        """Changes per bit and cycle, NaN without images."""
        return self.toggles / (self.bits * self.cycles) if self.cycles else float("nan")


@dataclass(frozen=True, repr=False)
class Activity(Tabular):
    """The result of :func:`activity`.

    Attributes
    ----------
    rows
        One :class:`RegisterActivity` per layer and kind of register that its datapath has.
    images
        How many images ran.
    schedule
        What is consecutive; see :func:`activity`.
    """

    rows: tuple[RegisterActivity, ...]
    images: int
    schedule: str

    def total(self, registers: Iterable[str] | None = None) -> int:
        """Return the toggles of all layers, of the named registers only if there are names."""
        wanted = None if registers is None else set(registers)
        return sum(row.toggles for row in self.rows if wanted is None or row.register in wanted)

    def to_pandas(self) -> Any:
        """Return one row per layer and register."""
        import pandas as pd

        columns = ["layer", "array", "register", "bits", "cycles", "toggles", "rate"]
        return pd.DataFrame([[getattr(row, name) for name in columns] for row in self.rows], columns=columns)


def activity(
    qnet: QuantizedNetwork,
    images: Any,
    *,
    schedule: str = "output_stationary",
    threads: int = 1,
    kernels: ModuleType = native,
) -> Activity:
    """Run ``images`` and count, exactly, the bits that change in every register of the processing elements.

    A register is a word that the datapath gives a width, latched once per cycle: ``difference`` (without its top
    bit), ``sign`` (that bit), ``leaf`` (magnitude or product), ``tree`` (every node that adds), ``requantise``
    (the tree sum behind the cut), ``accumulator``. Toggles are the Hamming distances between what it holds in one
    cycle and in the next, in two's complement of its own width. Multiplier datapaths have neither
    difference nor sign. The wires between registers, operand registers and output stages are not counted.

    Parameters
    ----------
    qnet
        What :func:`addersim.quantize` returns.
    images
        As for :func:`addersim.simulate`; they run a few at a time, so that memory does not grow with their number.
    schedule
        What is consecutive. ``"output_stationary"``: one processing element computes an output, one step of
        ``tree_inputs`` channels per cycle, in the datapath's order. Before the first step of an output its
        accumulator holds the initial value, every other register zero. ``"weight_stationary"``: one processing
        element keeps the weights of a step, the output pixels of an image pass by row after row, and its
        accumulator holds each one's sum after this step; before the first pixel every register holds zero.
        Setting up is never counted. Where the last step of a kernel tap has channels to spare, they are zeros
        in both operands.
    threads
        Batches run at once; the result does not depend on it.
    kernels
        ``addersim.kernels.native`` or its twin ``addersim.kernels.reference``.

    Raises
    ------
    InputError
        If there is no such schedule, or the images cannot be used.

    Examples
    --------
    >>> import addersim
    >>> images, _ = addersim.sample("fashion_sample", limit=4)
    >>> qnet = addersim.quantize(addersim.example_network(), images)
    >>> toggled = addersim.activity(qnet, images).to_pandas()
    >>> toggled[toggled.layer == "conv2"][["register", "bits", "cycles"]]
          register  bits  cycles
    2   difference     8   28800
    3         sign     1   28800
    4         leaf     8   28800
    5  accumulator    14   28800
    """
    if schedule not in SCHEDULES:
        raise InputError(f"schedule = {schedule!r}{nearest(schedule, SCHEDULES)}")
    if threads < 1:
        raise InputError(f"threads = {threads}, expected 1 or more")
    array = as_images(images, qnet.input.shape)
    batches = [array[first : first + BATCH] for first in range(0, max(1, len(array)), BATCH)]
    toggles: Counter[tuple[str, str]] = Counter()
    run = partial(_batch, qnet, kernels, schedule == "weight_stationary")
    for part in spread(run, batches, threads):
        toggles.update(part)
    return Activity(tuple(_rows(qnet, toggles, len(array))), len(array), schedule)


def _batch(
    qnet: QuantizedNetwork, kernels: ModuleType, weight_stationary: bool, images: NDArray[Any]
) -> Mapping[tuple[str, str], int]:
    """Return the toggles of a few images by layer and register."""
    layers = array_layers(qnet)
    trace = simulate(qnet, images, keep={node.inputs[0] for node, _ in layers}, kernels=kernels)
    toggles: dict[tuple[str, str], int] = {}
    for node, op in layers:
        x = channels_last(trace.edges[node.inputs[0]])
        x_nhwc = x if x.ndim == 4 else x[:, None, None, :]
        initial_k, _ = split_bias(node.path, node.params["bias_k"])
        place = op.window(node), op.pad_code(node, qnet.format(node.inputs[0]))
        counts = kernels.toggles(x_nhwc, node.params["w_krsc"], initial_k, node.path, *place, weight_stationary)
        toggles.update({(node.name, register): times for register, times in counts.items()})
    return toggles


def _rows(qnet: QuantizedNetwork, toggles: Mapping[tuple[str, str], int], images: int) -> Iterable[RegisterActivity]:
    for node, op in array_layers(qnet):
        path, nest = node.path, op.loops(node, qnet.in_shapes(node), qnet.tensors[node.name].shape)
        steps = nest.R * nest.S * -(-nest.C // nest.groups // path.tree_inputs)
        for register, bits in _register_bits(path).items():
            times = toggles[node.name, register]
            yield RegisterActivity(node.name, path.kind, register, bits, images * nest.outputs * steps, times)


def _register_bits(path: Datapath) -> dict[str, int]:
    """Return the bits of the registers that one processing element has, by name."""
    T, nodes, tree = path.tree_inputs, path.tree_inputs, 0
    for level in path.tree:
        tree += nodes // 2 * level.format.bits
        nodes = (nodes + 1) // 2
    bits = {
        "difference": T * (path.difference.format.bits - 1) if path.difference else 0,
        "sign": T if path.difference else 0,
        "leaf": T * path.leaf.format.bits,
        "tree": tree,
        "requantise": path.cut.format.bits if path.cut else 0,
        "accumulator": path.accumulator.format.bits,
    }
    return {register: width for register, width in bits.items() if width}
