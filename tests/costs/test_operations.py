"""arithmetic: charges of circuits and registers, and what activity makes of them."""

from __future__ import annotations

import numpy as np
import pytest
from builders import small_network

from addersim.costs import COSTS
from addersim.costs.evaluate import evaluate
from addersim.errors import InputError
from addersim.hardware import load_hardware
from addersim.network.quantized import QuantizedNetwork
from addersim.simulation.activity import Activity, RegisterActivity, activity

MACHINE = load_hardware("adder_16x16", pipeline_stages=2)
QNET = small_network().on(MACHINE)
ALADDIN = COSTS["aladdin_40nm"]


@pytest.fixture(scope="module")
def toggled() -> Activity:
    return activity(QNET, np.random.default_rng(2).normal(size=(4, 3, 8, 8)).astype(np.float32))


def at_rate(rate: float, qnet: QuantizedNetwork = QNET) -> Activity:
    """Return an activity in which every register changes at one rate."""
    rows = activity(qnet, np.zeros((1, 3, 8, 8), np.float32)).rows
    even = [RegisterActivity(r.layer, r.array, r.register, r.bits, 1000, round(1000 * rate * r.bits)) for r in rows]
    return Activity(tuple(even), 1, "output_stationary")


def test_registers_are_charged_per_tap() -> None:
    cost = evaluate(QNET, MACHINE, table=ALADDIN)
    taps = 8 * 4 * 4 * 36
    found = {c.action: (c.times, c.energy_pj) for c in cost.charges if c.layer == "conv2" and "register" in c.action}
    assert found == {
        "tap operands register 12 b": (taps, pytest.approx(taps * 12 * 0.009)),
        "tap pipeline register 6 b": (taps, pytest.approx(taps * 6 * 0.009)),
        "tap accumulator register 24 b": (taps, pytest.approx(taps * 24 * 0.009)),
    }
    assert not any("register" in c.action for c in evaluate(QNET, MACHINE).charges)


@pytest.mark.parametrize("tree_inputs", [1, 4])
def test_random_activity_changes_nothing(tree_inputs: int) -> None:
    machine = load_hardware(MACHINE, tree_inputs=tree_inputs)
    qnet = small_network().on(machine)
    plain, even = (evaluate(qnet, machine, table=ALADDIN, activity=a) for a in (None, at_rate(0.5, qnet)))
    assert [c.energy_pj for c in even.charges] == pytest.approx([c.energy_pj for c in plain.charges])


def test_energy_is_proportional_to_activity() -> None:
    half, quarter = (evaluate(QNET, MACHINE, table=ALADDIN, activity=at_rate(rate)) for rate in (0.5, 0.25))
    for a, b in zip(half.charges, quarter.charges, strict=True):
        moved = a.action.startswith("tap ") and "operands" not in a.action
        assert b.energy_pj == pytest.approx(a.energy_pj * (0.5 if moved else 1))
        assert ("activity ratio" in b.source) == moved


def test_every_level_of_a_tree_follows_its_registers() -> None:
    machine = load_hardware(MACHINE, tree_inputs=4)
    qnet = small_network().on(machine)
    costs = [evaluate(qnet, machine, table=ALADDIN, activity=at_rate(rate, qnet)) for rate in (0.5, 0.2)]
    adds = [[c.energy_pj for c in x.charges if c.layer == "conv2" and c.action.startswith("tap add")] for x in costs]
    assert len(adds[0]) == 3 and adds[1] == pytest.approx([0.4 * energy_pj for energy_pj in adds[0]])


def test_a_register_costs_its_toggles_times_twice_a_bit(toggled: Activity) -> None:
    cost = evaluate(QNET, MACHINE, table=ALADDIN, activity=toggled)
    for layer in ("conv1", "conv2", "fc"):
        row = next(r for r in toggled.rows if (r.layer, r.register) == (layer, "accumulator"))
        charge = next(c for c in cost.charges if c.layer == layer and c.action.startswith("tap accumulator register"))
        assert charge.energy_pj == pytest.approx(row.toggles / toggled.images * 2 * 0.009)


def test_a_subtractor_follows_difference_and_sign(toggled: Activity) -> None:
    cost, plain = (evaluate(QNET, MACHINE, table=ALADDIN, activity=a) for a in (toggled, None))
    rows = [r for r in toggled.rows if r.layer == "conv2" and r.register in ("difference", "sign")]
    rate = sum(r.toggles for r in rows) / sum(r.bits * r.cycles for r in rows)
    found = [next(c for c in x.charges if c.action == "tap subtract 7 b").energy_pj for x in (cost, plain)]
    assert found[0] == pytest.approx(found[1] * 2 * rate)
    assert cost.energy_by_unit["dram"] == plain.energy_by_unit["dram"]


def test_activity_of_another_network_is_refused(toggled: Activity) -> None:
    with pytest.raises(InputError, match="has no layer 'conv1'"):
        evaluate(QNET, MACHINE, activity=Activity((), 1, "output_stationary"))
    wide = load_hardware(MACHINE, accumulator_bits=32)
    with pytest.raises(InputError, match="counted with an accumulator of 24 bits, it has 32"):
        evaluate(small_network().on(wide), wide, activity=toggled)
