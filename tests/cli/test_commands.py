"""The command line, in this process and as users start it."""

import io
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pandas as pd
import pytest
from command_line import addersim

from addersim import __version__
from addersim.cli.terminal import print_frame
from addersim.costs.comparison.compare import METRICS
from addersim.study.study import make_study


def test_help_names_every_command(capsys):
    addersim("--help")
    out = capsys.readouterr().out
    assert all(name in out for name in ("demo", "train", "simulate", "compare", "report", "sweep", "search", "list"))


def test_no_command_prints_the_help(capsys):
    addersim()
    captured = capsys.readouterr()
    assert captured.out.startswith("Usage:") and captured.out.count("\n") > 10 and captured.err == ""
    assert "..." not in captured.out.split("Commands:")[1]  # every line about a command is whole


def test_version(capsys):
    addersim("--version")
    assert capsys.readouterr().out == f"addersim {__version__}\n"


def test_list_names_the_shelves(capsys):
    addersim("list")
    out = capsys.readouterr().out
    addersim("list", "--json")
    names = [one["name"] for one in json.loads(capsys.readouterr().out)]
    assert names == ["costs", "hardware", "dataflows", "ops", "models", "networks", "studies", "recipes"]
    assert all(re.search(rf"^ {name} ", out, re.MULTILINE) for name in names)


def test_list_models_says_which_weights_are_shipped(capsys):
    addersim("list", "models", "--json")
    weights = {one["name"]: one["weights"] for one in json.loads(capsys.readouterr().out)}
    assert weights["lenet5_adder"] == weights["lenet5_conv"] == "fashion_mnist, mnist"
    assert weights["resnet20_adder"] == weights["resnet20_conv"] == "cifar10"
    assert {weights[name] for name in ("resnet18_adder", "resnet32_conv", "resnet50_adder")} == {"none"}
    addersim("list", "models")
    assert "they need torch" in " ".join(capsys.readouterr().out.split())


def test_simulate_prints_a_table_and_json(study_file, capsys):
    addersim("simulate", study_file, "--explain")
    out = capsys.readouterr().out
    assert all(
        word in out for word in ("conv2", "7,200 a", "57,600 m", "SQNR dB", "arithmetic", "no register can overflow")
    )
    assert "a adders, m multipliers" in out and "16x16 a" in out and "8x8 m" in out
    assert re.search(r"array area +- +-", out) and "none of [evaluation].tables prints areas" in out
    assert len(re.findall("^ all ", out, re.MULTILINE)) == 4
    assert all(head in out for head in ("step", "in satur. %", "w satur. %", "range %", "acc needs"))
    assert re.search(r"conv2 +\d+\.\d +0\.\d+ +\d+\.\d\d +\d+\.\d\d +\d+\.\d\d +1[2-4] b", out)
    assert re.search(r"adder, against its float model: top class agrees on .* worst layer \w+, ", " ".join(out.split()))
    addersim("simulate", study_file, "--json", "--explain", "--set", "data.limit=8")
    figures = json.loads(capsys.readouterr().out)
    assert figures["images"] == 8
    conv2 = figures["adder"]["layers"][3]
    assert conv2["layer"] == "conv2" and conv2["accumulator_bits_needed"] in (12, 13, 14)
    assert conv2["saturated_weights"] > 0 and 0 < conv2["range_use"] <= 1 and conv2["step"] > 0
    assert figures["adder"]["parting_layer"] is None and figures["adder"]["worst_layer"]
    assert "step" in figures["adder"]["layers"][3]["path"] or "sum" in figures["adder"]["layers"][3]["path"]
    assert figures["multiplier"]["adder_taps"] == 0
    assert figures["energy_multiplier_over_adder"]["range"]


def test_compare_prints_every_table(study_file, capsys):
    addersim("compare", study_file, "--set", "data.limit=8")
    out = capsys.readouterr().out
    assert all(
        table in out for table in ("horowitz2014_45nm", "aladdin_40nm", "qkeras_fit_45nm", "evoapprox_45nm", "range")
    )
    assert "range, side array 16x16" in out and "8x8 multipliers beside the adders" in " ".join(out.split())
    addersim("compare", study_file, "--json", "--set", "data.limit=8")
    figures = json.loads(capsys.readouterr().out)
    assert "layers" not in figures["adder"] and any("buffer energy" in text for text in figures["assumptions"])
    for metric in METRICS:
        ratios = figures[f"{metric}_multiplier_over_adder"]["by_table"]
        rows = {table: row[metric] for table, row in figures["tables"].items()}
        assert {table: row["ratio"] for table, row in rows.items()} == pytest.approx(ratios)
        assert all(
            r["ratio"] is None or r["ratio"] * r["adder"] == pytest.approx(r["multiplier"]) for r in rows.values()
        )


