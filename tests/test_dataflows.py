"""Dataflows: the closed forms equal a cycle-by-cycle walk, obey conservation laws and match SCALE-Sim."""

from __future__ import annotations

import csv
import itertools
import os
from pathlib import Path

import numpy as np
import pytest

from addersim.dataflows import DATAFLOWS, Dataflow, Schedule, load_dataflow
from addersim.errors import InputError
from addersim.loops import LoopNest

flows = pytest.mark.parametrize("flow", DATAFLOWS.values(), ids=list(DATAFLOWS))
LAYERS = [
    LoopNest(K=k, C=c, P=p, Q=1, R=r, S=1, groups=g)
    for k, c, p, r, g in itertools.product((2, 4, 6), (2, 4), (1, 3, 5), (1, 3), (1, 2))
]
ARRAYS = [(1, 1), (2, 3), (3, 2), (4, 4)]
RESNET18 = [  # H, R, C, K, stride, unpadded: the convolutions and the last layer of ResNet-18
    (224, 7, 3, 64, 2), *[(56, 3, 64, 64, 1)] * 4, (56, 3, 64, 128, 2), (28, 3, 128, 128, 1),
    (56, 1, 64, 128, 2),
    *[(28, 3, 128, 128, 1)] * 2, (28, 3, 128, 256, 2), (14, 3, 256, 256, 1), (28, 1, 128, 256, 2),
    *[(14, 3, 256, 256, 1)] * 2, (14, 3, 256, 512, 2), (7, 3, 512, 512, 1), (14, 1, 256, 512, 2),
    *[(7, 3, 512, 512, 1)] * 2, (1, 1, 512, 1000, 1),
]  # fmt: skip


def walk_os_fold(rows: int, cols: int, depth: int) -> int:
    """Step an output-stationary array until it is empty and return the cycles that took.

    Operand t of row i enters column 0 in cycle i + t and moves right, that of column j enters row 0 in cycle
    j + t and moves down; an element that sees both does a tap. A column whose elements are all done shifts
    its sums down, one row per cycle.
    """
    right = np.full((rows, cols), -1)
    down = np.full((rows, cols), -1)
    taps, leaving = np.zeros((rows, cols), int), np.full(cols, rows)
    for cycle in range(1000):
        done = (taps == depth).all(axis=0)
        leaving = np.where(done, np.maximum(leaving - 1, 0), leaving)
        if (leaving == 0).all():
            return cycle + 1
        right[:, 1:], down[1:, :] = right[:, :-1].copy(), down[:-1, :].copy()
        right[:, 0] = [cycle - i if 0 <= cycle - i < depth else -1 for i in range(rows)]
        down[0, :] = [cycle - j if 0 <= cycle - j < depth else -1 for j in range(cols)]
        meet = (right >= 0) & (right == down)
        assert not ((right >= 0) != (down >= 0)).any()  # operands of one tap arrive together
        taps += meet
    raise AssertionError


def walk_ws_fold(rows: int, cols: int, pixels: int) -> int:
    """Step a weight-stationary array until it is empty and return the cycles that took.

    Weights shift in for ``rows`` cycles. Pixel t enters row i, column 0, in cycle rows + i + t and moves
    right; the partial sum made with it moves down and leaves below the last row.
    """
    here, gone = np.full((rows, cols), -1), 0
    for cycle in range(1000):
        t = cycle - rows
        moved = here.copy()
        here[:, 1:] = moved[:, :-1]
        here[:, 0] = [t - i if 0 <= t - i < pixels else -1 for i in range(rows)]
        gone += int((here[-1] >= 0).sum())
        if gone == pixels * cols:
            return cycle + 1
    raise AssertionError


