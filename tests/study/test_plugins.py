"""Plug-ins in a sweep: every worker loads what the sweep had, and the sweep is known by what its plug-ins hold."""

import json
import subprocess
import sys

import pandas as pd
import pytest

import addersim
from addersim.errors import InputError
from addersim.mapping.dataflows import DATAFLOWS
from addersim.shelf import PLUGINS, load_plugin
from addersim.study.explore.batch import make_batch, rows
from addersim.study.explore.identity import identity
from addersim.study.explore.space import make_space

PLUGIN = """import os
from pathlib import Path
from addersim.mapping.dataflows import DATAFLOWS, Schedule

def lone(loops, rows, cols):
    return Schedule(loops.taps, 1 / (rows * cols), loops.taps, loops.taps, output_writes=loops.outputs, output_reads=0)

DATAFLOWS.add("lone", lone)
with Path(__file__).with_name("pids").open("a") as file:
    file.write(f"{os.getpid()}\\n")
"""
SPACE = {"evaluation.dataflow": ["lone", "output_stationary"], "quantization.bits": [4, 8]}  # a batch per network


@pytest.fixture
def plugin(tmp_path, shelves):
    path = tmp_path / "lone.py"
    path.write_text(PLUGIN)
    return path


def processes(plugin) -> int:
    return len(set(plugin.with_name("pids").read_text().split()))


def test_processes_load_the_plug_in(study_file, plugin):
    load_plugin(plugin)
    frame = addersim.sweep(study_file, SPACE, "local:2")
    assert processes(plugin) > 1
    pd.testing.assert_frame_equal(frame, addersim.sweep(study_file, SPACE, "local:1"))
    cycles = frame.groupby("evaluation.dataflow")["cycles"].min()
    assert len(frame) == 4 and cycles["lone"] > cycles["output_stationary"]


def test_the_command_s_processes_load_it(study_file, plugin):
    space = f'"evaluation.dataflow" = {json.dumps(SPACE["evaluation.dataflow"])}'
    study_file.write_text(study_file.read_text().replace('"hardware.rows" = [8, 16]', space))
    command = [sys.executable, "-m", "addersim", "sweep", str(study_file), "--plugin", str(plugin), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert {row["evaluation.dataflow"] for row in json.loads(done.stdout)} == {"lone", "output_stationary"}
    assert processes(plugin) > 1 and "lone" not in list(DATAFLOWS)


def test_dask_workers_load_it(study_file, plugin):
    distributed = pytest.importorskip("distributed")
    load_plugin(plugin)
    options = {"threads_per_worker": 1, "processes": True, "dashboard_address": "127.0.0.1:0", "host": "127.0.0.1"}
    with distributed.LocalCluster(n_workers=1, **options) as cluster:
        frame = addersim.sweep(study_file, SPACE, cluster.scheduler_address)
    assert processes(plugin) == 2
    pd.testing.assert_frame_equal(frame, addersim.sweep(study_file, SPACE, "local:1"))


def batch(study_file):
    study = addersim.Study.read(study_file)
    space = make_space(study, {"hardware.rows": [8]}, False)
    return make_batch(study, space, space.batches(1)[0], identity(study, space, False), None)


def test_a_worker_that_finds_another_file_says_so(study_file, plugin, monkeypatch):
    load_plugin(plugin)
    work = batch(study_file)
    assert list(work.plugins.values()) == [str(plugin)] and len(rows(work)["point"]) == 1
    monkeypatch.setattr("addersim.shelf.PLUGINS", {})
    monkeypatch.setattr("addersim.study.explore.batch.PLUGINS", {})
    plugin.write_text("# nothing\n")
    with pytest.raises(InputError, match=r"lone\.py: a worker finds other content there than the sweep began with"):
        rows(work)


def test_a_plug_in_that_is_gone_is_still_loaded_here(study_file, plugin):
    load_plugin(plugin)
    plugin.unlink()
    assert len(addersim.sweep(study_file, {"evaluation.dataflow": ["lone"]}, "local:1")) == 1


def test_a_sweep_is_known_by_what_its_plug_ins_hold(study_file, plugin, tmp_path):
    study = addersim.Study.read(study_file)
    space = make_space(study, {"hardware.rows": [8, 16]}, False)
    without = identity(study, space, False)
    assert not PLUGINS and "plugins" not in without
    load_plugin(plugin)
    (content,) = PLUGINS
    assert identity(study, space, False) == {**without, "plugins": [content]}
    addersim.sweep(study, SPACE, "local:1", out=tmp_path / "out")
    PLUGINS.clear()
    with pytest.raises(InputError, match=r"holds the results of another sweep \(plugins is"):
        addersim.sweep(study, SPACE, "local:1", out=tmp_path / "out")
