"""SCALE-Sim's topology files: both formats verbatim, their totals, and one-line errors."""

from __future__ import annotations

from pathlib import Path

import pytest
from walks import RESNET18, resnet18_layer

from addersim.errors import InputError
from addersim.interchange.scalesim import read_topology, schedule_topology
from addersim.mapping.dataflows import DATAFLOWS
from addersim.network.loops import LoopNest

HEAD = "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides, "


def write(folder: Path, *lines: str) -> Path:
    path = folder / "topology.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_resnet18_has_the_total_of_right_output_sizes(tmp_path: Path) -> None:
    lines = [f"conv{i},{H},{H},{R},{R},{C},{K},{s}," for i, (H, R, C, K, s) in enumerate(RESNET18)]
    path = write(tmp_path, HEAD, *lines)
    assert [nest for _, nest in read_topology(path)] == [resnet18_layer(*one, scale_sim=False) for one in RESNET18]
    frame = schedule_topology(path, 32, 32)
    assert frame.cycles.sum() == 2_487_609 + len(RESNET18) and list(frame.layer[:2]) == ["conv0", "conv1"]
    assert frame.taps.sum() == sum(resnet18_layer(*one, scale_sim=False).taps for one in RESNET18)
    other = schedule_topology(path, 8, 4, "channel_parallel")
    assert other.cycles[3] == DATAFLOWS["channel_parallel"](resnet18_layer(*RESNET18[3], scale_sim=False), 8, 4).cycles


def test_columns_of_later_versions_and_blank_lines(tmp_path: Path) -> None:
    lines = ["Conv1,224,224,7,7,3,64,2, NPU", "", ",,,", " Conv2_1a, 58,58,3,3,64,64,1,1:1,"]
    (one, nest), (two, _) = read_topology(write(tmp_path, HEAD + ", Target", *lines))
    assert (one, two, nest.P, nest.stride) == ("Conv1", "Conv2_1a", 109, (2, 2))


def test_depthwise_layers_have_their_filters_per_channel(tmp_path: Path) -> None:
    ((_, nest),) = read_topology(write(tmp_path, HEAD, "Conv1DP,10,10,3,3,8,1,1,"))
    assert nest == LoopNest(K=8, C=8, P=8, Q=8, R=3, S=3, H=10, W=10, groups=8)


def test_matrix_products(tmp_path: Path) -> None:
    path = write(tmp_path, "Layer, M, N, K,", "GEMM1, 128, 16, 96,", "heads,5,7,3,4,", "dense,5,7,3,2:2,")
    one, heads, dense = (nest for _, nest in read_topology(path))
    assert (one.pixels, one.K, one.depth, one.taps) == (128, 16, 96, 128 * 16 * 96)
    assert (heads.groups, heads.taps, heads.outputs, dense.taps) == (4, 4 * 105, 4 * 35, 105)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "not a topology file"),
        (["a,b,c"], "expected 'Layer name, IFMAP Height, ...' or 'Layer, M, N, K'"),
        ([HEAD], "no layers"),
        ([HEAD, "c,3,3,1,1,2,2,1,", "c,3,3,1,1,2,2"], "line 3: expected a name and IFMAP height"),
        ([HEAD, "c,3,3,1,1,2,2.5,1,"], "line 2: filters = '2.5': expected a whole number of 1 or more"),
        ([HEAD, "c,3,3,1,1,2,2,0,"], "line 2: stride = '0'"),
        ([HEAD, "c,3,3,5,1,2,2,1,"], "line 2: a filter of 5 x 1 on an image of 3 x 3"),
        ([HEAD, "c,3,3,1,1,2,2,1,2:4,"], "line 2: sparsity 2:4 is not modelled"),
        (["Layer, M, N, K,", "g,1,-2,3,"], "line 2: N = '-2'"),
        (["Layer, M, N, K,", "g,1,2,3,0,"], "line 2: batch = '0'"),
    ],
)
def test_bad_files_are_refused_in_one_line(tmp_path: Path, lines: list[str], message: str) -> None:
    path = write(tmp_path, *lines)
    with pytest.raises(InputError) as caught:
        read_topology(path)
    assert message in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.csv: cannot be read"):
        read_topology(tmp_path / "none.csv")
