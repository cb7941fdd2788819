"""Layers laid on a machine: loops, schedule, tiles, transfers and cycles of each, before any price."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from addersim.errors import InputError
from addersim.hardware import Hardware
from addersim.mapping.dataflows import Dataflow
from addersim.mapping.latency import LayerRun, layer_run
from addersim.mapping.placement import place
from addersim.mapping.scratchpads import Inside, inside_accesses
from addersim.mapping.steps import Step, steps_on
from addersim.mapping.tile_search import Objective
from addersim.mapping.traffic import Energies, Setting, layer_of, setting, transfers
from addersim.mapping.transfers import Transfer
from addersim.network.graph import Network


@dataclass(frozen=True)
class LaidLayer:
    """A layer on a machine: what moves, between memories and inside the array, and how long that takes.

    ``step`` has the schedule of the tiles, where there are any.
    """

    step: Step
    transfers: tuple[Transfer, ...]
    inside: tuple[Inside, ...]
    run: LayerRun


def lay_out(
    qnet: Network,
    machine: Hardware,
    dataflow: Dataflow,
    computing: Iterable[str],
    tiling: Objective,
    energies: Energies,
    batch: int = 1,
) -> list[LaidLayer]:
    """Return every node of a network on a machine.

    Parameters
    ----------
    computing
        The layers that do more than rename words: those that :func:`addersim.count` counts something for.
    tiling, energies
        What tiles minimise, and what accesses cost in it.
    batch
        Images that are run together.

    Raises
    ------
    TooSmall
        If a buffer is too small for one tile.
    InputError
        If the network is not quantised, or wider than the machine.
    """
    steps = steps_on(qnet, machine, dataflow, batch)
    where = setting(qnet, machine, computing, energies, batch)
    return [_laid(step, machine, where, tiling, energies) for step in steps]


def _laid(step: Step, machine: Hardware, where: Setting, tiling: Objective, energies: Energies) -> LaidLayer:
    if step.on is None:
        moved = transfers(step, where, ())
        return LaidLayer(step, moved, (), layer_run(step, moved, machine, where))
    known = [(one, energies.inside(one.place)) for one in inside_accesses(step.on.path, step.on.schedule, machine)]
    inside_pj = tuple((one.field, one.per_word * pj) for one, pj in known if pj is not None)
    try:
        placed, pieces = place(layer_of(step, step.on, where, inside_pj), where.stores, where.dram, tiling)
    except InputError as error:
        raise type(error)(f"layer {step.node.name!r}: {error}") from None
    on = replace(step.on, schedule=step.on.array.run(pieces))
    step = replace(step, on=on)
    moved = transfers(step, where, [one.crossing for one in placed])
    run = layer_run(step, moved, machine, where, "; ".join(map(str, placed)))
    return LaidLayer(step, moved, tuple(inside_accesses(on.path, on.schedule, machine)), run)
