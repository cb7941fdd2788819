"""Pricing of batches: at once or one by one, whole grids or lists of points, the same rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import addersim
from addersim.hardware import load_hardware, multiplier_twin
from addersim.hardware.broadcast import boxes
from addersim.hardware.fields import can_vary
from addersim.study.explore import pricing
from addersim.study.explore.pricing import figures, priced
from addersim.study.explore.space import Space
from addersim.study.study import Study, changed

AXES: dict[str, tuple[Any, ...]] = {
    "hardware.rows": (8, 16),
    "hardware.circuit": ("xor_carry", "comparator"),
    "hardware.buffers.weights.size_bytes": (200, 65536),
    "hardware.buffers.weights.double_buffered": (False, True),
    "evaluation.dataflow": ("output_stationary", "weight_stationary"),
    "hardware.clock_mhz": (100.0, 500.0),
}


@pytest.fixture
def study(study_file: Path) -> Study:
    return Study.read(study_file, ["evaluation.tables=['horowitz2014_45nm', 'aladdin_40nm']"])


def test_rows_equal_one_evaluation_at_a_time(study: Study, qnet: addersim.QuantizedNetwork) -> None:
    space = Space(AXES)
    indices = np.random.default_rng(0).permutation(len(space))[:12]
    found = priced(study, qnet, space, indices)
    assert list(found["table"][:2]) == list(study.evaluation.tables)
    for row, point in enumerate(np.repeat(indices, 2)):
        on = changed(study, space.points(np.array([point]))[0])
        machine = on.machine()
        cost = addersim.evaluate(qnet.on(machine), machine, on.evaluation.dataflow, found["table"][row])
        counted = (cost.cycles, cost.stall_cycles, cost.latency_us)
        assert tuple(found[name][row] for name in ("cycles", "stall_cycles", "latency_us")) == counted
        assert found["energy_pj"][row] == pytest.approx(cost.energy_pj, rel=1e-13)
        assert found["area_um2"][row] == pytest.approx(cost.area_um2 or np.nan, rel=1e-13, nan_ok=True)
        assert found["point"][row] == point and found["hardware.clock_mhz"][row] == machine.clock_mhz


def test_rows_do_not_depend_on_the_batch(
    study: Study, qnet: addersim.QuantizedNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = Space(AXES)
    whole = priced(study, qnet, space, np.arange(len(space)))
    some = np.array([63, 0, 17, 40, 41, 5])
    rows = (2 * some[:, None] + [0, 1]).ravel()
    for sparse in (0, 100):  # as a list, as a grid
        monkeypatch.setattr(pricing, "SPARSE", sparse)
        for name, column in priced(study, qnet, space, some).items():
            np.testing.assert_array_equal(column, whole[name][rows])


def test_a_searched_tiling_goes_one_by_one(study: Study, qnet: addersim.QuantizedNetwork) -> None:
    axes = {"evaluation.tiling": ("energy", "traffic"), "hardware.rows": (4, 8)}
    found = priced(study, qnet, Space(axes), np.arange(4))
    assert list(found)[4:] == [*figures(accuracy=False), "refused"]
    for row, point in enumerate(np.repeat(np.arange(4), 2)):
        on = changed(study, Space(axes).points(np.array([point]))[0])
        cost = addersim.evaluate(
            qnet.on(on.machine()), on.machine(), table=found["table"][row], tiling=("energy", "traffic")[point // 2]
        )
        assert found["energy_pj"][row] == pytest.approx(cost.energy_pj, rel=1e-13)
        assert found["cycles"][row] == cost.cycles


def test_a_network_of_multipliers_takes_the_twin_whatever_the_side_array(study: Study, images: NDArray[Any]) -> None:
    qnet = addersim.quantize(addersim.example_network(adder=False), images)
    space = Space({"hardware.rows": (4, 16), "hardware.multiplier_rows": (8, 16), "hardware.cols": (8, 16)})
    found = priced(study, qnet, space, np.arange(8))
    cycles = found["cycles"][::2].reshape(2, 2, 2)
    np.testing.assert_array_equal(cycles[:, 0], cycles[:, 1])
    machine = multiplier_twin(load_hardware("adder_16x16", rows=4))
    assert cycles[0, 0, 1] == addersim.evaluate(qnet.on(machine), machine).cycles > cycles[1, 0, 1]


@pytest.mark.parametrize(
    ("key", "values", "possible"),
    [
        ("rows", [1, 2], True),
        ("multiplier_rows", [4, 8], True),
        ("multiplier_rows", [0, 8], False),
        ("buffers.any.word_bits", [8], True),
        ("buffers.any.double_buffered", [True], False),
        ("buffers.size_bytes", [8], False),
        ("circuit", ["xor_carry"], False),
    ],
)
def test_what_varies_at_once(key: str, values: list[Any], possible: bool) -> None:
    assert can_vary(key, values) == possible


@pytest.mark.parametrize("size", [1, 4, 7, 1000])
@pytest.mark.parametrize("shape", [(), (5,), (2, 3, 4), (1, 7, 1, 2)])
def test_boxes_hold_every_point_once(shape: tuple[int, ...], size: int) -> None:
    seen = np.zeros(shape, int)
    for box in boxes(shape, size):
        assert seen[box].size <= size
        seen[box] += 1
    assert (seen == 1).all()
