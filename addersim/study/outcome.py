"""run: a study's networks, imported, quantised, simulated, validated, priced and compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from addersim.costs import arithmetic_tables
from addersim.costs.bill import Cost
from addersim.costs.comparison.array_kinds import ArrayComparison, compare_arrays
from addersim.costs.comparison.compare import Comparison, compare
from addersim.costs.comparison.tornado import Tornado, tornadoes
from addersim.costs.evaluate import evaluate
from addersim.errors import InputError
from addersim.hardware import Hardware, multiplier_twin, with_full_side_array
from addersim.network.counts import OpCounts, count
from addersim.network.graph import Network, read_network
from addersim.network.ops import OPS
from addersim.network.quantized import QuantizedNetwork
from addersim.network.torch_file import load_export
from addersim.network.torch_import import from_torch
from addersim.quantization.quantize import quantize
from addersim.simulation.simulate import Trace, simulate
from addersim.simulation.validate import Validation, validate
from addersim.study import images as pictures
from addersim.study.study import Data, NetworkSource, Study
from addersim.study.widths import Widths, choose_widths

CALIBRATION = ("calibration", "calibration_limit")  # keys of [data] that only a float network needs
Progress = Callable[[str, float], None]


@dataclass(frozen=True, eq=False)
class Side:
    """One network of a study, on one machine.

    Attributes
    ----------
    label
        ``"adder"`` or ``"multiplier"``, by the layers it has.
    float_accuracy, accuracy
        Fraction of images classified right, by the float network (``None`` if only the quantised one is
        there) and by the integers.
    costs
        Table name to cost of one image.
    """

    label: str
    network: Network | None
    qnet: QuantizedNetwork
    machine: Hardware
    trace: Trace
    validation: Validation | None
    float_accuracy: float | None
    accuracy: float
    counts: OpCounts
    costs: Mapping[str, Cost]


@dataclass(frozen=True, eq=False)
class Outcome:
    """The result of :func:`run`: the network, its twin if the study has one, and their comparison.

    Attributes
    ----------
    full_side
        The comparison again with a side array as large as the array; ``None`` without twin, without side
        array, or where it is that large.
    """

    study: Study
    images: int
    calibration: str
    sides: tuple[Side, ...]
    comparison: Comparison | None
    full_side: Comparison | None = None

    @property
    def table(self) -> str:
        """The cost table that headlines use: the study's first."""
        return next(iter(self.sides[0].costs))


def run(study: Study, *, threads: int = 1, progress: Progress = lambda step, done: None) -> Outcome:
    """Run a whole study.

    Parameters
    ----------
    threads
        Threads of each simulation.
    progress
        Called with the name of the step at work and the fraction of it that is done.

    Raises
    ------
    InputError
        If anything in the study cannot be used.
    """
    machine = study.machine()
    images, labels = load_images(study.data)
    (calibration, _), said = load_calibration(study.data)
    sources = [study.network, *([study.twin] if study.twin else [])]
    sides = []
    for source in sources:
        progress(f"import and quantise {source.model or source.file or source.export}", 0)
        network, qnet = on_integers(study, source, calibration)
        sides.append(_side(study, machine, network, qnet, images, labels, threads, progress))
    if all(side.network is None for side in sides):
        said = "calibrated and quantised before"
    if len(sides) < 2:
        return Outcome(study, len(images), said, tuple(sides), None)
    progress("compare", 0)
    return Outcome(study, len(images), said, tuple(sides), *_compared(study, machine, sides))


def what_moves(outcome: Outcome) -> list[Tornado]:
    """Return how far each assumption moves whole energy and arithmetic, by the study's first table; no twin, none."""
    if outcome.comparison is None:
        return []
    return tornadoes(*_networks(outcome), **_where(outcome), table=outcome.table, metrics=["energy", "arithmetic"])


def arrays(outcome: Outcome) -> ArrayComparison:
    """Return the study's network on arrays of adders, multipliers, shifters and XNOR gates, by every table compared."""
    assert outcome.comparison is not None
    tables = dict.fromkeys([*arithmetic_tables(), *outcome.study.evaluation.tables])
    return compare_arrays(*_networks(outcome), **_where(outcome), tables=tables)


def _networks(outcome: Outcome) -> tuple[QuantizedNetwork, QuantizedNetwork]:
    adder, multiplier = outcome.sides
    return adder.qnet, multiplier.qnet


def _where(outcome: Outcome) -> dict[str, Any]:
    on = outcome.study.evaluation
    return {"hardware": outcome.sides[0].machine, "dataflow": on.dataflow, "tiling": on.tiling}


def on_integers(
    study: Study, source: NetworkSource, calibration: NDArray[np.float32]
) -> tuple[Network | None, QuantizedNetwork]:
    """Return the float network, ``None`` where the file holds a quantised one, and the network on integers.

    Raises
    ------
    InputError
        If the network cannot be used, or is quantised already and the study says how to quantise it.
    """
    network, qnet = load_network(source)
    if qnet is None:
        assert network is not None
        return network, quantize(network, calibration, **study.quantization.model_dump())
    ignored = [f"quantization.{key}" for key in sorted(study.quantization.model_fields_set)]
    if study.twin is None:
        ignored += [f"data.{key}" for key in CALIBRATION if key in study.data.model_fields_set]
    if ignored:
        raise InputError(
            f"{study.path}: {ignored[0]} has no effect, since {source.file} holds a network that is quantised "
            "already; expected a float network there, or no such key"
        )
    return None, qnet


