"""Sweeps: equal to one evaluation at a time, whatever pool, shards and interruptions; accuracy simulated once."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest

import addersim
from addersim.errors import InputError
from addersim.study.explore import accuracy
from addersim.study.explore import sweep as grid
from addersim.study.explore.space import Space
from addersim.study.explore.workers import completed
from addersim.study.outcome import load_calibration, load_network, run
from addersim.study.study import Study

SPACE = {"hardware.cols": [4, 8], "quantization.bits": [4, 8], "evaluation.dataflow": ["output_stationary"]}


@pytest.fixture
def one_point_parts(monkeypatch):
    """Parts of one point each."""
    monkeypatch.setattr(grid, "PART", 1)


@pytest.fixture
def evaluated(monkeypatch):
    """The list of the batches that this process evaluates."""
    calls = []
    monkeypatch.setattr(grid, "rows", lambda batch, rows=grid.rows: calls.append(batch) or rows(batch))
    return calls


def test_a_grid_equals_one_evaluation_at_a_time(study_file):
    study = Study.read(study_file)
    frame = addersim.sweep(study, pool="local:1")
    assert list(zip(frame["hardware.rows"], frame["quantization.bits"], strict=True)) == [
        (8, 4),
        (8, 8),
        (16, 4),
        (16, 8),
    ]
    network, _ = load_network(study.network)
    for _, row in frame.iterrows():
        machine = addersim.hardware.load_hardware("adder_16x16", rows=int(row["hardware.rows"]))
        qnet = addersim.quantize(network, load_calibration(study.data)[0][0], bits=int(row["quantization.bits"]))
        cost = addersim.evaluate(qnet.on(machine), machine)
        assert row["cycles"] == cost.cycles
        assert row["energy_pj"] == pytest.approx(cost.energy_pj, rel=1e-13)  # but for the order of the sum


def test_the_pool_changes_nothing(study_file, one_point_parts):
    study = Study.read(study_file)
    space = {"hardware.cols": [4, 8], "evaluation.dataflow": ["output_stationary", "weight_stationary"]}
    pd.testing.assert_frame_equal(addersim.sweep(study, space, "local:1"), addersim.sweep(study, space, "local:2"))


def test_quantised_files_sweep_too(tmp_path, qnet):
    qnet.save(tmp_path / "q.safetensors")
    (tmp_path / "study.toml").write_text('[network]\nfile = "q.safetensors"\n')
    frame = addersim.sweep(Study.read(tmp_path / "study.toml"), {"hardware.rows": [4]}, "local:1")
    assert len(frame) == 1


@pytest.mark.parametrize("key", ["quantization.bits", "data.calibration_limit"])
def test_a_quantised_file_is_not_quantised_again(tmp_path, qnet, key):
    qnet.save(tmp_path / "q.safetensors")
    (tmp_path / "study.toml").write_text('[network]\nfile = "q.safetensors"\n')
    with pytest.raises(InputError, match=rf"study\.toml: {key} has no effect, since .*q\.safetensors"):
        addersim.sweep(Study.read(tmp_path / "study.toml"), {key: [4, 8]}, "local:1")


def test_missing_areas_are_not_a_number_whatever_the_tables(study_file):
    for tables in (["horowitz2014_45nm"], ["horowitz2014_45nm", "aladdin_40nm"]):
        study = Study.read(study_file, [f"evaluation.tables={tables}"])
        frame = addersim.sweep(study, {"hardware.rows": [8]}, "local:1")
        assert frame["area_um2"].dtype == float
        assert list(frame["area_um2"].isna()) == [table == "horowitz2014_45nm" for table in tables]


@pytest.mark.parametrize(
    ("space", "pool", "message"),
    [
        ({}, "local:1", "the space is empty"),
        ({"hardware.rows": []}, "local:1", "the space is empty"),
        ({"hardware.rowz": [1]}, "local:1", "did you mean 'hardware.rows'"),
        ({"twin.model": ["lenet5_conv"]}, "local:1", r"study\.toml: twin\.model changes nothing in a sweep"),
        ({"data.limit": [1, 2]}, "local:1", r"study\.toml: data\.limit changes nothing in a sweep"),
        ({"hardware.rows": [8, -1]}, "local:1", "rows = -1"),
        ({"hardware.rows": [[8]]}, "local:1", r"hardware\.rows = \[8\] in the space, expected texts, numbers"),
        ({"hardware.node_nm": [7, 45]}, "local:1", r"changes no price, .* put \"evaluation.tables\" = "),
        ({"hardware.rows": [8]}, "dask", "expected local:N"),
        ({"hardware.rows": [8]}, "local:0", "expected local:N"),
        ({"hardware.rows": [8]}, "tcp://:", "or a Dask cluster as tcp://HOST:PORT"),
        ({"hardware.rows": [8]}, "tcp://host", "or a Dask cluster as tcp://HOST:PORT"),
    ],
)
def test_spaces_that_cannot_be_swept(study_file, space, pool, message):
    with pytest.raises(InputError, match=message):
        addersim.sweep(Study.read(study_file), space, pool)


@pytest.mark.parametrize("size", [1, 3, 100])
def test_batches_hold_every_point_once_and_share_a_network(size):
    axes = {
        "hardware.rows": (1, 2, 3),
        "quantization.bits": (4, 8),
        "evaluation.dataflow": ("a", "b"),
        "data.limit": (1,),
    }
    space = Space(axes)
    batches = space.batches(size)
    assert sorted(np.concatenate(batches)) == list(range(12)) and max(map(len, batches)) <= size
    assert space.points(np.arange(12)) == [dict(zip(axes, v, strict=True)) for v in product(*axes.values())]
    for batch in batches:
        assert len({point["quantization.bits"] for point in space.points(batch)}) == 1
        assert len(set(space.network(batch))) == 1
    assert {point["quantization.bits"] for batch in batches[:2] for point in space.points(batch)} == {4, 8}


def test_a_folder_holds_the_rows(study_file, tmp_path, one_point_parts, evaluated):
    frame = addersim.sweep(study_file, SPACE, "local:1")
    for calls in (4, 0):  # the second sweep finds everything
        evaluated.clear()
        pd.testing.assert_frame_equal(addersim.sweep(study_file, SPACE, "local:1", out=tmp_path / "out"), frame)
        assert len(evaluated) == calls
    files = {file.name for file in (tmp_path / "out").iterdir()}
    assert len(files) == 5 and all(name == "sweep.json" or name.startswith("part-") for name in files)
    read = pd.concat(map(pd.read_parquet, (tmp_path / "out").glob("part-*.parquet"))).sort_values("point")
    pd.testing.assert_frame_equal(read.drop(columns="point").reset_index(drop=True), frame)


def test_a_killed_sweep_goes_on(study_file, tmp_path, one_point_parts, evaluated):
    psutil = pytest.importorskip("psutil")
    space, out = {"hardware.cols": list(range(1, 101))}, tmp_path / "out"
    code = f"""