def test_compare_says_what_moves_the_ratio_and_prices_other_arrays(study_file, capsys):
    addersim("compare", study_file, "--set", "data.limit=8", "--arrays")
    out = " ".join(capsys.readouterr().out.split())
    assert "what moves whole energy" in out and "cost table" in out and "circuit of the distance" in out
    assert "evoapprox_45nm" in out and "MHz" in out and "own clock" in out
    assert all(f"{held} {kind}" in out for held in ("elements", "area", "power") for kind in ("shift", "xnor"))
    assert "their accuracy is not claimed" in out
    addersim("compare", study_file, "--json", "--set", "data.limit=8", "--arrays")
    figures = json.loads(capsys.readouterr().out)
    widest = figures["tornado"]["energy"]["assumptions"][0]
    assert widest["low"] <= figures["tornado"]["energy"]["ratio"] <= widest["high"]
    assert figures["own_clock"]["horowitz2014_45nm"] is None
    assert figures["own_clock"]["evoapprox_45nm"]["adder_mhz"] > 300
    assert {row["array"] for row in figures["arrays"]["rows"]} == {"adder", "multiplier", "shift", "xnor"}


def test_sweep_writes_csv_and_goes_on_from_a_folder(study_file, tmp_path, capsys):
    csv, out = tmp_path / "rows.csv", tmp_path / "out"
    addersim("sweep", study_file, "--threads", "1", "--csv", csv, "--out", out)
    lines = csv.read_text().splitlines()
    assert len(lines) == 5 and lines[1].endswith(",")  # no area in the table: empty here, null in JSON, - on screen
    said = capsys.readouterr().out
    assert "hardware.rows" in said and not re.search("NaN|None", said)
    assert "nothing is simulated: energy, latency and area only; [twin] is left out" in said
    assert f"report: {out / 'index.html'}" in said and (out / "front.csv").exists()
    parts = {file: file.stat().st_mtime_ns for file in out.glob("part-*")}
    addersim("sweep", study_file, "--threads", "1", "--json", "--out", out)
    rows = json.loads(capsys.readouterr().out)
    assert len(rows) == 4 and rows[0]["area_um2"] is None
    assert parts == {file: file.stat().st_mtime_ns for file in out.glob("part-*")}


def test_sweep_with_accuracy_by_shards(study_file, tmp_path, capsys):
    for shard in ("1/2", "2/2"):
        addersim("sweep", study_file, "--threads", "1", "--accuracy", "--shard", shard, "--out", tmp_path / "out")
        assert "accuracy_percent" in capsys.readouterr().out
    addersim("sweep", study_file, "--threads", "1", "--accuracy", "--out", tmp_path / "out", "--json")
    assert len(json.loads(capsys.readouterr().out)) == 4


def test_search_prints_distinct_trials(study_file, tmp_path, capsys):
    pytest.importorskip("optuna")
    both = ["--objective", "energy_pj=min", "--objective", "cycles=min"]
    addersim("search", study_file, *both, "--trials", "3", "--json", "--csv", tmp_path / "rows.csv")
    rows = json.loads(capsys.readouterr().out)
    assert len({(row["hardware.rows"], row["quantization.bits"]) for row in rows}) == 3
    assert len((tmp_path / "rows.csv").read_text().splitlines()) == 4


