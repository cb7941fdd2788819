"""Figures and page of a sweep: what they show is the front that `pareto` finds, and text is escaped."""

import re
from xml.etree import ElementTree

import pandas as pd
import pytest

from addersim import pareto
from addersim.errors import InputError
from addersim.report.exploration import front_of, heat_map, parallel_coordinates, said, scatter
from addersim.report.exploration_page import write_exploration

OBJECTIVES = {"energy_pj": "min", "latency_us": "min"}
KEYS = ["hardware.rows", "evaluation.dataflow"]


@pytest.fixture
def frame():
    rows = [(r, d, "t<1>", 1e6 / r + 10 * len(d), 2.0 * r + len(d)) for r in (4, 8, 16) for d in ("<os>", "weights")]
    return pd.DataFrame(rows, columns=[*KEYS, "table", "energy_pj", "latency_us"])


def texts(drawn):
    return [e.text for e in ElementTree.fromstring(str(drawn)).iter() if e.tag.endswith("text")]


def test_the_scatter_numbers_the_front(frame):
    front = front_of(frame, OBJECTIVES)
    assert len(front) == 3 and set(front.index) == set(pareto(frame, OBJECTIVES).index)
    shown = texts(scatter(frame, OBJECTIVES))
    assert {"1", "2", "3"} <= set(shown) and "latency (µs), better down" in shown
    assert str(scatter(frame, OBJECTIVES)) == str(scatter(frame, OBJECTIVES))


def test_the_heat_map_shows_the_best_of_each_pair(frame):
    best = frame.groupby(KEYS)["energy_pj"].min()
    shown = texts(heat_map(frame, *KEYS, "energy_pj"))
    assert {f"{value / 1e3:.4g} k" for value in best} <= set(shown) and "<os>" in shown
    with pytest.raises(InputError, match=r"'hardware\.row' is no column; did you mean 'hardware\.rows'"):
        heat_map(frame, "hardware.row", KEYS[1], "energy_pj")


def test_parallel_coordinates_have_an_axis_per_column(frame):
    assert {*KEYS, said("energy_pj"), said("latency_us")} <= set(texts(parallel_coordinates(frame, KEYS, OBJECTIVES)))
    one = frame.head(1)
    assert said("energy_pj") in texts(parallel_coordinates(one, KEYS, OBJECTIVES))  # a single point has a picture too


def test_a_large_cloud_is_thinned_and_its_front_is_not():
    cloud = pd.DataFrame(
        {"energy_pj": range(1, 9001), "latency_us": [9000 - i if i < 50 else 9000 for i in range(9000)]}
    )
    drawn = str(scatter(cloud, OBJECTIVES)).count("<use")
    assert 9000 // 5 + 50 <= drawn <= 2000 + 50 + 40  # with the ticks


def test_the_page_holds_the_front_and_escapes(frame, tmp_path):
    page = write_exploration(frame, "<b>title</b>", KEYS, OBJECTIVES, tmp_path).read_text(encoding="utf-8")
    assert "&lt;b&gt;title" in page and "<b>title" not in page and "t&lt;1&gt;" in page
    assert "6 points" in page and "3 of them on the Pareto front" in page
    assert len(re.findall(r'<th scope="row">', page)) == 3
    pd.testing.assert_frame_equal(
        pd.read_csv(tmp_path / "front.csv"), front_of(frame, OBJECTIVES).reset_index(drop=True)
    )
    assert {file.name for file in tmp_path.iterdir()} == {
        "index.html", "front.csv", "scatter.svg", "heat-map.svg", "parallel.svg"
    }  # fmt: skip
    write_exploration(frame.head(1), "one", KEYS[:1], {"energy_pj": "min"}, tmp_path / "one")
    assert not (tmp_path / "one" / "scatter.svg").exists()


def test_refused_points_are_counted_and_not_drawn(frame, tmp_path):
    refused = frame.assign(refused=["", "", "layer 'a': too small", "", "", ""])
    refused.loc[2, ["energy_pj", "latency_us"]] = float("nan")
    page = write_exploration(refused, "title", KEYS, OBJECTIVES, tmp_path).read_text(encoding="utf-8")
    assert "5 points" in page and "1 more are refused: a buffer is too small" in page
    assert "refused" not in (tmp_path / "front.csv").read_text()
    kept = frame.drop(index=2)
    assert str(scatter(refused, OBJECTIVES)) == str(scatter(kept, OBJECTIVES))
    assert str(parallel_coordinates(refused, KEYS, OBJECTIVES)) == str(parallel_coordinates(kept, KEYS, OBJECTIVES))
    with pytest.raises(InputError, match="no point has figures: layer 'a': too small"):
        write_exploration(refused.iloc[2:3], "title", KEYS, OBJECTIVES, tmp_path / "none")
