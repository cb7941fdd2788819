"""Golden vectors: from the files alone, with a parser and arithmetic of their own, layers come out bit for bit."""

import json
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from builders import images as residual_images
from builders import residual, small_network
from command_line import addersim as command
from dumps import by_hand, named, read_dump

import addersim
from addersim.arithmetic.datapath import exact_datapath
from addersim.arithmetic.fixed import IntFormat
from addersim.arithmetic.window import Window
from addersim.errors import InputError
from addersim.interchange.golden_vectors import hex_lines
from addersim.kernels import reference


@pytest.fixture(scope="module")
def golden(qnet, images, tmp_path_factory):
    folder = tmp_path_factory.mktemp("dump") / "golden"
    assert addersim.dump(qnet.on("adder_16x16"), images[:2], folder) == folder / "manifest.json"
    return folder


def test_hex_and_npy_hold_every_edge_and_constant(golden, qnet, images):
    manifest, edges, constants = read_dump(golden)
    trace = addersim.simulate(qnet, images[:2], keep="*")
    assert list(edges) == [node.name for node in qnet.nodes] and manifest["images"] == 2
    assert manifest["graph"] == {node.name: list(node.inputs) for node in qnet.nodes}
    for name, edge in trace.edges.items():
        entry, form = named(manifest["edges"], name), qnet.tensors[name].format
        assert (entry["bits"], entry["signed"], entry["step"]) == (form.bits, form.signed, form.step)
        assert entry["axes"] == list("NCHW")[: edge.ndim] and entry["words_per_image"] == edge[0].size
        np.testing.assert_array_equal(edges[name], edge)
        np.testing.assert_array_equal(np.load(golden / entry["npy"], allow_pickle=False), edge)
    for node in qnet.nodes[1:]:
        assert set(constants[node.name]) - {"factor_pq"} == set(node.params)
        for name, value in node.params.items():
            np.testing.assert_array_equal(constants[node.name][name], value)


def test_an_adder_layer_comes_out_of_the_files_alone(golden, qnet):
    manifest, edges, constants = read_dump(golden)
    layer = named(manifest["layers"], "conv2")
    x = edges[layer["inputs"][0]]
    acc, y = by_hand(layer, x, constants["conv2"])
    np.testing.assert_array_equal(y, edges["conv2"])
    window, p = Window(3, 3, stride=(2, 2)), constants["conv2"]
    expected, _ = reference.convolve(
        x.transpose(0, 2, 3, 1), p["w_krsc"], 0 * p["bias_k"], qnet.node("conv2").datapath, window, layer["pad_code"]
    )
    np.testing.assert_array_equal(acc.transpose(0, 2, 3, 1), expected)


@pytest.mark.parametrize("preload", [False, True])
def test_padding_strides_and_a_preloaded_bias(preload, tmp_path):
    net = small_network()
    path = replace(exact_datapath("adder", net.node("conv2").datapath.x, IntFormat(6, False), 36), preload_bias=preload)
    path = replace(path, accumulator=replace(path.accumulator, format=IntFormat(20, True)))
    x = np.random.default_rng(3).integers(-128, 128, (3, 3, 8, 8))
    manifest, edges, constants = read_dump(
        addersim.dump(net.with_datapaths({"conv2": path}), x, tmp_path / "out").parent
    )
    np.testing.assert_array_equal(edges["x"], x)
    layer = named(manifest["layers"], "conv2")
    assert layer["overflows"] == 0
    np.testing.assert_array_equal(by_hand(layer, edges["conv1"], constants["conv2"])[1], edges["conv2"])


@pytest.mark.parametrize("bits", [6, 9])
def test_an_accumulator_that_wraps_from_the_bias(bits, tmp_path):
    """What a register that is too small makes of a sum is in the files too."""
    net = addersim.narrowed(small_network(), bits)
    x = np.random.default_rng(3).integers(-128, 128, (3, 3, 8, 8))
    manifest, edges, constants = read_dump(addersim.dump(net, x, tmp_path / "out").parent)
    layer = named(manifest["layers"], "conv2")
    np.testing.assert_array_equal(by_hand(layer, edges["conv1"], constants["conv2"])[1], edges["conv2"])


