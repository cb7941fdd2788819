"""Searches: no point twice, the same for a seed, not far from the front of the whole space."""

import pandas as pd
import pytest

import addersim
from addersim.errors import InputError
from addersim.study.explore import search as trials

pytest.importorskip("optuna")
SPACE = {
    "hardware.rows": list(range(1, 33)),
    "hardware.cols": list(range(1, 33)),
    "quantization.bits": [4, 8],
    "evaluation.dataflow": ["output_stationary", "weight_stationary"],
}
OBJECTIVES = {"energy_pj": "min", "latency_us": "min"}


@pytest.fixture
def priced(monkeypatch):
    """The list of the single points that are evaluated."""
    points = []

    def counted(study, qnet, space, indices, *rest, do=trials.priced):
        points.extend(indices if len(indices) == 1 else [])
        return do(study, qnet, space, indices, *rest)

    monkeypatch.setattr(trials, "priced", counted)
    return points


def test_the_same_seed_tries_the_same_distinct_points(study_file, priced):
    frame = addersim.search(study_file, SPACE, OBJECTIVES, trials=20, seed=3)
    assert len(frame) == 20 == len(frame.drop_duplicates(list(SPACE)))
    assert len(priced) == 20 == len(set(priced))
    pd.testing.assert_frame_equal(addersim.search(study_file, SPACE, OBJECTIVES, trials=20, seed=3), frame)
    assert not addersim.search(study_file, SPACE, OBJECTIVES, trials=20, seed=4).equals(frame)


def test_rows_are_those_of_a_sweep(study_file):
    space = {"hardware.rows": [4, 8], "evaluation.dataflow": ["weight_stationary", "output_stationary"]}
    found = addersim.search(study_file, space, OBJECTIVES, trials=100)  # all of the space, and no more
    whole = addersim.sweep(study_file, space, "local:1")
    pd.testing.assert_frame_equal(found.sort_values(list(space)).reset_index(drop=True),
                                  whole.sort_values(list(space)).reset_index(drop=True))  # fmt: skip


def test_the_front_of_the_sample_begins(study_file):
    space = {
        "hardware.rows": [2, 4, 8, 16],
        "hardware.cols": [2, 4, 8, 16],
    }  # fewer than the sample has
    front = addersim.pareto(addersim.sweep(study_file, space, "local:1"), OBJECTIVES)
    tried = addersim.search(study_file, space, OBJECTIVES, trials=16)
    opening = tried.head(min(len(front), 8))
    assert len(opening.merge(front)) == len(opening)


def test_a_stopped_search_takes_the_same_way(study_file, tmp_path, priced):
    class Stop(Exception):
        pass

    def stop(step, done):
        if done >= 0.5:
            raise Stop

    with pytest.raises(Stop):
        addersim.search(study_file, SPACE, OBJECTIVES, 12, 0, stop, out=tmp_path / "out")
    assert len(priced) == 6
    frame = addersim.search(study_file, SPACE, OBJECTIVES, 12, 0, out=tmp_path / "out")
    assert len(priced) == 12 == len(set(priced))
    pd.testing.assert_frame_equal(frame, addersim.search(study_file, SPACE, OBJECTIVES, 12, 0))


def test_accuracy_is_simulated_for_trials_only(study_file, tmp_path):
    objectives = {"energy_pj": "min", "accuracy_percent": "max"}
    frame = addersim.search(study_file, SPACE, objectives, trials=6, out=tmp_path / "out")
    assert len(frame) == 6 and frame["accuracy_percent"].between(0, 100).all()
    assert len(list((tmp_path / "out" / "accuracy").iterdir())) == frame["quantization.bits"].nunique()
    only = addersim.search(study_file, SPACE, {"accuracy_percent": "max"}, trials=4)
    assert len(only) == 4


@pytest.mark.parametrize(
    ("objectives", "trials", "message"),
    [
        ({}, 4, "no objectives"),
        ({"energy": "min"}, 4, "did you mean 'energy_pj'"),
        ({"area_um2": "min"}, 4, "area_um2 is NaN"),
        (OBJECTIVES, 0, "trials = 0"),
    ],
)
def test_searches_that_cannot_be(study_file, objectives, trials, message):
    with pytest.raises(InputError, match=message):
        addersim.search(study_file, SPACE, objectives, trials)


def test_points_that_are_refused_are_tried_and_on_no_front(study_file):
    space = {
        "hardware.buffers.weights.size_bytes": [1, 2, 3, 4, 5, 6, 7, 65536],
        "hardware.rows": [4, 8],
    }
    found = addersim.search(study_file, space, OBJECTIVES, trials=16)
    assert len(found) == 16 == (found["refused"] != "").sum() + 2
    assert set(addersim.pareto(found, OBJECTIVES)["hardware.buffers.weights.size_bytes"]) == {65536}
    refused = {"hardware.buffers.weights.size_bytes": [1, 2], "hardware.rows": list(range(1, 33))}
    assert addersim.search(study_file, refused, OBJECTIVES, trials=12)["energy_pj"].isna().all()
