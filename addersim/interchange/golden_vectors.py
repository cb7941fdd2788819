"""dump: the integers of every edge and every constant of a network as files, for people who build the chip.

A folder with ``manifest.json`` and, per tensor, a ``.npy`` and a ``.hex`` file that Verilog's ``$readmemh`` reads.
The manifest says what every word means; nothing else is needed to compute a layer again.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from addersim import version
from addersim.arithmetic.fixed import IntFormat, Ints, format_for
from addersim.errors import InputError
from addersim.files import check_version, make_folder
from addersim.network.graph import Network
from addersim.network.node import Node
from addersim.network.ops import OPS
from addersim.network.quantized import QuantizedNetwork
from addersim.simulation.simulate import LayerTrace, simulate

MANIFEST = "manifest.json"
TYPE, FORMAT_VERSION = "addersim dump", 1
CHUNK = 1 << 20  # words turned into text at once
CONVENTIONS = {
    "hex": "one word per line in row-major order of the stated axes, the last axis fastest; two's complement in `bits` "
    "bits, ceil(bits / 4) lower-case digits, the unused high bits of the first digit 0; $readmemh reads it",
    "npy": "the same words as a NumPy array of the stated shape",
    "edge": "real value = (code - zero_point) * step; where fraction_bits names a parameter n_k of the layer, the edge "
    "carries the unrounded p of its output stage, and real value = (p / 2**n_k - zero_point) * step",
    "axes": "N images, C channels, H rows, W columns of an edge; K output channels, R kernel rows, S kernel columns, "
    "C input channels of one group of weights (output channel k belongs to group g = k // (K / groups), which reads "
    "input channels g * C to g * C + C - 1); P output rows, Q output columns; a K axis of length 1 holds for all "
    "channels",
    "window": "output (p, q) meets padded input (p * stride[0] + r * dilation[0], q * stride[1] + s * dilation[1]); "
    "padding is pad_code, which takes part like any other code; null: padded pixels never win a maximum",
    "fit": "a value outside a register's format wraps (modulo 2**bits) or saturates, as its `overflow` says",
    "adder leaf": "fit(|fit(x - (w << weight_shift), difference)|, leaf); with sign 'negative' its negative",
    "multiplier leaf": "fit(x * w, leaf)",
    "accumulation": "loops of the letters of `order`, the first outermost; c steps by tree_inputs channels, whose "
    "leaves meet in a tree: level l adds nodes 2i and 2i+1 into tree[l], an odd last node passes on, missing leaves "
    "are 0; with `cut` the tree's sum is shifted right and rounded; every sum is fitted into its register by its "
    "overflow, and so is `accumulator_start`, which the accumulator starts at",
    "output stage": "t = wrap(sign * acc - B_k, centred), sign = acc_sign; p = wrap(t * M_k + A_k, product); "
    "y = clamp(round(p / 2**n_k), low, high); B bias_k, M multiplier_k, A offset_k, n shift_k. B_k is 0 where the "
    "accumulator starts at it. Without `finish` the edge is p. `scale` is an output stage on its input's codes",
    "rounding": "half_up is (p + 2**(n-1)) >> n for n > 0, and p for n = 0; floor is p >> n; half_even and half_away "
    "differ from half_up on ties only; to_zero drops the fraction of the magnitude",
    "add": "sum = wrap((a << (n - shift_a_k)) + (b << (n - shift_b_k)), product), n = max(shift_a_k, shift_b_k); then "
    "the rounding and the clamp of the output stage with n = shift_k",
    "avg_pool": "sum of the window's codes times factor_pq of its place; no rounding",
    "moves": "max_pool, flatten (C outermost), slice, pad (with pad_code), concat, upsample and input only select or "
    "move codes",
}


def dump(
    qnet: QuantizedNetwork, images: Any, folder: str | os.PathLike[str], *, overwrite: bool = False, threads: int = 1
) -> Path:
    """Write the integers of every edge, all weights and all constants as golden vectors; return the manifest's path.

    Parameters
    ----------
    qnet
        What :func:`addersim.quantize` returns, on a machine or not.
    images
        N C H W, as for :func:`addersim.simulate`; all of them are dumped.
    folder
        Made under a temporary name and renamed when it is whole.
    overwrite
        Whether an earlier dump in ``folder`` may be replaced. Any other folder that is not empty is refused.

    Raises
    ------
    InputError
        If the folder cannot be taken, there is no image, or the images do not fit the network.

    Examples
    --------
    >>> import addersim, json, pathlib, tempfile
    >>> images, _ = addersim.sample("fashion_sample", limit=4)
    >>> qnet = addersim.quantize(addersim.example_network(), images)
    >>> manifest = addersim.dump(qnet, images[:1], pathlib.Path(tempfile.mkdtemp()) / "golden")
    >>> json.loads(manifest.read_text())["layers"][2]["kind"]
    'adder_conv2d'
    """
    target = Path(folder).resolve()
    require_free(target, overwrite)
    trace = simulate(qnet, images, keep="*", threads=threads)
    if not len(trace.logits_int):
        raise InputError("there is no image to dump, expected one or more")
    make_folder(target.parent)
    try:
        temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
        try:
            _write(temporary, qnet, trace.edges, {layer.name: layer for layer in trace.layers})
            temporary.chmod(0o755)
            _put(temporary, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written: {error.strerror}") from error
    return target / MANIFEST


def require_free(folder: Path, overwrite: bool) -> None:
    """Raise InputError unless ``folder`` is absent, empty, or an earlier dump that may be replaced."""
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file, expected a folder to make")
    if not folder.exists() or not any(folder.iterdir()):
        return
    if (found := _version(folder)) is None:
        raise InputError(f"{folder}: is not empty and no earlier dump; expected a new or an empty folder")
    check_version(folder / MANIFEST, "dump format", found, FORMAT_VERSION)
    if not overwrite:
        raise InputError(f"{folder}: holds an earlier dump; expected another folder, or to be told to overwrite it")


def _version(folder: Path) -> object:
    """Return the version that a dump's manifest says, or nothing if the folder holds no dump."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return manifest["versions"]["manifest"] if manifest["type"] == TYPE else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _put(temporary: Path, target: Path) -> None:
    """Rename a whole dump to its place; an earlier one steps aside first and is deleted last."""
    if not target.exists():
        temporary.rename(target)
        return
    aside = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
    target.rename(aside)  # onto an empty folder
    try:
        temporary.rename(target)
    except OSError:
        aside.rename(target)
        raise
    shutil.rmtree(aside)


