"""What lies beside the package: the figures in the README are those of the report, its scripts fail in one line."""

import csv
import json
import math
import os
import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch
from training import trained

import addersim
from addersim.hardware.machine import Buffer, Dram, Hardware, Vector, load_hardware
from addersim.nn import build_model, load_checkpoint
from addersim.study.explore.space import make_space
from addersim.study.study import make_study
from addersim.train.datasets import dataset_card
from addersim.weights.shipped import cards

ROOT = Path(__file__).parent.parent
REPORT = ROOT / "reports" / "lenet5-fashion"
if not REPORT.is_dir():
    pytest.skip("tests an installed package, without its repository", allow_module_level=True)


def told(limits):
    low, high = (f"{limit:.2f}" for limit in limits)
    return low if low == high else f"{low} to {high}"


def test_the_readme_s_ratios_are_the_report_s():
    figures = json.loads((REPORT / "summary.json").read_text(encoding="utf-8"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for row, key in (("8 x 8, as above", "range"), ("16 x 16", "range_with_full_side_array")):
        cells = [told(figures[f"{metric}_multiplier_over_adder"][key]) for metric in ("energy", "latency", "area")]
        assert f"| side array {row} | {' | '.join(cells)} |" in readme
    assert f"**{told(figures['energy_multiplier_over_adder']['range'])} for the whole system**" in readme


def test_the_readme_s_study_is_one(tmp_path):
    text = (ROOT / "README.md").read_text(encoding="utf-8").split("```toml\n")[1].split("```")[0]
    study = make_study(tomllib.loads(text), tmp_path / "study.toml")
    assert study.twin is not None and study.space and study.quantization.model_fields_set


PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES += [ROOT / "benchmarks" / "README.md"]
BLOCKS = [
    pytest.param(block.split("```")[0], id=f"{page.relative_to(ROOT)}:{i}")
    for page in PAGES
    for i, block in enumerate(page.read_text(encoding="utf-8").split("```python\n")[1:], 1)
]


@pytest.mark.parametrize("code", BLOCKS)
def test_every_block_of_the_docs_runs_in_a_process_of_its_own(code, tmp_path):
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert ("lenet5.safetensors" in code) == (tmp_path / "lenet5.safetensors").is_file()


def test_the_docs_have_blocks():
    assert {param.id.partition(":")[0] for param in BLOCKS} >= {"README.md", "docs/hardware.md", "docs/training.md"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_links_of_the_docs_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8"))
    assert links or page.parent.name == "benchmarks"
    assert [link for link in links if not link.startswith("https:") and not (page.parent / link).exists()] == []


def test_the_machine_of_the_docs_is_one(tmp_path):
    text = (ROOT / "docs" / "hardware.md").read_text(encoding="utf-8").split("```toml\n")[1].split("```")[0]
    (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
    machine = load_hardware(str(tmp_path / "mine.toml"))
    said = {line.split(" = ")[0] for line in text.splitlines() if " = " in line}
    fields = {*Hardware.model_fields, *Buffer.model_fields, *Dram.model_fields, *Vector.model_fields}
    assert fields - said == {"buffers", "dram", "vector", "scratchpads"} and machine.name == "mine"


def test_the_space_of_the_docs_is_one():
    text = (ROOT / "docs" / "exploration.md").read_text(encoding="utf-8").split("```toml\n")[1].split("```")[0]
    space = make_space(addersim.Study.read("lenet5-fashion"), tomllib.loads(text)["space"], accuracy=False)
    assert space.shape == (3, 3, 3, 2, 2)


def test_full_test_without_data_says_so_in_one_line(tmp_path):
    script = [sys.executable, str(REPORT / "full_test.py"), str(tmp_path / "nowhere")]
    done = subprocess.run(script, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == f"full_test.py: {tmp_path / 'nowhere'}: no such folder; expected the files of fashion_mnist\n"


SEGMENTATION = ROOT / "reports" / "segmentation"


def test_the_segmentation_report_s_figures_are_its_results():
    with (SEGMENTATION / "results.csv").open(encoding="utf-8") as file:
        rows = {(row["network"], row["table"]): row for row in csv.DictReader(file)}
    text = (SEGMENTATION / "README.md").read_text(encoding="utf-8")
    adder, twin = (rows[name, "horowitz2014_45nm"] for name in ("segmenter_adder", "segmenter_conv"))
    for key in ("mean_iou_float_percent", "mean_iou_int8_percent", "arithmetic_nj", "energy_nj", "latency_us"):
        digits = 2 if key.endswith("percent") else 0
        assert f"| {float(adder[key]):,.{digits}f} | {float(twin[key]):,.{digits}f} |" in text, key
    tables = {table for _, table in rows}
    ratios = [
        float(rows["segmenter_conv", t]["energy_nj"]) / float(rows["segmenter_adder", t]["energy_nj"]) for t in tables
    ]
    assert f"{min(ratios):.2f} to {max(ratios):.2f}" in text
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(f"{float(row[f'mean_iou_{kind}_percent']):.1f} %" in readme
               for row in (adder, twin) for kind in ("float", "int8"))  # fmt: skip


def test_the_segmentation_report_without_data_says_so_in_one_line(tmp_path):
    script = [sys.executable, str(SEGMENTATION / "run.py"), str(tmp_path / "nowhere")]
    done = subprocess.run(script, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == f"run.py: {tmp_path / 'nowhere'}: no such folder; expected the files of fashion_mnist\n"


def test_the_readme_s_accuracies_by_bits_are_the_report_s():
    with (ROOT / "reports" / "quantisation" / "results.csv").open(encoding="utf-8") as file:
        rows = {row["bits"]: row for row in csv.DictReader(file)}
    lines = (ROOT / "README.md").read_text(encoding="utf-8").replace("*", "").splitlines()
    for network, name in (("adder", "AdderNet, %"), ("convolutional", "convolutions, %")):
        cells = [rows[bits][network] for bits in ("8", "6", "5", "4", "3", "2", "float")]
        assert f"| {name} | {' | '.join(cells)} |" in lines
    with (ROOT / "reports" / "quantisation" / "finetuned.csv").open(encoding="utf-8") as file:
        tuned = {row["bits"]: row["fine-tuned"] for row in csv.DictReader(file)}
    for ending, name in (("", "AdderNet, fine-tuned, %"), (", convolutional", "convolutions, fine-tuned, %")):
        assert f"| {name} | | | | {' | '.join(tuned[bits + ending] for bits in '432')} | |" in lines
    shifts = f"8 bits reach {tuned['8, shift_only']} % fine-tuned, {rows['8, shift_only']['adder']} % untrained"
    assert shifts in " ".join(lines)


def test_the_quantisation_page_is_what_its_results_say():
    folder = ROOT / "reports" / "quantisation"
    script = runpy.run_path(str(folder / "run.py"))
    text = (folder / "README.md").read_text(encoding="utf-8")
    with (folder / "results.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            published = script["PUBLISHED"].get(row["bits"], "")
            assert f"| {row['bits']} | {row['adder']} | {row['convolutional']} | {published} |" in text
    with (folder / "layers.csv").open(encoding="utf-8") as file:
        layers = [row for row in csv.DictReader(file) if row["kind"] == "adder_conv2d"]
    assert [row["bits"] for row in layers] == ["8"] * 20 + ["4"] * 20
    assert all(row["widths"].startswith(f"u{row['bits']}/u{row['bits']}/") for row in layers)


def test_the_networks_from_scratch_are_measured_as_their_cards_say():
    with (ROOT / "reports" / "resnet20-cifar10" / "quantised.csv").open(encoding="utf-8") as file:
        rows = {row["network"]: row["accuracy_percent"] for row in csv.DictReader(file)}
    text = (ROOT / "reports" / "resnet20-cifar10" / "README.md").read_text(encoding="utf-8")
    for model, name in (("resnet20_adder", "adders, 20 epochs"), ("resnet20_conv", "multipliers, 50 epochs")):
        eight, four = (f"{model}-cifar10-{bits}bit" for bits in (8, 4))
        start = cards()[f"{model}-cifar10"]["accuracy_percent"]
        assert f"| {name} | {start:.2f} | {rows[eight]} | {rows[four]} |" in text
        assert all(f"{cards()[name]['accuracy_percent']:.2f}" == rows[name] for name in (eight, four))


def test_the_groups_requantise_the_inputs_of_every_adder_layer():
    module = build_model("resnet20_adder")
    network = addersim.from_torch(module, torch.zeros(1, 3, 32, 32))
    inputs = sum(math.prod(network.in_shapes(node)[0]) for node in network.nodes if node.kind == "adder_conv2d")
    with (ROOT / "reports" / "quantisation" / "groups.csv").open(encoding="utf-8") as file:
        rows = {(row["bits"], int(row["groups"])): row for row in csv.DictReader(file)}
    for (_, groups), row in rows.items():
        assert groups == 1 or int(row["requantised words"]) == groups * inputs == groups * 208_896
    for machine in ("adder_16x16", "adder_32x32"):  # "a fifth bit costs less than four groups on both arrays"
        assert all(
            float(rows["5", 1][f"{machine}, {u}"]) < float(rows["4", 4][f"{machine}, {u}"]) for u in ("uJ", "cycles")
        )
    assert float(rows["5", 1]["accuracy, %"]) > float(rows["4", 4]["accuracy, %"])


ACCUMULATORS = ROOT / "reports" / "accumulators"


def test_the_accumulators_report_s_figures_are_its_results():
    with (ACCUMULATORS / "results.csv").open(encoding="utf-8") as file:
        rows = {
            (r["bits"], r["start"], r["overflow"], r["widths"], r["accumulator_bits"]): r for r in csv.DictReader(file)
        }
    text = (ACCUMULATORS / "README.md").read_text(encoding="utf-8")
    docs = (ROOT / "docs" / "quantisation.md").read_text(encoding="utf-8")
    for bits, narrowest in (("8", 14), ("4", 11)):
        wraps = [rows[bits, "bias", "wrap", "one", str(narrowest - less)] for less in (0, 1, 2)]
        assert wraps[0]["other_logits"] == "0" and all(int(row["other_logits"]) > 0 for row in wraps[1:])
        for row in wraps:
            assert f"{float(row['accuracy']):.2f}" in text and f"{float(row['accuracy']):.2f}" in docs


def test_the_accumulators_report_without_data_says_so_in_one_line(tmp_path):
    script = [sys.executable, str(ACCUMULATORS / "run.py"), "none.pth", str(tmp_path / "nowhere")]
    done = subprocess.run(script, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == f"run.py: {tmp_path / 'nowhere'}: no such folder; expected the files of cifar10\n"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("a.pth", "runs"), "expected CHECKPOINT_ADDER CHECKPOINT_CONV FOLDER [ROW ...]"),
        (("a.pth", "b.th", "runs", "7"), "row '7': expected one of '4', '3', "),
    ],
)
def test_fine_tuning_says_in_one_line_what_it_wants(arguments, says):
    script = [sys.executable, str(ROOT / "reports" / "quantisation" / "finetune.py"), *arguments]
    done = subprocess.run(script, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith(f"finetune.py: {says}") and done.stderr.count("\n") == 1


def test_the_fine_tuned_table_is_its_csv_s_and_meets_what_it_says():
    folder = ROOT / "reports" / "quantisation"
    script = runpy.run_path(str(folder / "finetune.py"))
    found, before = script["_read"]("finetuned.csv"), script["_read"]("results.csv")
    text = (folder / "FINETUNED.md").read_text(encoding="utf-8")
    for row, figures in found.items():
        untrained = before[row.removesuffix(", convolutional")][row.endswith("convolutional")]
        assert f"| {row} | {untrained} | {' | '.join(figures)} |" in text
        assert int(figures[0]) == script["recipe"]("none.pth", "none.th", row).epochs
    shown = ("2", "3", "4", "4, shift_add", "8, shift_only")
    docs = (ROOT / "docs" / "training.md").read_text(encoding="utf-8").splitlines()
    for name, cells in (
        ("post-training, %", [before[row][0] for row in shown]),
        ("fine-tuned, %", [found[row][1] for row in shown]),
        ("epochs", [found[row][0] for row in shown]),
    ):
        assert f"| {name} | {' | '.join(cells)} |" in docs
    assert text.startswith(script["HEAD"]) and set(found) == set(script["ROWS"])


def test_both_kinds_are_fine_tuned_alike():
    script = runpy.run_path(str(ROOT / "reports" / "quantisation" / "finetune.py"))

    def parts(row, own):
        """Return the row's recipe without the network's names, and all that it learns from."""
        made = script["recipe"]("a.pth", "c.th", row).model_dump()
        teacher, how = made.pop("teacher"), made.pop("quantization")
        ensemble = {member["weights"] for member in teacher.pop("ensemble")}
        assert (made.pop("model"), made.pop("start")) == (teacher.pop("model"), teacher.pop("weights"))
        del how["statistics"]  # of adder layers alone
        return made, teacher, how, ensemble and ensemble | {own}

    for bits in ("4", "3", "2"):
        assert parts(bits, "a.pth") == parts(f"{bits}, convolutional", "c.th")


def test_a_network_takes_images_of_another_normalisation(tmp_path):
    """Inside the border the renormalised network gives the same numbers as its own normalisation did."""
    script = runpy.run_path(str(ROOT / "reports" / "quantisation" / "finetune.py"))
    torch.manual_seed(0)
    net = trained(build_model("resnet20_conv_a"))
    net(torch.randn(4, 3, 32, 32))
    torch.save(net.eval().state_dict(), tmp_path / "net.th")
    pixels, card = torch.rand(2, 3, 32, 32), dataset_card("cifar10")
    ours, theirs = (
        (pixels - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
        for mean, std in ((card.mean, card.std), script["AKAMASTER"])
    )
    moved = load_checkpoint("resnet20_conv_a", script["renormalised"](str(tmp_path / "net.th"), str(tmp_path)))
    with torch.no_grad():
        expected, found = (m.bn1(m.conv1(x))[..., 1:-1, 1:-1] for m, x in ((net, theirs), (moved, ours)))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


EXPLORATION = ROOT / "reports" / "explore-resnet20"


def test_the_exploration_s_readme_is_what_its_points_say():
    script = runpy.run_path(str(EXPLORATION / "written.py"))
    points = script["load"]()
    assert (EXPLORATION / "README.md").read_text(encoding="utf-8") == script["page"](points)
    with (ROOT / "reports" / "quantisation" / "results.csv").open(encoding="utf-8") as file:
        measured = {(row["bits"], net): float(row[net]) for row in csv.DictReader(file) for net in list(row)[1:]}
    names = {"adder": "adder", "control": "convolutional"}
    for (network, bits), accuracies in points.groupby(["network", "quantization.bits"])["accuracy_percent"]:
        assert (abs(accuracies - measured[str(bits), names[network]]) < 0.006).all()


def test_the_exploration_without_data_says_so_in_one_line(tmp_path):
    script = [sys.executable, str(EXPLORATION / "run.py"), "none.pth", "none.th", str(tmp_path / "nowhere")]
    done = subprocess.run(script, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr == f"run.py: {tmp_path / 'nowhere'}: no such folder; expected the files of cifar10\n"
