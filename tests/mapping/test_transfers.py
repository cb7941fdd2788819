"""Transfers: the search of tiles and the bill lay out the same ones, at the same price, by one rule of the ports."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from builders import small_network, stack

from addersim.costs import load_table
from addersim.costs.accesses import access_prices, energies, word_charges
from addersim.hardware.machine import ROLES
from addersim.mapping.dataflows import DATAFLOWS
from addersim.mapping.layers import lay_out
from addersim.mapping.memories import Store
from addersim.mapping.transfers import COMPUTE, PortCycles, Transfer, into, out_of, port_cycles, whole

NEAR = Store("near", ROLES, 1 << 12, 64, 25.0, 30.0, 64.0, overlaps=False)
FAR = Store("far", ROLES, 1 << 20, 32, 2.0, 3.0, 16.0, overlaps=True)


def said(transfer: Transfer) -> list[tuple[str, str, bool]]:
    return [(access.store.name, access.action, access.writes) for access in transfer.accesses]


def test_a_transfer_is_read_on_one_side_and_written_on_the_other() -> None:
    assert said(into(NEAR, FAR, "weights", 5, 8)) == [("far", "read weights", False), ("near", "fill weights", True)]
    assert said(out_of(NEAR, FAR, "outputs", 5, 8)) == [
        ("near", "drain outputs", False),
        ("far", "write outputs", True),
    ]


def test_the_array_s_side_is_counted_elsewhere() -> None:
    assert said(into(COMPUTE, NEAR, "inputs", 5, 8)) == [("near", "read inputs", False)]
    assert said(out_of(COMPUTE, NEAR, "outputs", 5, 8)) == [("near", "write outputs", True)]
    assert into(COMPUTE, NEAR, "inputs", 16, 8).energy_pj == 2 * NEAR.read_pj  # 8 words of 8 bits per access


def test_what_fills_a_single_buffer_is_waited_for_and_the_rest_runs_beside_the_array() -> None:
    array, fill = into(COMPUTE, NEAR, "inputs", 100, 8), into(NEAR, FAR, "inputs", 40, 8)
    ports = port_cycles([array, fill])
    assert ports == PortCycles({"near": 12.5}, {"near": {"far": 20.0, "near": 5.0}})
    assert (ports.by_slowest(), ports.layer_cycles(9), ports.layer_cycles(30)) == ({"far": 20}, 32.5, 50)
    double = replace(NEAR, overlaps=True)
    ports = port_cycles([into(COMPUTE, double, "inputs", 100, 8), into(double, FAR, "inputs", 40, 8)])
    assert ports == PortCycles({"near": 17.5, "far": 20.0}, {})
    assert ports.layer_cycles(9) == ports.layer_cycles(19.5, whole) == 20


@pytest.mark.parametrize("dataflow", list(DATAFLOWS))
def test_the_bill_of_every_layer_is_what_the_search_weighs(dataflow: str) -> None:
    """With the table's prices in its memories, the energy of a layer's transfers is that of its charges."""
    machine, table = stack(2048, 16384), load_table("horowitz2014_45nm")
    prices = access_prices(machine, table)
    qnet = small_network().on(machine)
    names = {node.name for node in qnet.nodes}
    laid = lay_out(qnet, machine, DATAFLOWS[dataflow], names, "energy", energies(prices, table))
    assert sum(bool(one.transfers) for one in laid) > 3
    for one in laid:
        charged = sum(charge.energy_pj for charge in word_charges(replace(one, inside=()), prices, table))
        assert np.isclose(sum(transfer.energy_pj for transfer in one.transfers), charged, rtol=1e-12)