def _write(folder: Path, qnet: Network, edges: Mapping[str, Ints], traces: Mapping[str, LayerTrace]) -> None:
    for name in ("edges", "parameters"):
        (folder / name).mkdir()
    stems = {n.name: f"{i:03d}_{re.sub(r'[^A-Za-z0-9_.-]', '_', n.name)}" for i, n in enumerate(qnet.nodes)}
    manifest = {
        "type": TYPE,
        "versions": {"manifest": FORMAT_VERSION, "addersim": version.VERSION, "numpy": np.__version__},
        "network": qnet.name,
        "images": len(edges[qnet.nodes[0].name]),
        "input": qnet.nodes[0].name,
        "output": qnet.nodes[-1].name,
        "graph": {node.name: list(node.inputs) for node in qnet.nodes},
        "edges": [_edge(folder, stems[n.name], qnet, n, edges[n.name]) for n in qnet.nodes],
        "layers": [_layer(folder, stems[n.name], qnet, n, traces[n.name]) for n in qnet.nodes[1:]],
        "conventions": CONVENTIONS,
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _edge(folder: Path, stem: str, qnet: Network, node: Node, codes: Ints) -> dict[str, Any]:
    form = qnet.format(node.name)
    return {
        "name": node.name,
        "step": form.step,
        "zero_point": form.zero_point,
        "fraction_bits": "shift_k" if node.unrounded else None,
        "float_edge": node.attrs.get("float_edge"),
        "words_per_image": codes[0].size,
        **_tensor(folder, f"edges/{stem}", codes, "NCHW"[: codes.ndim], form.format),
    }


def _layer(folder: Path, stem: str, qnet: Network, node: Node, trace: LayerTrace) -> dict[str, Any]:
    parameters = {
        name: _tensor(folder, f"parameters/{stem}.{name}", words, name.rpartition("_")[2].upper(), form)
        for name, words, form in _parameters(qnet, node)
    }
    path, op = node.datapath, OPS[node.kind]
    window = op.window(node)
    return {
        "name": node.name,
        "kind": node.kind,
        "inputs": list(node.inputs),
        "output": node.name,
        "attributes": {key: value for key, value in node.attrs.items() if key != "float_edge"},
        "window": None if window is None else asdict(window),
        "pad_code": op.pad_code(node, qnet.format(node.inputs[0])),
        "datapath": None if path is None else asdict(path),
        "accumulator_start": None if path is None else _start(node),
        "output_stage": _stage(qnet, node),
        "parameters": parameters,
        "overflows": trace.overflows,
        "saturated": trace.facts.saturated,
    }


def _parameters(qnet: Network, node: Node) -> Iterator[tuple[str, Ints, IntFormat]]:
    """Yield name, words and format of every constant; the narrowest format where the datapath names none."""
    for name, words in node.params.items():
        if name == "w_krsc" and node.datapath is not None:
            yield name, words, node.datapath.w
            continue
        form = format_for(int(words.min()), int(words.max()), signed=not name.startswith("shift_"))
        if name == "multiplier_k" and node.stage is not None:
            form = IntFormat(max(form.bits, node.stage.multiplier_bits + 1), signed=True)
        yield name, words, form
    for name, words in OPS[node.kind].constants(node, *qnet.in_shapes(node)).items():
        yield name, words, format_for(0, int(words.max()))


def _start(node: Node) -> str:
    """Return what the accumulator of output channel k starts at, as a word of the manifest."""
    if not node.path.preload_bias:
        return "0"
    return "bias_k" if node.path.negates else "-bias_k"


def _stage(qnet: Network, node: Node) -> dict[str, Any] | None:
    """Return the output stage with its clamp and the sign that the accumulator enters with."""
    if node.stage is None:
        return None
    form, path = qnet.format(node.name), node.datapath
    low = form.zero_point if node.stage.relu else form.format.min
    clamp = {"low": low, "high": form.format.max} if node.stage.finish else {"low": None, "high": None}
    return {**asdict(node.stage), "acc_sign": -1 if path is not None and path.negates else 1, **clamp}


def _tensor(folder: Path, stem: str, words: Ints, axes: str, form: IntFormat) -> dict[str, Any]:
    """Write one tensor as .npy and .hex and return its entry in the manifest."""
    if words.size and not form.holds(int(words.min()), int(words.max())):
        raise InputError(f"{stem}: holds {words.min()} to {words.max()}, which {form} cannot carry")
    size = next(size for size in (1, 2, 4, 8) if form.bits <= 8 * size)
    np.save(folder / f"{stem}.npy", np.ascontiguousarray(words, f"{'i' if form.signed else 'u'}{size}"))
    with (folder / f"{stem}.hex").open("wb") as stream:
        flat = np.ascontiguousarray(words, np.int64).reshape(-1)
        for first in range(0, flat.size, CHUNK):
            stream.write(hex_lines(flat[first : first + CHUNK], form.bits))
    return {
        "shape": list(words.shape),
        "axes": list(axes),
        "bits": form.bits,
        "signed": form.signed,
        "npy": f"{stem}.npy",
        "hex": f"{stem}.hex",
    }


def hex_lines(words: Ints, bits: int) -> bytes:
    r"""Return one line per word: two's complement in ``bits`` bits, ``ceil(bits / 4)`` digits.

    Examples
    --------
    >>> hex_lines(np.array([-1, 5]), 6)
    b'3f\n05\n'
    """
    shifts = np.arange(-(-bits // 4) - 1, -1, -1) * 4
    digits = ((words & ((1 << bits) - 1))[:, None] >> shifts) & 15
    lines = np.full((len(words), len(shifts) + 1), ord("\n"), np.uint8)
    lines[:, :-1] = np.frombuffer(b"0123456789abcdef", np.uint8)[digits]
    return lines.tobytes()
