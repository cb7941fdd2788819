"""Dask clusters: the rows of this machine, also when a worker is killed; errors where there is no cluster."""

import os
import socket

import pandas as pd
import pytest

import addersim
from addersim.errors import InputError
from addersim.study.explore import sweep as grid
from addersim.study.explore import workers

distributed = pytest.importorskip("distributed")
SPACE = {"hardware.cols": list(range(1, 31))}


@pytest.fixture(scope="module")
def cluster():
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0", host="127.0.0.1"
    ) as started:
        yield started


def test_a_killed_worker_costs_no_row(study_file, tmp_path, cluster, monkeypatch):
    monkeypatch.setattr(grid, "PART", 1)
    killed = []

    def kill(step, done):
        if done >= 0.2 and not killed:
            worker = next(iter(cluster.workers.values()))
            killed.append(worker.pid)
            os.kill(worker.pid, 9)

    frame = addersim.sweep(study_file, SPACE, cluster.scheduler_address, kill, out=tmp_path / "out")
    assert killed
    pd.testing.assert_frame_equal(frame, addersim.sweep(study_file, SPACE, "local:1"))


def test_what_is_wrong_with_a_point_is_told(study_file, cluster):
    with pytest.raises(InputError, match="no such file"):
        study = addersim.Study.read(study_file)
        (study_file.parent / "net.safetensors").unlink()
        addersim.sweep(study, SPACE, cluster.scheduler_address)


def test_a_cluster_without_workers_is_told_and_a_finished_sweep_needs_none(study_file, tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "ANSWER_SECONDS", 0.5)
    with distributed.LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0", host="127.0.0.1") as empty:
        with pytest.raises(InputError, match="the Dask cluster has no workers"):
            addersim.sweep(study_file, SPACE, empty.scheduler_address)
        frame = addersim.sweep(study_file, SPACE, "local:1", out=tmp_path / "out")
        again = addersim.sweep(study_file, SPACE, empty.scheduler_address, out=tmp_path / "out")
        pd.testing.assert_frame_equal(again, frame)


def test_nobody_answers(study_file, monkeypatch):
    monkeypatch.setattr(workers, "ANSWER_SECONDS", 0.5)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        with pytest.raises(InputError, match=rf"{address}: no Dask scheduler answers within 0\.5 s"):
            addersim.sweep(study_file, SPACE, address)