def test_widths_prints_what_a_study_takes(study_file, capsys):
    where = [study_file, "--set", "data.calibration_limit=16", "--choose", "3", "--choose", "6"]
    addersim("widths", *where, "--energy-pj", "1e9", "--json")
    found = json.loads(capsys.readouterr().out)
    assert found["layer_bits"] == {"conv2": 6} and 0 <= found["agreement"] <= 1
    addersim("widths", *where, "--agreement", "0")
    line, said = capsys.readouterr().out.splitlines()
    assert line == 'layer_bits = {"conv2" = 3}' and "pJ an image" in said
    addersim("widths", *where, "--accuracy", "0", "--json")
    narrow = json.loads(capsys.readouterr().out)
    assert narrow["layer_bits"] == {"conv2": 3} and f"accuracy {100 * narrow['accuracy']:.2f} %" in said
    study = make_study({**tomllib.loads(study_file.read_text()), "quantization": tomllib.loads(line)}, study_file)
    assert study.quantization.layer_bits == {"conv2": 3}


@pytest.mark.parametrize(("shelf", "name"), [("recipes", "lenet5_adder-mnist"), ("studies", "lenet5-fashion")])
def test_a_printed_file_is_the_file(capsys, shelf, name):
    addersim("list", shelf, name)
    assert tomllib.loads(capsys.readouterr().out)


@pytest.mark.parametrize("shelf", ["costs", "hardware", "dataflows", "ops", "models", "studies", "recipes"])
def test_list_shows_every_shelf_with_sources(shelf, capsys):
    addersim("list", shelf, "--json")
    found = json.loads(capsys.readouterr().out)
    assert found and all(one["name"] and one["description"] and one["source"] for one in found)
    addersim("list", shelf)
    assert found[0]["name"] in capsys.readouterr().out
    addersim("list", shelf, found[0]["name"])
    assert capsys.readouterr().out.strip()
    addersim("list", shelf, found[0]["name"], "--json")
    assert json.loads(capsys.readouterr().out)["name"] == found[0]["name"]


def test_list_draws_a_machine_also_where_the_terminal_has_no_lines(capsys, monkeypatch):
    addersim("list", "hardware", "adder_tree_16x16")
    out = capsys.readouterr().out
    assert "┌─" in out and "│ tree over 16 rows" in out
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), "ascii", write_through=True))
    addersim("list", "hardware", "adder_tree_16x16")
    assert b"| tree over 16 rows" in sys.stdout.buffer.getvalue()


