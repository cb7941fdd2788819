"""Counts times prices plus traffic times memory: what one image costs on one machine."""

from __future__ import annotations

import os
from dataclasses import replace

from addersim.costs import CostTable, load_table
from addersim.costs.accesses import access_prices, energies, word_charges
from addersim.costs.area import areas, clock, leakage
from addersim.costs.assumptions import assumptions
from addersim.costs.bill import Cost
from addersim.costs.operations import arithmetic, taps_of
from addersim.errors import InputError
from addersim.hardware import Hardware, load_hardware
from addersim.mapping.dataflows import Dataflow, load_dataflow
from addersim.mapping.layers import lay_out
from addersim.mapping.tile_search import Objective
from addersim.network.counts import count
from addersim.network.graph import Network
from addersim.simulation.activity import Activity


def evaluate(
    qnet: Network,
    hardware: str | os.PathLike[str] | Hardware = "adder_16x16",
    dataflow: str | Dataflow = "output_stationary",
    table: str | os.PathLike[str] | CostTable = "horowitz2014_45nm",
    tiling: Objective = "traffic",
    *,
    activity: Activity | None = None,
    batch: int = 1,
) -> Cost:
    """Return energy, cycles and area of one image, or of a batch of images together.

    ``energy_pj`` is the sum over all charges of ``times * price``: operations as counted by
    :func:`addersim.network.counts.count`, words at the array's edge by the dataflow, words between the memories by the
    tiling, all by the rules in :attr:`Cost.assumptions`.

    Parameters
    ----------
    qnet
        A quantised network; ``qnet.on(hardware)`` gives it the machine's datapath.
    hardware, table
        Name on the shelf, path of a TOML file, or the value.
    dataflow
        Name on the shelf, or a function ``f(loops, rows, cols) -> Schedule``. With any tiling but ``"traffic"`` it must
        broadcast over NumPy arrays in the loops.
    tiling
        What the tile sizes and order of every layer minimise, level by level, as
        :func:`addersim.mapping.placement.place` says: ``"traffic"``, the bits that cross, ``"energy"``,
        ``"latency"``, or ``"product"`` of both.
    activity
        What :func:`addersim.activity` counted on this very network: the prices of a tap's circuits and
        registers are then multiplied by observed over random activity, bit changes per bit and cycle over 1/2.
        For a register that is its toggles times an energy per toggle, twice the price of a bit.
    batch
        Images that are run together, layer by layer; several of them may share a tile of weights.

    Raises
    ------
    InputError
        If the network is not quantised, or wider than the machine, or a buffer is too small for one tile, or the
        activity is another network's, or the batch is not positive.

    Examples
    --------
    >>> import addersim
    >>> images, _ = addersim.sample("fashion_sample", limit=4)
    >>> qnet = addersim.quantize(addersim.example_network(), images)
    >>> cost = addersim.evaluate(qnet.on("adder_16x16"), "adder_16x16")
    >>> abs(cost.energy_pj - sum(charge.energy_pj for charge in cost.charges)) < 1e-6
    True
    """
    machine, prices = load_hardware(hardware), load_table(table)
    name, function = load_dataflow(dataflow)
    if batch < 1:
        raise InputError(f"batch = {batch}, expected 1 or more")
    rows = count(qnet).rows
    counts = rows if batch == 1 else tuple(replace(row, times=batch * row.times) for row in rows)
    accesses = access_prices(machine, prices)
    computing = {row.layer for row in counts}
    laid = lay_out(qnet, machine, function, computing, tiling, energies(accesses, prices), batch)
    charges = arithmetic(counts, taps_of(one.step for one in laid), machine, prices, activity)
    charges += [charge for one in laid for charge in word_charges(one, accesses, prices)]
    runs = tuple(one.run for one in laid)
    charges += leakage(machine, prices, runs)
    said = assumptions(machine, name, prices, tiling, activity)
    bill = tuple(charges), runs, areas(machine, prices), said, clock(machine, prices)
    return Cost(qnet.name, machine, name, prices.name, *bill, images=batch)
