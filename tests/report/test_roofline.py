"""Roofline: no layer is above the roof; equal layers share a point; the figure names them all."""

from __future__ import annotations

import pytest
from builders import shared, small_network, stack

from addersim.costs.bill import Cost
from addersim.costs.evaluate import evaluate
from addersim.hardware import Hardware, load_hardware
from addersim.report.roofline import attainable, points, roofline

QNET = small_network().on("adder_16x16")
MACHINES = [load_hardware("adder_16x16"), shared(400), shared(400, True), stack(100, 900), stack(100, 900, dram=1)]


@pytest.fixture(params=MACHINES, ids=["roomy", "shared", "double buffered", "two levels", "slow dram"])
def cost(request: pytest.FixtureRequest) -> Cost:
    machine: Hardware = request.param
    return evaluate(QNET, machine, tiling="energy")


def test_no_layer_is_above_the_roof(cost: Cost) -> None:
    for point in points(cost):
        roof = attainable(cost, point.array, float("inf") if point.taps_per_byte is None else point.taps_per_byte)
        assert point.taps_per_cycle <= roof * 1.05  # points are rounded to two digits


def test_points_are_taps_per_cycle_and_per_byte(cost: Cost) -> None:
    shown = {layer: point for point in points(cost) for layer in point.layers}
    assert set(shown) == {run.layer for run in cost.layers if run.array}
    for run in cost.layers:
        if run.array:
            bits = sum(c.times for c in cost.charges if c.unit == "dram" and c.layer == run.layer)
            assert shown[run.layer].taps_per_cycle == pytest.approx(run.taps / run.cycles, rel=0.05)
            intensity = shown[run.layer].taps_per_byte
            assert (intensity is None) == (bits == 0)
            if intensity is not None:
                assert intensity == pytest.approx(8 * run.taps / bits, rel=0.05)


def test_the_roof_is_the_array_or_the_port() -> None:
    cost = evaluate(QNET, "adder_16x16")
    assert attainable(cost, "adder", 1e9) == 256
    assert attainable(cost, "multiplier", 1e9) == 64
    assert attainable(cost, "adder", 2) == 2 * 64 / 8


def test_the_figure_names_every_layer(cost: Cost) -> None:
    text = roofline(cost)
    assert all(point.label in text for point in points(cost))
    assert "taps per byte of DRAM traffic" in text and "adders, 256" in text and "mathdefault" not in text