def test_the_demo_says_where_and_writes_into_a_folder_of_its_own(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("addersim.cli.study.report", lambda study, out, **_: print(study, out))
    addersim("demo")
    assert capsys.readouterr().out == "lenet5-fashion addersim-demo\n"


@pytest.mark.parametrize(
    ("checkpoint", "message"),
    [(True, "stopped; --resume goes on after the last whole epoch"), (False, "stopped in the first epoch")],
)
def test_interrupted_training_says_how_to_go_on(tmp_path, monkeypatch, capsys, checkpoint, message):
    def interrupted(recipe, out, *_, **__):
        if checkpoint:
            (out / "checkpoint.pt").write_bytes(b"")
        raise KeyboardInterrupt

    monkeypatch.setattr("addersim.train.train", interrupted)
    addersim("train", "lenet5_adder-fashion_mnist", "--out", tmp_path, expect=130)
    assert capsys.readouterr().err == f"addersim: {message}\n"


def test_report_writes_a_page(study_file, tmp_path, capsys):
    addersim("report", study_file, "--out", tmp_path / "page", "--set", "data.limit=8")
    assert (tmp_path / "page" / "index.html").exists()
    assert "report:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["list", "cost"], "no shelf 'cost'; did you mean 'costs'"),
        (["list", "hardware", "adder_16x1"], "unknown machine 'adder_16x1'; did you mean 'adder_16x16'"),
        (["list", "studies", "x"], "nothing called 'x' is shipped"),
        (["simulate", "nowhere.toml"], "nowhere.toml: no such file"),
        (["simulate", "STUDY", "--set", "hardware.row=1"], "did you mean 'rows'"),
        (
            ["simulate", "lenet5-fashion", "--set", "network.model=resnet32_adder"],
            "lenet5-fashion.toml: network.weights: no weights are shipped for resnet32_adder: expected the path",
        ),
        (["simulate", "STUDY", "--bogus"], "No such option: --bogus"),
        (["simulate"], "Missing argument"),
        (["nonsense"], "No such command"),
        (["sweep", "STUDY", "--threads", "0"], "--threads"),
        (["sweep", "STUDY", "--shard", "3/2", "--out", "out"], "expected i/N with i from 1 to N"),
        (["sweep", "STUDY", "--shard", "1/2"], "needs out"),
        (["sweep", "STUDY", "--cluster", "nowhere:8786"], "a Dask cluster as tcp://HOST:PORT"),
        (["sweep", "STUDY", "--out", "FILE/below"], "cannot be written"),
        (["sweep", "STUDY", "--objective", "accuracy_percent=max"], "'accuracy_percent' is no column"),
        (["search", "STUDY", "--objective", "energy_pj"], "expected COLUMN=min or COLUMN=max"),
        (["search", "STUDY", "--objective", "energi_pj=min"], "did you mean 'energy_pj'"),
        (["widths", "STUDY"], "expected one of --agreement, --accuracy and --energy-pj"),
        (["widths", "STUDY", "--agreement", "0", "--accuracy", "0"], "expected one of --agreement, --accuracy and"),
        (["widths", "STUDY", "--energy-pj", "1"], "no widths keep the budget: at the narrowest an image takes"),
        (["widths", "STUDY", "--agreement", "0", "--choose", "8"], "widths = (8,), expected two or more"),
        (["compare", "STUDY", "--set", "twin.file=none.safetensors"], "none.safetensors: no such file"),
        (["train", "nowhere.toml", "--out", "x"], "nowhere.toml"),
        (["report", "STUDY", "--out", "FILE/below"], "cannot be written"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_two(arguments, message, study_file, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    places = {"STUDY": study_file, "FILE/below": tmp_path / "file" / "below"}
    addersim(*(places.get(a, a) for a in arguments), expect=2)
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.startswith("addersim: ") and captured.err.count("\n") == 1


def test_a_twin_without_a_network_to_compare(study_file, tmp_path, capsys):
    text = study_file.read_text().split("[twin]")[0]
    (tmp_path / "alone.toml").write_text(text + "[data]\nlimit = 8\n")
    addersim("compare", tmp_path / "alone.toml", expect=2)
    assert "compare needs a [twin]" in capsys.readouterr().err


def test_python_dash_m():
    done = subprocess.run([sys.executable, "-m", "addersim", "--help"], capture_output=True, text=True, check=True)
    assert "Usage" in done.stdout


def test_what_needs_torch_says_so_without_it():
    code = (
        "import sys\nsys.modules['torch'] = None\nsys.argv = ['addersim', 'demo']\n"
        "from addersim.cli.app import main\nmain()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "addersim: this needs torch, which is not installed: pip install 'addersim[torch]'\n"


def test_help_loads_no_heavy_package():
    code = (
        "import sys\nsys.argv = ['addersim', '--help']\n"
        "from addersim.cli.app import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print({'numpy', 'torch', 'pandas', 'matplotlib', 'pydantic'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert done.stderr.strip() == "set()"


def test_the_demo(tmp_path, capsys):
    """The main job, on all embedded images: at most half a point is lost at int8."""
    addersim("demo", "--out", tmp_path / "page", "--json")
    figures = json.loads(capsys.readouterr().out)
    for side in ("adder", "multiplier"):
        assert figures[side]["overflows"] == 0
        assert figures[side]["float_accuracy"] - figures[side]["accuracy"] <= 0.005
    assert figures["images"] == 2000
    assert Path(figures["report"]).stat().st_size > 50_000


def test_a_printed_sweep_counts_what_is_refused(capsys):
    frame = pd.DataFrame(
        {"hardware.rows": [8, 16], "energy_pj": [float("nan"), 2.0], "refused": ["layer 'a': small", ""]}
    )
    print_frame(frame, kept=False)
    said = capsys.readouterr().out
    assert "1 of 2 rows are refused, the first because of layer 'a': small" in said and said.count("refused") == 1
    print_frame(frame.assign(refused=""), kept=False)
    assert "refused" not in capsys.readouterr().out


@pytest.mark.parametrize("kept", [False, True])
def test_a_long_sweep_says_how_to_keep_it_unless_it_is_kept(capsys, kept):
    print_frame(pd.DataFrame({"energy_pj": [float(n) for n in range(1000)]}), kept=kept)
    said = capsys.readouterr().out.splitlines()[-1]
    assert said == "1,000 rows in all" + ("" if kept else ": --csv FILE or --out DIR keep them")