def narrowest(study: Study, choices: Sequence[int], **budget: Any) -> Widths:
    """Return the widths of [network], out of ``choices``, that :func:`addersim.choose_widths` finds for a budget.

    Machine, dataflow and the first table are the study's; ``bits`` and ``layer_bits`` count for nothing.

    Raises
    ------
    InputError
        If the network is quantised already, or no widths keep the budget.
    """
    network, _ = load_network(study.network)
    if network is None:
        raise InputError(f"{study.path}: {study.network.file} holds a network that is quantised already")
    said: dict[str, Any] = study.quantization.model_dump(exclude={"bits", "layer_bits"}, exclude_unset=True)
    said |= {"hardware": study.machine(), "dataflow": study.evaluation.dataflow, "table": study.evaluation.tables[0]}
    (images, labels), _ = load_calibration(study.data)
    return choose_widths(network, images, labels, widths=sorted(choices, reverse=True), **said, **budget)


def load_network(source: NetworkSource) -> tuple[Network | None, QuantizedNetwork | None]:
    """Return (float network, None), or (None, quantised network) where the file holds one."""
    if source.file is not None:
        found = read_network(source.file, Network, QuantizedNetwork)
        return (None, found) if isinstance(found, QuantizedNetwork) else (found, None)
    if source.export is not None:
        return from_torch(load_export(source.export), None), None
    import torch

    from addersim.nn import load_checkpoint
    from addersim.nn.catalogue import model_card

    assert source.model is not None
    card = model_card(source.model)
    module = load_checkpoint(source.model, source.weights)
    return from_torch(module, torch.zeros(1, *card.input_shape), source.model), None


def load_images(data: Data) -> pictures.Labelled:
    """Return the images and labels to evaluate on."""
    if data.folder is None:
        return pictures.sample(data.name or "fashion_sample", data.limit)
    return pictures.folder(data.folder, mean=data.mean, std=data.std, limit=data.limit)


def load_calibration(data: Data) -> tuple[pictures.Labelled, str]:
    """Return the calibration images with their labels, and a sentence that says what they are."""
    limit = data.calibration_limit
    if data.calibration is not None:
        chosen = pictures.folder(data.calibration, mean=data.mean, std=data.std, limit=limit)
        return chosen, f"calibrated on {len(chosen[0])} images of {Path(data.calibration).name}"
    if data.folder is not None:
        chosen = pictures.folder(data.folder, mean=data.mean, std=data.std, limit=limit)
        return chosen, f"calibrated on the first {len(chosen[0])} of the evaluated images themselves"
    chosen = pictures.sample("fashion_calibration", limit)
    return chosen, f"calibrated on {len(chosen[0])} training images (the first of Fashion-MNIST's training set)"


def _compared(study: Study, machine: Hardware, sides: list[Side]) -> tuple[Comparison, Comparison | None]:
    """Return the comparison, and the one with a full side array where that is another machine."""
    if [side.label for side in sides] != ["adder", "multiplier"]:
        raise InputError(f"{study.path}: [network] has to have adder layers and [twin] none, to be compared")
    tables = dict.fromkeys([*arithmetic_tables(), *study.evaluation.tables])
    adder, multiplier = (side.qnet for side in sides)
    flow, tiling = study.evaluation.dataflow, study.evaluation.tiling
    on = partial(compare, adder, multiplier, dataflow=flow, tables=tables, tiling=tiling)
    full = with_full_side_array(machine)
    return on(hardware=machine), None if full == machine else on(hardware=full)


def _side(
    study: Study,
    machine: Hardware,
    network: Network | None,
    qnet: QuantizedNetwork,
    images: NDArray[Any],
    labels: NDArray[np.int64],
    threads: int,
    progress: Progress,
) -> Side:
    kinds = {OPS[node.kind].array for node in qnet.nodes} - {None}
    label = "adder" if "adder" in kinds else "multiplier"
    own = machine if label == "adder" or machine.pe == "multiplier" else multiplier_twin(machine)
    placed = qnet.on(own)
    trace = simulate(placed, images, threads=threads, progress=partial(progress, f"simulate {qnet.name}"))
    validation, float_accuracy = None, None
    if network is not None:
        validation = validate(network, placed, images, partial(progress, f"validate {qnet.name}"))
        float_accuracy = accuracy(validation.float_logits, labels)
    tables = study.evaluation.tables
    flow, tiling = study.evaluation.dataflow, study.evaluation.tiling
    costs = {table: evaluate(placed, own, flow, table, tiling) for table in tables}
    counts = count(placed)
    on_codes = accuracy(trace.logits_int, labels)
    return Side(label, network, placed, own, trace, validation, float_accuracy, on_codes, counts, costs)


def accuracy(logits: NDArray[Any], labels: NDArray[np.int64]) -> float:
    """Return the fraction of rows whose largest logit, the first of equal ones, is the label's.

    Raises
    ------
    InputError
        If the logits are not one row per image.
    """
    if logits.ndim != 2:
        raise InputError(f"the network's output has shape {logits.shape[1:]}, expected one logit per class")
    return float(np.mean(logits.argmax(1) == labels))