def walk(name: str, loops: LoopNest, rows: int, cols: int) -> tuple[int, int, int, int, int]:
    """Return cycles, input, weight reads, output writes, reads, fold by fold and word by word."""
    cycles = inputs = weights = writes = reads = 0
    across, width = (loops.pixels, loops.depth) if name == "output_stationary" else (loops.depth, loops.pixels)
    fold = {"output_stationary": walk_os_fold, "weight_stationary": walk_ws_fold}[name](rows, cols, width)
    for _ in range(loops.groups):
        for r, c in itertools.product(range(0, across, rows), range(0, loops.K // loops.groups, cols)):
            used_rows, used_cols = min(rows, across - r), min(cols, loops.K // loops.groups - c)
            cycles += fold
            inputs += used_rows * width
            if name == "output_stationary":
                weights += used_cols * width
                writes += used_rows * used_cols
            else:
                weights += used_rows * used_cols
                writes += used_cols * width
                reads += used_cols * width if r else 0
    return cycles, inputs, weights, writes, reads


@pytest.mark.parametrize(("rows", "cols"), ARRAYS)
@pytest.mark.parametrize("name", list(DATAFLOWS))
def test_closed_form_equals_the_walk(name: str, rows: int, cols: int) -> None:
    for loops in LAYERS:
        s = DATAFLOWS[name](loops, rows, cols)
        found = (s.cycles, s.input_reads, s.weight_reads, s.output_writes, s.output_reads)
        assert found == walk(name, loops, rows, cols), loops


@flows
@pytest.mark.parametrize(("rows", "cols"), ARRAYS)
def test_conservation(flow: Dataflow, rows: int, cols: int) -> None:
    for loops in LAYERS:
        s = flow(loops, rows, cols)
        assert s.cycles * rows * cols >= loops.taps
        assert 0 < s.utilisation <= 1
        assert s.input_reads >= loops.pixels * loops.depth >= loops.taps // loops.K
        assert s.weight_reads >= loops.weights
        assert s.output_writes >= loops.outputs
        assert s.output_writes - s.output_reads == loops.outputs


@flows
def test_more_pixels_take_no_fewer_cycles(flow: Dataflow) -> None:
    cycles = [flow(LoopNest(K=8, C=8, P=p, R=3), 4, 4).cycles for p in range(1, 20)]
    assert cycles == sorted(cycles)


@flows
def test_formulas_broadcast(flow: Dataflow) -> None:
    loops, rows, cols = LoopNest(K=10, C=6, P=7, R=3), np.array([[2], [3]]), np.array([1, 4, 5])
    together = flow(loops, rows, cols)  # type: ignore[arg-type]
    for i, j in itertools.product(range(2), range(3)):
        alone = flow(loops, int(rows[i, 0]), int(cols[j]))
        for name in Schedule.__dataclass_fields__:
            column = np.broadcast_to(getattr(together, name), (2, 3))
            assert column[i, j] == getattr(alone, name), name


def scale_sim_layer(H: int, R: int, C: int, K: int, stride: int) -> LoopNest:
    P = -(-(H - R + stride) // stride)
    return LoopNest(K=K, C=C, P=P, Q=P, R=R, S=R, H=H, W=H, stride=(stride, stride))


def test_weight_stationary_equals_scale_sim_over_resnet18() -> None:
    """SCALE-Sim 3.0.0, 32 x 32: 2,519,815 cycles, 45.97 M, 11.68 M reads and 46.29 M writes.

    It reports the number of the last cycle, counted from 0: one less per layer than the cycles.
    """
    runs = [DATAFLOWS["weight_stationary"](scale_sim_layer(*layer), 32, 32) for layer in RESNET18]
    assert sum(run.cycles - 1 for run in runs) == 2_519_815
    assert round(sum(run.input_reads for run in runs) / 1e6, 2) == 45.97
    assert round(sum(run.weight_reads for run in runs) / 1e6, 2) == 11.68
    assert round(sum(run.output_writes for run in runs) / 1e6, 2) == 46.29


def test_weight_stationary_equals_scale_sim_layer_by_layer() -> None:
    path = Path(os.environ.get("ADDERSIM_DATA", "absent")) / ".." / "facts" / "scalesim_resnet18_32x32_ws.csv"
    if not path.exists():
        pytest.skip("SCALE-Sim's report is not at hand (ADDERSIM_DATA)")
    with path.open() as stream:
        reported = [int(row[" Total Cycles"]) for row in csv.DictReader(stream)]
    runs = [DATAFLOWS["weight_stationary"](scale_sim_layer(*layer), 32, 32) for layer in RESNET18]
    assert [run.cycles - 1 for run in runs] == reported


def test_a_dataflow_is_found_by_name_or_is_a_function() -> None:
    flow = DATAFLOWS["output_stationary"]
    assert load_dataflow("output_stationary") == load_dataflow(flow) == ("output_stationary", flow)
    with pytest.raises(InputError, match="did you mean 'output_stationary'"):
        load_dataflow("output_stationry")
