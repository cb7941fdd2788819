"""The report: one self-contained page with every assumption and source, the same bytes every time."""

from __future__ import annotations

import csv
import html
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

import addersim
from addersim.costs.comparison.compare import compare
from addersim.errors import InputError
from addersim.hardware import load_hardware
from addersim.network.graph import Network
from addersim.report import words, write_report
from addersim.report.charts import Groups, gathered
from addersim.report.figures import summary
from addersim.report.headline import headline
from addersim.report.sources import all_costs, assumptions
from addersim.report.study_text import command, study_text, toml
from addersim.study.outcome import Outcome, run
from addersim.study.study import Study

HOSTILE = "<script>alert('$x^2$')</script> & \"co\""
STUDY = """\
[network]
file = "adder.safetensors"
{twin}
[data]
limit = 48
calibration_limit = 32
[evaluation]
tables = ["evoapprox_45nm", "horowitz2014_45nm"]
"""
TWIN = '[twin]\nfile = "multiplier.safetensors"\n'
Make = Callable[..., Outcome]


def multiplier_twin(network: Network, name: str) -> Network:
    nodes = tuple(replace(n, kind=n.kind.removeprefix("adder_")) for n in network.nodes)
    return replace(network, name=name, nodes=nodes)


def make(folder: Path, name: str = "example", twin: bool = True, settings: tuple[str, ...] = ()) -> Outcome:
    network = replace(addersim.example_network(), name=name)
    network.save(folder / "adder.safetensors")
    multiplier_twin(network, f"{name}, multiplied").save(folder / "multiplier.safetensors")
    (folder / "mine.toml").write_text(STUDY.format(twin=TWIN if twin else ""), encoding="utf-8")
    return run(Study.read(folder / "mine.toml", settings))


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return make(tmp_path_factory.mktemp("studies"), HOSTILE)


@pytest.fixture(scope="module")
def folder(outcome: Outcome, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(outcome, tmp_path_factory.mktemp("report")).parent


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    return (folder / "index.html").read_text(encoding="utf-8")


def test_writes_the_page_its_figures_and_the_study(folder: Path) -> None:
    names = ["comparison.csv", "energy.svg", "index.html", "layers.csv", "study.toml", "summary.json"]
    assert sorted(path.name for path in folder.iterdir()) == names


def test_same_outcome_same_bytes(outcome: Outcome, folder: Path, tmp_path: Path) -> None:
    write_report(outcome, tmp_path / "again")
    for path in folder.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name


def test_page_loads_nothing(page: str) -> None:
    assert not re.search(r"<(script|link|img|iframe|object|embed)\b", page)
    assert not re.search(r"\bsrc\s*=|@import|url\((?!#)", page)
    links = re.findall(r'<a href="([^"]*)"', page)
    assert links
    assert all(link.startswith(("https://doi.org/", "https://github.com/", "#")) for link in links)


def test_names_are_escaped(page: str) -> None:
    assert "<script" not in page
    assert html.escape(HOSTILE, quote=False) in html.escape(html.unescape(page), quote=False)
    assert "&lt;script&gt;" in page


def test_every_assumption_and_every_source_is_on_the_page(outcome: Outcome, page: str) -> None:
    text = html.unescape(page)
    assert assumptions(outcome)
    assert [a for a in assumptions(outcome) if a not in text] == []
    sources = {source for cost in all_costs(outcome) for source in cost.sources}
    assert [source for source in sources if source not in text] == []


def test_every_footnote_is_referred_to_and_exists(page: str) -> None:
    notes = set(re.findall(r'id="source-(\d+)"', page))
    assert set(re.findall(r'href="#source-(\d+)"', page)) <= notes
    assert len(notes) >= 4


def test_every_figure_is_xml_with_a_label_and_identifiers_are_unique(page: str) -> None:
    drawings = re.findall(r"<svg\b.*?</svg>", page, re.DOTALL)
    assert len(drawings) >= 8
    for drawing in drawings:
        root = ElementTree.fromstring(drawing)
        assert root.get("aria-label") and root.get("viewBox")
        assert root.get("width") is None
    identifiers = re.findall(r'\bid="([^"]+)"', page)
    assert len(identifiers) == len(set(identifiers))


def test_page_is_fit_for_screens_and_readers(page: str) -> None:
    assert '<html lang="en">' in page and 'name="viewport"' in page and "@media print" in page


@pytest.mark.parametrize("word", ["NaN", "nan", "None", "inf", "undefined"])
def test_no_number_is_missing_in_words(page: str, word: str) -> None:
    assert not re.search(rf"\b{word}\b", re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL))


