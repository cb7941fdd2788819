"""Study files: defaults, overrides, paths, and one-line errors with file, key and the nearest name."""

from pathlib import Path

import pytest

import addersim
from addersim.errors import InputError
from addersim.study.study import Study, changed, shipped_studies


def write(tmp_path, text):
    path = tmp_path / "study.toml"
    path.write_text(text)
    return path


def test_shipped_studies_are_valid():
    assert "lenet5-fashion" in shipped_studies()
    for name in shipped_studies():
        assert Study.read(name).machine().pe in ("adder", "multiplier")


def test_defaults_and_paths(study_file):
    study = Study.read(study_file)
    assert study.quantization.bits == 8 and study.machine().name == "adder_16x16"
    assert study.network.file == str(study_file.parent / "net.safetensors")


def test_quoted_keys_and_a_single_table(study_file):
    study = Study.read(study_file, ['space."hardware.cols"=[4, 8]', "evaluation.tables=aladdin_40nm"])
    assert study.space["hardware.cols"] == (4, 8) and study.evaluation.tables == ("aladdin_40nm",)


def test_overrides_take_toml_values_and_bare_words(study_file):
    settings = [
        "hardware.rows=32",
        "evaluation.dataflow=weight_stationary",
        'quantization.range="max"',
        "data.limit = 3",
    ]
    study = Study.read(study_file, settings)
    assert (study.machine().rows, study.evaluation.dataflow) == (32, "weight_stationary")
    assert (study.quantization.range, study.data.limit) == ("max", 3)
    again = changed(study, {"hardware.rows": 8, "quantization.bits": 4})
    assert (again.machine().rows, again.quantization.bits, again.network.file) == (8, 4, study.network.file)


def test_a_machine_of_the_users_own(tmp_path, study_file):
    shipped = Path(addersim.__file__).parent / "hardware" / "machines" / "edge_small.toml"
    (tmp_path / "chip.toml").write_text(shipped.read_text())
    settings = ["hardware.name=chip.toml", "hardware.cols=5", "hardware.buffers.weights.size_bytes=99"]
    machine = Study.read(study_file, settings).machine()
    assert (machine.rows, machine.cols) == (4, 5)
    assert [buffer.size_bytes for buffer in machine.buffers] == [16384, 99, 8192]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("hardware.row=3", r"study\.toml: \[hardware\].* no 'row'; did you mean 'rows'"),
        ("hardware.rows=0", r"study\.toml: \[hardware\].*rows = 0"),
        ("hardware.rows=many", r"rows = 'many'"),
        ("hardware.name=adder_16x17", "unknown machine 'adder_16x17'; did you mean 'adder_16x16'"),
        ("quantization.bits=99", r"study\.toml: quantization\.bits = 99"),
        ("quantization.bitz=8", "Quantization has no 'bitz'; did you mean 'bits'"),
        ("quantization.range=mze", r"quantization\.range = 'mze'"),
        ("networc.file=x", "Study has no 'networc'; did you mean 'network'"),
        ("network.model=lenet5_adder", "exactly one of model, file and export"),
        ("evaluation.tables=['horowitz']", r"evaluation\.tables: unknown cost table 'horowitz'; did you mean"),
        ("evaluation.tables=[]", "evaluation.tables"),
        ("evaluation.dataflow=outputs", r"evaluation\.dataflow: unknown dataflow 'outputs'"),
        ("data.std=[0.0]", "std holds a number that is not positive"),
        ("hardware=3", "hardware is a table"),
        ("nonsense", "expected key=value"),
    ],
)
def test_bad_keys_and_values(study_file, setting, message):
    with pytest.raises(InputError, match=message) as caught:
        Study.read(study_file, [setting])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[network", "not a TOML file"),
        ("", "Study needs 'network'"),
        ('[network]\nmodel = "lenet6"', "network.model: unknown model 'lenet6'; did you mean"),
        ('[network]\nmodel = "lenet5_adder"\n[data]\nname = "a"\nfolder = "b"', "one of name and folder"),
        (
            '[network]\nmodel = "lenet5_adder"\n[space]\n"hardware.rowz" = [1]',
            "no key 'hardware.rowz'; did you mean 'hardware.rows'",
        ),
        ('[network]\nfile = "a"\nweights = "b"', "weights goes with model"),
    ],
)
def test_bad_files(tmp_path, text, message):
    with pytest.raises(InputError, match=message) as caught:
        Study.read(write(tmp_path, text))
    assert "study.toml" in str(caught.value)


def test_a_space_may_name_a_buffer(tmp_path):
    text = '[network]\nmodel = "lenet5_adder"\n[space]\n"hardware.buffers.inputs.{}" = [1024, 2048]'
    study = Study.read(write(tmp_path, text.format("size_bytes")))
    assert changed(study, {"hardware.buffers.inputs.size_bytes": 1024}).machine().buffer("inputs").size_bytes == 1024
    with pytest.raises(InputError, match=r"did you mean 'hardware\.buffers\.inputs\.size_bytes'"):
        Study.read(write(tmp_path, text.format("size_byte")))


def test_missing_and_unreadable_files(tmp_path):
    with pytest.raises(InputError, match="no such file, and no shipped study; did you mean 'lenet5-fashion'"):
        Study.read("lenet5-fashio")
    with pytest.raises(InputError, match="cannot be read"):
        Study.read(tmp_path)


def test_a_value_has_no_keys(study_file):
    with pytest.raises(InputError, match="title is a value, not a table"):
        Study.read(write(study_file.parent, 'title = "t"\n[network]\nfile = "net.safetensors"'), ["title.x=1"])


def test_public_name():
    assert addersim.Study is Study
