"""Golden vectors read back by nothing but what their manifest says."""

from __future__ import annotations

import json

import numpy as np

from addersim.arithmetic.fixed import Ints


def read_hex(folder, entry) -> Ints:
    """Read a hex file by nothing but what its manifest entry says."""
    words = []
    for line in (folder / entry["hex"]).read_text().splitlines():
        assert len(line) == -(-entry["bits"] // 4)
        word = int(line, 16)
        assert word < 1 << entry["bits"]
        words.append(word - (1 << entry["bits"]) if entry["signed"] and word >> (entry["bits"] - 1) else word)
    return np.array(words, np.int64).reshape(entry["shape"])


def read_dump(folder):
    """Return the manifest, every edge's integers, and the layers' constants."""
    manifest = json.loads((folder / "manifest.json").read_text())
    edges = {edge["name"]: read_hex(folder, edge) for edge in manifest["edges"]}
    constants = {
        layer["name"]: {name: read_hex(folder, entry) for name, entry in layer["parameters"].items()}
        for layer in manifest["layers"]
    }
    return manifest, edges, constants


def named(rows, name):
    return next(row for row in rows if row["name"] == name)


def by_hand(layer, x_nchw, p):
    """Return accumulators and codes of an adder layer, N K P Q, as the manifest's conventions tell it."""
    w, stage, path = layer["window"], layer["output_stage"], layer["datapath"]
    assert path["kind"] == "adder" and stage["rounding"] == "half_up" and not path["cut"]
    (py, px), (sy, sx), (dy, dx) = w["padding"], w["stride"], w["dilation"]
    x = np.pad(x_nchw, ((0, 0), (0, 0), (py, py), (px, px)), constant_values=layer["pad_code"])
    weights_krsc = p["w_krsc"]
    K, R, S, _ = weights_krsc.shape
    P, Q = ((x.shape[2 + i] - w["dilation"][i] * (size - 1) - 1) // w["stride"][i] + 1 for i, size in ((0, R), (1, S)))
    start = {"0": 0, "bias_k": p["bias_k"], "-bias_k": -p["bias_k"]}[layer["accumulator_start"]]
    acc = np.zeros((len(x), K, P, Q), np.int64) + np.reshape(start, (-1, 1, 1))
    for pixel in np.ndindex(P, Q):
        top, left = pixel[0] * sy, pixel[1] * sx
        patch = x[:, None, :, top : top + dy * (R - 1) + 1 : dy, left : left + dx * (S - 1) + 1 : dx]
        acc[:, :, *pixel] += np.abs(patch - weights_krsc.transpose(0, 3, 1, 2)).sum((2, 3, 4))
    if path["accumulator"]["overflow"] == "wrap":
        bits, least = path["accumulator"]["format"]["bits"], acc.min()
        acc = acc % (1 << bits)
        acc = np.where(path["accumulator"]["format"]["signed"] & (acc >> (bits - 1) != 0), acc - (1 << bits), acc)
        assert acc.min() != least  # the test is about sums that wrap
    b = 0 if layer["accumulator_start"] != "0" else p["bias_k"][:, None, None]
    m, a, n = (p[name][:, None, None] for name in ("multiplier_k", "offset_k", "shift_k"))
    product = (stage["acc_sign"] * acc - b) * m + a
    rounded = np.where(n > 0, (product + (1 << np.maximum(n, 1) >> 1)) >> n, product)
    return acc, np.clip(rounded, stage["low"], stage["high"]) if stage["finish"] else product