import addersim, addersim.study.explore.sweep as grid
grid.PART = 1
addersim.sweep({str(study_file)!r}, {space}, "local:2", out={str(out)!r})
"""
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        while len(list(out.glob("part-*"))) < 3:
            assert process.poll() is None
            time.sleep(0.002)
        children = psutil.Process(process.pid).children(recursive=True)
    finally:
        process.kill()
        process.wait()
    finished = {file: file.stat().st_mtime_ns for file in out.glob("part-*")}
    assert 3 <= len(finished) < 100
    frame = addersim.sweep(study_file, space, "local:1", out=out)
    assert len(evaluated) == 100 - len(finished)
    assert {file: file.stat().st_mtime_ns for file in finished} == finished
    pd.testing.assert_frame_equal(frame, addersim.sweep(study_file, space, "local:1"))
    assert not psutil.wait_procs(children, timeout=20)[1]  # its workers left with it


def test_shards_are_merged(study_file, tmp_path, one_point_parts, evaluated):
    out = tmp_path / "out"
    parts = [addersim.sweep(study_file, SPACE, "local:1", out=out, shard=f"{i}/3") for i in (3, 1, 2)]
    assert [len(part) for part in parts] == [1, 2, 1] and len(evaluated) == 4
    merged = addersim.sweep(study_file, SPACE, "local:1", out=out)
    assert len(evaluated) == 4
    pd.testing.assert_frame_equal(merged, addersim.sweep(study_file, SPACE, "local:1"))
    assert addersim.sweep(study_file, SPACE, "local:1", out=out, shard="9/9").empty


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "a/2", "1/0", "-1/2", "1/2/3"])
def test_shards_out_of_range(study_file, tmp_path, shard):
    with pytest.raises(InputError, match="expected i/N with i from 1 to N"):
        addersim.sweep(study_file, SPACE, "local:1", out=tmp_path / "out", shard=shard)


def test_a_shard_needs_a_folder(study_file):
    with pytest.raises(InputError, match="needs out"):
        addersim.sweep(study_file, SPACE, "local:1", shard="1/2")


def test_folders_of_another_sweep_are_refused(study_file, tmp_path):
    out = tmp_path / "out"
    addersim.sweep(study_file, SPACE, "local:1", out=out)
    with pytest.raises(InputError, match=r"out: holds .* another sweep \(hardware\.clock_mhz is not set there"):
        addersim.sweep(Study.read(study_file, ["hardware.clock_mhz=400"]), SPACE, "local:1", out=out)
    with pytest.raises(InputError, match=r"another sweep \(space is .*\[4, 8\].* there, .*\[4\].* here"):
        addersim.sweep(study_file, {**SPACE, "hardware.cols": [4]}, "local:1", out=out)
    with pytest.raises(InputError, match=r"another sweep \(accuracy is False there, True here"):
        addersim.sweep(study_file, SPACE, "local:1", out=out, accuracy=True)
    addersim.example_network(adder=False).save(tmp_path / "net.safetensors")
    with pytest.raises(InputError, match=r"another sweep \(network\.file is sha256:"):
        addersim.sweep(study_file, SPACE, "local:1", out=out)
    (out / "sweep.json").write_text("nonsense")
    with pytest.raises(InputError, match=r"sweep\.json: cannot be read"):
        addersim.sweep(study_file, SPACE, "local:1", out=out)


def test_titles_and_twins_and_places_do_not_matter(study_file, tmp_path, evaluated):
    addersim.sweep(study_file, SPACE, "local:1", out=tmp_path / "out")
    (tmp_path / "elsewhere").mkdir()
    for name in ("net.safetensors", "twin.safetensors", "study.toml", "out"):
        (tmp_path / name).rename(tmp_path / "elsewhere" / name)
    evaluated.clear()
    moved = Study.read(tmp_path / "elsewhere" / "study.toml", ["title=Moved"])
    addersim.sweep(moved, SPACE, "local:1", out=tmp_path / "elsewhere" / "out")
    assert not evaluated


def test_a_broken_part_is_named(study_file, tmp_path):
    addersim.sweep(study_file, SPACE, "local:1", out=tmp_path / "out")
    part = next((tmp_path / "out").glob("part-*"))
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(InputError, match=rf"{part.name}: not a readable Parquet file; delete it"):
        addersim.sweep(study_file, SPACE, "local:1", out=tmp_path / "out")


def test_accuracy_is_the_simulator_s_and_simulated_once(tmp_path, monkeypatch):
    simulated = []
    monkeypatch.setattr(
        accuracy, "simulate", lambda *args, do=accuracy.simulate: simulated.append(args[0]) or do(*args)
    )
    few = ["data.limit=32", "data.calibration_limit=8"]
    study = Study.read("lenet5-fashion", few)
    space = {"hardware.rows": [8, 16], "quantization.bits": [3, 8], "hardware.accumulator_bits": [16, 24]}
    frame = addersim.sweep(study, space, "local:1", out=tmp_path, accuracy=True)
    assert len(simulated) == 4  # two widths, two accumulators: rows of the array change nothing
    for bits in (3, 8):
        settings = [*few, f"quantization.bits={bits}", "hardware.accumulator_bits=16", "hardware.rows=8"]
        outcome = run(Study.read("lenet5-fashion", settings).model_copy(update={"twin": None}))
        rows = frame[(frame["quantization.bits"] == bits) & (frame["hardware.accumulator_bits"] == 16)]
        assert set(rows["accuracy_percent"]) == {100 * outcome.sides[0].accuracy}
    assert frame.groupby(["quantization.bits", "hardware.accumulator_bits"])["accuracy_percent"].nunique().max() == 1
    remembered = [json.loads(file.read_text())["accuracy_percent"] for file in (tmp_path / "accuracy").iterdir()]
    assert len(remembered) == 4 and set(remembered) == set(frame["accuracy_percent"])
    for part in tmp_path.glob("part-*"):
        part.unlink()
    pd.testing.assert_frame_equal(addersim.sweep(study, space, "local:1", out=tmp_path, accuracy=True), frame)
    assert len(simulated) == 4


def test_images_matter_where_they_are_simulated(study_file):
    frame = addersim.sweep(study_file, {"data.limit": [1, 2]}, "local:1", accuracy=True)
    assert list(frame["data.limit"]) == [1, 2] and frame["accuracy_percent"].isin([0, 50, 100]).all()


def test_a_worker_that_dies_is_told():
    with pytest.raises(InputError, match="a worker process died"):
        list(completed(os._exit, [1, 1], "local:2"))


def test_workers_of_another_version_are_refused(study_file, monkeypatch):
    monkeypatch.setattr(grid, "rows", lambda batch, rows=grid.rows: rows(replace(batch, version="0.0.0")))
    with pytest.raises(InputError, match=r"a worker has addersim .*, the sweep 0\.0\.0"):
        addersim.sweep(study_file, SPACE, "local:1")


def test_cost_tables_are_an_axis(study_file):
    names = ["horowitz2014_45nm", "horowitz2014_45nm@16nm,0.8V", "aladdin_40nm"]
    axis = addersim.sweep(Study.read(study_file), {"hardware.rows": [8, 16], "evaluation.tables": names})
    assert list(axis["table"]) == list(axis["evaluation.tables"]) == 2 * names
    rows = addersim.sweep(Study.read(study_file, [f"evaluation.tables={names}"]), {"hardware.rows": [8, 16]})
    pd.testing.assert_frame_equal(axis.drop(columns="evaluation.tables"), rows)


def test_points_that_do_not_go_with_the_network_or_the_table_are_refused(study_file):
    space = {"quantization.bits": [8, 12], "evaluation.tables": ["horowitz2014_45nm", "eyeriss_65nm"]}
    study = Study.read(study_file, ["data.limit=4"])
    frame = addersim.sweep(study, {**space, "hardware.rows": [8, 16]}, accuracy=True)
    fine = frame["quantization.bits"].eq(8) & frame["table"].eq("horowitz2014_45nm")
    assert frame["energy_pj"].notna().tolist() == fine.tolist() == frame["refused"].eq("").tolist()
    assert frame["accuracy_percent"].notna().tolist() == frame["quantization.bits"].eq(8).tolist()
    assert frame.loc[frame["quantization.bits"] == 12, "refused"].str.contains("expected operand_bits = 8").all()
    narrow = frame[(frame["quantization.bits"] == 8) & (frame["table"] == "eyeriss_65nm")]
    assert narrow["refused"].str.startswith("eyeriss_65nm").all()


@pytest.mark.parametrize("tiling", ["traffic", "energy"])
def test_points_whose_buffer_is_too_small_are_refused_as_one_by_one(study_file, tiling, tmp_path):
    study = Study.read(study_file, [f"evaluation.tiling={tiling}"])
    space = {"hardware.buffers.weights.size_bytes": [4, 65536], "hardware.circuit": ["xor_carry", "comparator"]}
    frame = addersim.sweep(study, space, "local:1", out=tmp_path / "out")
    small, large = frame.iloc[:2], frame.iloc[2:]
    with pytest.raises(InputError) as refusal:
        qnet = addersim.quantize(load_network(study.network)[0], load_calibration(study.data)[0][0])
        machine = addersim.hardware.load_hardware("adder_16x16", buffers={"weights": {"size_bytes": 4}})
        addersim.evaluate(qnet.on(machine), machine, tiling=tiling)
    assert set(small["refused"]) == {str(refusal.value)} and "smallest size that works has" in str(refusal.value)
    assert small.loc[:, "energy_pj":"latency_us"].isna().all(axis=None) and (large["refused"] == "").all()
    assert (large["energy_pj"] > 0).all() and (large["cycles"] % 1 == 0).all()
    front = addersim.pareto(frame, {"energy_pj": "min", "cycles": "min"})
    assert len(front) and set(front.index) <= set(large.index)
    pd.testing.assert_frame_equal(addersim.sweep(study, space, "local:1", out=tmp_path / "out"), frame)
    assert not addersim.pareto(small, {"energy_pj": "min"}).size
