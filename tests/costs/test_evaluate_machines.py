"""evaluate_machines: every column equals one evaluation at a time, whatever the machine, the network, the blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from builders import CONCAT, grown, residual_network, small_network

import addersim
from addersim.arithmetic.fixed import MAX_BITS
from addersim.costs import evaluate_machines as machines
from addersim.costs import load_table
from addersim.costs.bill import Cost
from addersim.costs.charges import UNITS
from addersim.costs.evaluate_machines import evaluate_machines
from addersim.costs.tables.rows import Word
from addersim.errors import InputError
from addersim.hardware import ROLES, Hardware, load_hardware
from addersim.mapping.dataflows import DATAFLOWS
from addersim.mapping.tile_search import TooSmall
from addersim.network.quantized import QuantizedNetwork

TABLES = ["horowitz2014_45nm", "aladdin_40nm", "evoapprox_45nm"]
WIDE = {"operand_bits": 32, "accumulator_bits": MAX_BITS}
NUMBERS: Mapping[str, Sequence[float]] = {
    "rows": (4, 8, 12, 64),
    "cols": (1, 3, 16),
    "pipeline_stages": (1, 2, 5),
    "multiplier_rows": (4, 16),
    "multiplier_cols": (1, 8),
    "clock_mhz": (37.5, 500.0),
    "dram.bits_per_cycle": (1, 3, 64),
    "dram.pj_per_bit": (0.7, 20.0),
    "vector.lanes": (1, 5, 16),
}
OF_BUFFERS: Mapping[str, Sequence[int]] = {
    "size_bytes": (1, 24, 77, 200, 450, 1 << 16),
    "word_bits": (1, 5, 64, 128),
    "ports": (1, 2),
}


def buffer(name: str, holds: Sequence[str], double: bool) -> dict[str, Any]:
    return {"name": name, "holds": list(holds), "size_bytes": 300, "word_bits": 32, "double_buffered": double}


def structures(double: bool) -> list[list[dict[str, Any]]]:
    """Return what buffers a machine may have."""
    own = [buffer(role, [role], double) for role in ROLES]
    shared = [buffer("shared", ROLES, not double)]
    return [own, shared, own + shared, [own[0], buffer("out", ["outputs", "inputs"], double)], own[1:2] + shared, []]


def random_machine(rng: np.random.Generator) -> Hardware:
    stacks = structures(bool(rng.integers(2)))
    return load_hardware(
        "adder_16x16",
        **WIDE,
        tree_inputs=int(rng.choice([1, 4])),
        buffers=stacks[rng.integers(len(stacks))],
        circuit=str(rng.choice(["xor_carry", "two_subtractors", "comparator"])),
    )


def random_fields(machine: Hardware, rng: np.random.Generator) -> dict[str, list[float]]:
    """Return a few fields with one to three values each."""
    known = dict(NUMBERS)
    known |= {f"buffers.{b.name}.{key}": values for b in machine.buffers for key, values in OF_BUFFERS.items()}
    keys = rng.permutation(sorted(known))[:6]
    return {str(key): rng.choice(known[key], rng.integers(1, 4)).tolist() for key in keys}


def one_machine(machine: Hardware, settings: Mapping[str, float]) -> Hardware:
    for key, value in settings.items():
        nested: Any = value
        for name in reversed(key.split(".")):
            nested = {name: nested}
        machine = load_hardware(machine, **nested)
    return machine


def figures(cost: Cost) -> dict[str, float]:
    """Return one evaluation as the columns have it."""
    area_um2 = np.nan if cost.area_um2 is None else cost.area_um2
    energies = {f"{unit}_pj": cost.energy_by_unit[unit] for unit in UNITS}
    integers = {"cycles": cost.cycles, "stall_cycles": cost.stall_cycles}
    return {"energy_pj": cost.energy_pj, **energies, **integers, "latency_us": cost.latency_us, "area_um2": area_um2}


def check(qnet: QuantizedNetwork, machine: Hardware, fields: Mapping[str, list[float]], dataflow: str) -> None:
    """Compare up to 8 machines of the grid with one evaluation each; integers and latency exactly."""
    grid = dict(zip(fields, np.ix_(*fields.values()), strict=True))
    found = evaluate_machines(qnet, machine, grid, dataflow, TABLES)
    shape = tuple(len(values) for values in fields.values())
    assert all(column.shape == (*shape, len(TABLES)) for column in found.values())
    numbers = np.random.default_rng(0).permutation(np.prod(shape))[:8]
    for place in zip(*np.unravel_index(numbers, shape), strict=True):
        on = one_machine(machine, {key: fields[key][i] for key, i in zip(fields, place, strict=True)})
        for number, table in enumerate(TABLES):
            got = {name: column[(*place, number)] for name, column in found.items()}
            refused = got.pop("refused")
            try:
                want = figures(addersim.evaluate(qnet.on(on), on, dataflow, table))
            except TooSmall as error:
                assert refused == str(error) and all(np.isnan(value) for value in got.values())
                continue
            assert refused == "" and got.keys() == want.keys()
            for name, value in want.items():
                exact = name in ("cycles", "stall_cycles", "latency_us")
                assert got[name] == (value if exact else pytest.approx(value, rel=1e-13, nan_ok=True)), (name, on)


@pytest.mark.parametrize("seed", range(40))
def test_every_column_equals_one_evaluation_at_a_time(seed: int) -> None:
    rng = np.random.default_rng(seed)
    _, _, qnet = grown(seed)
    if qnet is None:
        return
    machine = random_machine(rng)
    check(qnet, machine, random_fields(machine, rng), str(rng.choice(list(DATAFLOWS))))


@pytest.mark.parametrize("stack", range(6))
@pytest.mark.parametrize("qnet", [small_network(), residual_network(), CONCAT], ids=["pooling", "residual", "concat"])
def test_sizes_at_which_edges_and_weights_begin_to_stay(qnet: QuantizedNetwork, stack: int) -> None:
    machine = load_hardware("adder_16x16", **WIDE, buffers=structures(stack % 2 == 0)[stack])
    sizes = {f"buffers.{b.name}.size_bytes": [24.0, 97.0, 400.0, 2000.0] for b in machine.buffers}
    check(qnet, machine, {**{key: list(map(int, v)) for key, v in sizes.items()}, "rows": [3, 16]}, "weight_stationary")


def test_one_machine_is_a_grid_of_no_axes(qnet: QuantizedNetwork) -> None:
    found = evaluate_machines(qnet, "adder_16x16", {}, tables=TABLES)
    cost = addersim.evaluate(qnet.on("adder_16x16"), "adder_16x16", table=TABLES[1])
    assert [repr(text) for text in found["refused"]] == ["''"] * len(TABLES)  # texts, not arrays that hold one
    assert (found["cycles"][1], found["energy_pj"][1]) == (cost.cycles, pytest.approx(cost.energy_pj))


def test_scratchpads_trees_and_scaled_tables() -> None:
    multipliers = small_network("conv2d")
    table = load_table("horowitz2014_45nm@16nm,0.8V")
    found = evaluate_machines(multipliers, "eyeriss", {"rows": [6, 12]}, "row_stationary", [table])
    for rows, energy_pj in zip([6, 12], found["energy_pj"][:, 0], strict=True):
        machine = load_hardware("eyeriss", rows=rows)
        cost = addersim.evaluate(multipliers.on(machine), machine, "row_stationary", table)
        assert energy_pj == pytest.approx(cost.energy_pj, rel=1e-13)


@pytest.mark.parametrize("dataflow", list(DATAFLOWS))
def test_hops_and_scratchpads_of_a_table_that_prices_them(dataflow: str) -> None:
    words = {"hop_row": Word(word_bits=16, energy_pj=2.0), "scratchpad_row": Word(word_bits=8, energy_pj=3.0)}
    table, qnet = load_table(TABLES[0]).model_copy(update=words), small_network()
    found = evaluate_machines(qnet, "adder_16x16", {"rows": [3, 12, 16]}, dataflow, [table, TABLES[0]])
    for place, rows in enumerate([3, 12, 16]):
        machine = load_hardware("adder_16x16", rows=rows)
        costs = [addersim.evaluate(qnet.on(machine), machine, dataflow, one) for one in (table, TABLES[0])]
        assert found["buffers_pj"][place] == pytest.approx([c.energy_by_unit["buffers"] for c in costs], rel=1e-13)
        assert found["energy_pj"][place] == pytest.approx([c.energy_pj for c in costs], rel=1e-13)
    assert (found["buffers_pj"][:, 0] > found["buffers_pj"][:, 1]).all() or dataflow == "channel_parallel"


FIELDS = {"rows": [4, 16], "buffers.weights.size_bytes": [40, 400, 65536], "dram.bits_per_cycle": [1, 64]}


def test_blocks_lists_and_grids_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    qnet = small_network()
    grid = dict(zip(FIELDS, np.ix_(*FIELDS.values()), strict=True))
    points = dict(zip(FIELDS, map(np.ravel, np.broadcast_arrays(*grid.values())), strict=True))
    whole, listed = evaluate_machines(qnet, "adder_16x16", grid), evaluate_machines(qnet, "adder_16x16", points)
    monkeypatch.setattr(machines, "BLOCK", 5)
    for name, column in evaluate_machines(qnet, "adder_16x16", grid).items():
        np.testing.assert_array_equal(column, whole[name])
        np.testing.assert_array_equal(column.reshape(-1, 1), listed[name])
    assert len(np.unique(whole["energy_pj"])) > 4 and len(np.unique(whole["cycles"])) > 6


def test_a_machine_alone_needs_no_field() -> None:
    qnet = small_network()
    found = evaluate_machines(qnet, "adder_16x16", {})
    assert found["cycles"].shape == (1,) and found["cycles"][0] == addersim.evaluate(qnet.on("adder_16x16")).cycles


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"rowz": [1]}, "'rowz' is no number .* can vary; did you mean 'rows'"),
        ({"circuit": ["xor_carry"]}, "'circuit' is no number of adder_16x16 that can vary"),
        ({"buffers.input.size_bytes": [1]}, "none is called 'input'; did you mean 'inputs'"),
        ({"rows": [8, 0]}, "rows = 0"),
        ({"rows": [8.5]}, "rows = 8.5"),
        ({"multiplier_rows": [0, 8]}, "multiplier_rows = 0, expected numbers for machines with a side array"),
    ],
)
def test_fields_that_cannot_vary(fields: dict[str, list[float]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        evaluate_machines(small_network(), "adder_16x16", fields)