def test_a_residual_addition_and_its_products_come_out_of_the_files_alone(tmp_path):
    x = residual_images()
    qnet = addersim.quantize(residual(identity_first=True), x)
    manifest, edges, constants = read_dump(addersim.dump(qnet, x[:1], tmp_path / "out").parent)
    layer = next(layer for layer in manifest["layers"] if layer["kind"] == "add")
    p = {name: value[:, None, None] for name, value in constants[layer["name"]].items()}
    n = np.maximum(p["shift_a_k"], p["shift_b_k"])
    a, b = (edges[name] for name in layer["inputs"])
    total = (a << (n - p["shift_a_k"])) + (b << (n - p["shift_b_k"]))
    rounded = np.where(n > 0, (total + (1 << np.maximum(n, 1) >> 1)) >> n, total)
    stage = layer["output_stage"]
    np.testing.assert_array_equal(np.clip(rounded, stage["low"], stage["high"]), edges[layer["output"]])
    assert [named(manifest["edges"], name)["fraction_bits"] for name in layer["inputs"]] == ["shift_k", "shift_k"]


@pytest.mark.parametrize("bits", [1, 4, 5, 8, 33, 62])
@pytest.mark.parametrize("signed", [True, False])
def test_hex_of_any_width(bits, signed):
    form = IntFormat(bits, signed)
    words = np.unique([form.min, form.max, 0, form.max // 3, form.min // 3])
    expected = [f"{int(word) % (1 << bits):0{-(-bits // 4)}x}" for word in words]
    assert hex_lines(words, bits).decode().split("\n") == [*expected, ""]


needs_icarus = pytest.mark.skipif(
    not (shutil.which("iverilog") and shutil.which("vvp")), reason="needs Icarus Verilog (apt-get install iverilog)"
)


@needs_icarus
@pytest.mark.parametrize("name", ["input", "fc"])
def test_readmemh_reads_the_files(name, golden, tmp_path):
    manifest, edges, _ = read_dump(golden)
    entry, words = named(manifest["edges"], name), edges[name].reshape(-1)
    (tmp_path / "bench.v").write_text(f"""module bench;
  reg {"signed" if entry["signed"] else ""} [{entry["bits"] - 1}:0] words [0:{words.size - 1}];
  integer i;
  initial begin $readmemh("{golden / entry["hex"]}", words);
    for (i = 0; i < {words.size}; i = i + 1) $display("%0d", words[i]); end
endmodule""")
    subprocess.run(["iverilog", "-Wall", "-o", tmp_path / "bench", tmp_path / "bench.v"], check=True)
    done = subprocess.run(["vvp", "-n", tmp_path / "bench"], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    np.testing.assert_array_equal([int(word) for word in done.stdout.split()], words)


def test_folders_that_are_not_taken(qnet, images, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    (tmp_path / "file").write_text("")
    for place, message in (("full", "no earlier dump"), ("file", "is a file"), ("file/below", "cannot be written")):
        with pytest.raises(InputError, match=message):
            addersim.dump(qnet, images[:1], tmp_path / place, overwrite=True)
    with pytest.raises(InputError, match="no image to dump"):
        addersim.dump(qnet, images[:0], tmp_path / "none")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "full"]  # nothing half-written, nothing deleted
    assert (tmp_path / "full" / "thesis.txt").read_text() == "mine"


def test_an_earlier_dump_is_replaced_when_told_to(qnet, images, tmp_path):
    (tmp_path / "out").mkdir()  # an empty folder is taken
    first = addersim.dump(qnet, images[:1], tmp_path / "out").read_bytes()
    with pytest.raises(InputError, match="holds an earlier dump"):
        addersim.dump(qnet, images[:2], tmp_path / "out")
    assert (tmp_path / "out" / "manifest.json").read_bytes() == first
    addersim.dump(qnet, images[:2], tmp_path / "out", overwrite=True)
    assert read_dump(tmp_path / "out")[0]["images"] == 2
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_dump_that_fails_leaves_the_earlier_one_alone(qnet, images, tmp_path, monkeypatch):
    before = addersim.dump(qnet, images[:1], tmp_path / "out").read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("numpy.save", full)
    with pytest.raises(InputError, match="out: cannot be written: No space left on device"):
        addersim.dump(qnet, images[:2], tmp_path / "out", overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out" / "manifest.json").read_bytes() == before


def test_the_command_dumps_the_network_and_its_twin(study_file, tmp_path, capsys):
    out = tmp_path / "golden"
    command("simulate", study_file, "--dump", out, "--dump-images", "3", "--set", "data.limit=8")
    assert "golden vectors:" in capsys.readouterr().out
    own, twin = read_dump(out)[0], read_dump(out / "twin")[0]
    assert own["images"] == twin["images"] == 3
    assert [named(m["layers"], "conv2")["kind"] for m in (own, twin)] == ["adder_conv2d", "conv2d"]
    command("simulate", study_file, "--dump", out, expect=2)
    assert "holds an earlier dump" in capsys.readouterr().err
    command("simulate", study_file, "--dump", out, "--overwrite", "--json", "--set", "data.limit=8")
    assert json.loads(capsys.readouterr().out)["images"] == 8
    assert read_dump(out)[0]["images"] == 1