def test_no_place_of_this_machine_is_told(outcome: Outcome, folder: Path) -> None:
    places = [str(Path(outcome.study.path).parent), str(folder), str(Path(addersim.__file__).parent)]
    for path in folder.iterdir():
        text = path.read_text(encoding="utf-8")
        assert not any(place in text for place in places), path.name


def test_columns_carry_units_and_sum_to_the_bill(outcome: Outcome, folder: Path) -> None:
    with (folder / "layers.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {"arithmetic_pj", "buffers_pj", "dram_pj", "sqnr_db", "cycles", "x_w_acc_bits"} <= set(rows[0])
    for side in outcome.sides:
        own = [row for row in rows if row["network"] == side.qnet.name]
        cost = side.costs[outcome.table]
        assert [row["layer"] for row in own] == [node.name for node in side.qnet.nodes]
        total = sum(float(row[f"{unit}_pj"]) for row in own for unit in ("arithmetic", "buffers", "dram"))
        assert total == pytest.approx(cost.energy_pj)
        assert sum(int(row["cycles"]) for row in own) == cost.cycles


def test_every_layer_says_how_its_formats_fit(outcome: Outcome, folder: Path, page: str) -> None:
    with (folder / "layers.csv").open(encoding="utf-8", newline="") as stream:
        rows = {(row["network"], row["layer"]): row for row in csv.DictReader(stream)}
    text = re.sub(
        r"\s+", " ", re.sub(r"<[^>]*>", " ", html.unescape(page.split('id="formats"')[1].split("</section>")[0]))
    )
    for side in outcome.sides:
        assert side.validation is not None
        for layer in side.validation.layers:
            row = rows[side.qnet.name, layer.name]
            for key in ("saturated_inputs", "saturated_weights", "range_use"):
                cell, value = row[f"{key}_fraction"], getattr(layer, key)
                assert float(cell) == value if cell else value != value
            assert float(row["step"]) == layer.step
        needed = next(layer.accumulator_bits for layer in side.trace.layers if layer.name == "conv2")
        row, layer = rows[side.qnet.name, "conv2"], next(e for e in side.validation.layers if e.name == "conv2")
        assert row["accumulator_bits_needed"] == str(needed)
        assert (
            f"conv2 {layer.widths} {needed} bits {layer.out} {words.number(layer.step, 3)} {layer.sqnr_db:.1f}" in text
        )
        assert f"{side.label} on integers, against its float model: {side.validation.summary}" in html.unescape(page)


def test_comparison_has_every_table_and_metric(outcome: Outcome, folder: Path) -> None:
    assert outcome.comparison is not None
    with (folder / "comparison.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 5 * len(outcome.comparison.costs)
    assert {row["unit"] for row in rows} == {"pJ", "us", "um2"}


def test_summary_is_the_outcome_s(outcome: Outcome, folder: Path) -> None:
    told = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    assert told == {**summary(outcome), "study": "mine.toml"}


def test_what_moves_the_ratios_is_drawn(page: str) -> None:
    labels = re.findall(r'aria-label="(Multiplier divided by adder, [^"]*, by assumption: [^"]*)"', page)
    assert [label.split(", ")[1] for label in labels] == ["whole energy", "arithmetic"]
    assert all("cost table" in label and "circuit of the distance" in label for label in labels)


def test_what_the_side_array_decides_is_told_beside_the_ratios(outcome: Outcome, page: str) -> None:
    adder, multiplier = (side.qnet for side in outcome.sides)
    machine = load_hardware("adder_16x16", multiplier_rows=16, multiplier_cols=16)
    full = compare(adder, multiplier, hardware=machine)
    energy, latency, area = (words.ratios(full.range(metric)) for metric in ("energy", "latency", "area"))
    text = re.sub(r"<[^>]*>", "", html.unescape(page)).replace("\N{NO-BREAK SPACE}", " ")
    assert f"with 16 × 16 on both, multiplier / adder is {energy} in energy, {latency} in latency, {area} in" in text
    assert f"{energy} with a side array of 16 × 16" in text
    assert re.search(rf"range, side array 16 × 16{energy}.*{latency}{area}", text)
    assert outcome.full_side is not None and outcome.full_side.range("energy") == full.range("energy")


def test_a_side_array_as_large_as_the_array_is_not_told_twice(tmp_path: Path) -> None:
    outcome = make(tmp_path, settings=("hardware.multiplier_rows=16", "hardware.multiplier_cols=16"))
    assert outcome.full_side is None
    assert "with a side array of" not in write_report(outcome, tmp_path / "out").read_text(encoding="utf-8")


def test_study_is_a_copy(outcome: Outcome, folder: Path) -> None:
    assert (folder / "study.toml").read_bytes() == Path(outcome.study.path).read_bytes()


def test_study_with_overrides_reads_back_as_what_ran(tmp_path: Path) -> None:
    outcome = make(tmp_path, settings=("hardware.rows=8", 'title=The "first" \\ é', "data.limit=16"))
    write_report(outcome, tmp_path)
    again = Study.read(tmp_path / "study.toml")
    assert again.model_copy(update={"path": outcome.study.path}) == outcome.study
    assert str(tmp_path) not in (tmp_path / "study.toml").read_text(encoding="utf-8")
    assert "The &#34;first&#34; \\ é</h1>" in (tmp_path / "index.html").read_text(encoding="utf-8")


def test_shipped_study_is_copied_and_its_command_names_it() -> None:
    study = Study.read("lenet5-fashion")
    assert study_text(study) == Path(study.path).read_text(encoding="utf-8")
    assert command(study) == "addersim report lenet5-fashion --out reports/lenet5-fashion"
    changed = Study.read("lenet5-fashion", ["hardware.rows=8"])
    assert command(changed) == "addersim report study.toml --out report" and "rows = 8" in study_text(changed)


def test_toml_keeps_every_kind_of_value() -> None:
    import tomllib

    content = {"a": True, "b": [1, 2.5e-7, 'x"\n\x7f\U0001f600'], "t": {"c.d": ["e"], "n": {"k": 1}}}
    assert tomllib.loads(toml(content)) == content


@pytest.mark.parametrize("file", ["adder", "multiplier"])
def test_a_network_alone_makes_a_page(tmp_path: Path, file: str) -> None:
    outcome = make(tmp_path, twin=False, settings=(f"network.file={file}.safetensors",))
    text = write_report(outcome, tmp_path / "out").read_text(encoding="utf-8")
    assert not (tmp_path / "out" / "comparison.csv").exists()
    assert 'id="ratios"' not in text and 'id="codes"' in text and "twin" not in re.sub(r"<style>.*?</style>", "", text)
    assert not re.search(r"\b(NaN|nan|None)\b", text)


def test_a_quantised_file_makes_a_page(tmp_path: Path) -> None:
    make(tmp_path, twin=False).sides[0].qnet.save(tmp_path / "quantised.safetensors")
    text = (tmp_path / "mine.toml").read_text(encoding="utf-8").replace("calibration_limit = 32\n", "")
    (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
    outcome = run(Study.read(tmp_path / "mine.toml", ["network.file=quantised.safetensors"]))
    text = write_report(outcome, tmp_path / "out").read_text(encoding="utf-8")
    assert not re.search("(sqnr|range|inputs|weights)-layers", text) and "float" not in headline(outcome)
    assert "against its float model" not in text and 'id="formats"' in text
    assert "quantised before" in text and "training images" not in text


def test_an_overridden_study_of_a_quantised_file_reads_back(tmp_path: Path) -> None:
    make(tmp_path, twin=False).sides[0].qnet.save(tmp_path / "quantised.safetensors")
    text = '[network]\nfile = "quantised.safetensors"\n[data]\nlimit = 8\n'
    (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
    outcome = run(Study.read(tmp_path / "mine.toml", ["hardware.rows=8"]))
    write_report(outcome, tmp_path)
    again = run(Study.read(tmp_path / "study.toml"))
    assert again.sides[0].machine == outcome.sides[0].machine


@pytest.mark.parametrize("setting", ["quantization.bits=8", "data.calibration_limit=9"])
def test_keys_that_a_quantised_file_ignores_are_refused(tmp_path: Path, setting: str) -> None:
    make(tmp_path, twin=False).sides[0].qnet.save(tmp_path / "quantised.safetensors")
    text = '[network]\nfile = "quantised.safetensors"\n[data]\nlimit = 8\n'
    (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=rf"mine.toml: {setting.split('=')[0]} has no effect, since .*quantised.safet"):
        run(Study.read(tmp_path / "mine.toml", [setting]))


def test_own_cost_table_is_named_not_located(tmp_path: Path) -> None:
    shipped = Path(addersim.__file__).parent / "costs" / "tables" / "evoapprox_45nm.toml"
    text = shipped.read_text(encoding="utf-8").replace("evoapprox_45nm", "mine").replace("https://", "javascript:")
    (tmp_path / "prices.toml").write_text(text.replace("doi = ", "# doi = "), encoding="utf-8")
    outcome = make(tmp_path, settings=('evaluation.tables=["prices.toml"]',))
    write_report(outcome, tmp_path / "out")
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    assert "prices of mine<sup>" in page and 'href="javascript:' not in page
    for path in (tmp_path / "out").iterdir():
        assert str(tmp_path) not in path.read_text(encoding="utf-8"), path.name


def test_many_small_layers_are_drawn_as_one_and_nothing_is_lost() -> None:
    groups: Groups = {f"l{i}": {"adder": [1.0, 0.5]} for i in range(20)}
    drawn = gathered({**groups, "big": {"adder": [1000.0, 0.0], "multiplier": [2000.0, 0.0]}})
    assert drawn == {
        "big": {"adder": [1000.0, 0.0], "multiplier": [2000.0, 0.0]},
        "20 small layers": {"adder": [20.0, 10.0]},
    }


def test_unwritable_folder_is_one_line_and_leaves_nothing(outcome: Outcome, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(InputError, match="cannot be written") as caught:
        write_report(outcome, tmp_path / "file" / "report")
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_headline_tells_both_directions(outcome: Outcome) -> None:
    assert outcome.comparison is not None
    cost = {table: pair[::-1] for table, pair in outcome.comparison.costs.items()}
    told = headline(outcome)
    adder, multiplier = outcome.sides
    swapped = replace(
        outcome,
        sides=(replace(adder, costs=multiplier.costs), replace(multiplier, costs=adder.costs)),
        comparison=replace(outcome.comparison, costs=cost),
    )
    assert "less energy on arithmetic than the twin" in told
    assert "more energy on arithmetic than the twin" in headline(swapped)


@pytest.mark.parametrize(
    ("low", "high", "want"),
    [
        (-0.34, -0.49, "34 to 49 % less"),
        (0.02, 0.1, "2.0 to 10 % more"),
        (-0.03, 0.05, "from 3.0 % less to 5.0 % more"),
        (-0.34, -0.341, ""),
        (0.0, 0.05, "from the same to 5.0 % more"),
    ],
)
def test_ranges_in_words(low: float, high: float, want: str) -> None:
    assert words.spread(low, high) == want


def test_names_that_nothing_can_show_are_replaced() -> None:
    assert words.clean("a\x00b\ud800\u202ec") == "a?b??c"
    assert words.short("a\nb" * 20, 7) == "a?b…a?b"
