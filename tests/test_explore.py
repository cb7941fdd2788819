"""Sweeps: equal to one evaluation at a time, whatever the pool."""

import pandas as pd
import pytest

import addersim
from addersim.errors import InputError
from addersim.outcome import load_calibration, load_network
from addersim.study import Study


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
        qnet = addersim.quantize(network, load_calibration(study.data)[0], bits=int(row["quantization.bits"]))
        cost = addersim.evaluate(qnet.on(machine), machine)
        assert (row["energy_pj"], row["cycles"]) == (cost.energy_pj, cost.cycles)


def test_the_pool_changes_nothing(study_file):
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
        ({"hardware.rows": [8]}, "dask", "expected local:N"),
        ({"hardware.rows": [8]}, "local:0", "expected local:N"),
    ],
)
def test_spaces_that_cannot_be_swept(study_file, space, pool, message):
    with pytest.raises(InputError, match=message):
        addersim.sweep(Study.read(study_file), space, pool)
