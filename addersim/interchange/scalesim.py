"""Topology files of SCALE-Sim: layers as loop nests, and their schedules on an array.

Both of its formats are read as they are, with their trailing commas and spaces. Convolutions, one per line:
``name, IFMAP height, IFMAP width, filter height, filter width, channels, filters, stride``; a name with ``DP`` in
it is a depthwise layer. Matrix products, where the header's second word is M: ``name, M, N, K`` for M x K times
K x N, and optionally a batch of them. There is no padding: a padded layer has the size with padding.

Output sizes are ``floor((H - R) / stride) + 1``. SCALE-Sim takes ``ceil((H - R + stride) / stride)``, a row and a
column too many where the stride does not divide: on its ResNet-18 (32 x 32, weight stationary) it reports 2,519,815
cycles, and this module 21 more than 2,487,609, because its count of each layer's cycles is one short.
"""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

from addersim.arithmetic.window import Window
from addersim.errors import InputError
from addersim.mapping.dataflows import Dataflow, Schedule, load_dataflow
from addersim.network.loops import LoopNest

CONVOLUTION = ("IFMAP height", "IFMAP width", "filter height", "filter width", "channels", "filters", "stride")
PRODUCT = ("M", "N", "K")


def read_topology(path: str | os.PathLike[str]) -> list[tuple[str, LoopNest]]:
    """Return names and loops of the layers in a topology file.

    Columns behind those that are named say nothing about loops and are passed over, but for sparsity.

    Raises
    ------
    InputError
        If the file cannot be read or a line does not describe a layer; the message names file and line. Sparse
        layers are not modelled.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "gemm.csv"
    >>> _ = file.write_text("Layer, M, N, K,\\nfc, 1, 10, 84,\\n")
    >>> [(name, loops.K, loops.C) for name, loops in read_topology(file)]
    [('fc', 10, 84)]
    """
    lines = _cells(path)
    read = {"m": _product, "ifmap height": _convolution}.get("".join(lines[0][1:2]).lower() if lines else "")
    if read is None:
        raise InputError(f"{path}: not a topology file: expected 'Layer name, IFMAP Height, ...' or 'Layer, M, N, K'")
    found = [(line[0], read(line, f"{path}, line {n}")) for n, line in enumerate(lines[1:], 2) if any(line)]
    if not found:
        raise InputError(f"{path}: no layers")
    return found


def schedule_topology(
    path: str | os.PathLike[str], rows: int, cols: int, dataflow: str | Dataflow = "weight_stationary"
) -> Any:
    """Return a DataFrame with a line per layer: its taps and every field of its schedule on the array.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "gemm.csv"
    >>> _ = file.write_text("Layer, M, N, K,\\nfc, 1, 10, 84,\\n")
    >>> schedule_topology(file, rows=16, cols=16)["taps"].tolist()
    [840]
    """
    import pandas as pd

    flow = load_dataflow(dataflow)[1]
    lines = [
        {"layer": name, "taps": loops.taps, **vars(flow(loops, rows, cols))} for name, loops in read_topology(path)
    ]
    return pd.DataFrame(lines, columns=["layer", "taps", *Schedule.__dataclass_fields__])


def _cells(path: str | os.PathLike[str]) -> list[list[str]]:
    """Return the words of every line of a file."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
        return [[cell.strip() for cell in line] for line in csv.reader(text.splitlines())]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error


def _convolution(cells: list[str], where: str) -> LoopNest:
    H, W, R, S, C, K, stride = _numbers(cells, CONVOLUTION, where)
    if R > H or S > W:
        raise InputError(f"{where}: a filter of {R} x {S} on an image of {H} x {W}")
    P, Q = Window(R, S, stride=(stride, stride)).out_size(H, W)
    groups = C if "DP" in cells[0] else 1
    K *= groups  # "filters" of a depthwise layer are those of one channel
    return LoopNest(K=K, C=C, P=P, Q=Q, R=R, S=S, H=H, W=W, groups=groups, stride=(stride, stride))


def _product(cells: list[str], where: str) -> LoopNest:
    M, N, K = _numbers(cells, PRODUCT, where)
    batch = _number(cells[4], "batch", where) if cells[4:5] and cells[4].isdigit() else 1
    return LoopNest(K=N * batch, C=K * batch, P=M, H=M, groups=batch)


def _numbers(cells: list[str], names: tuple[str, ...], where: str) -> list[int]:
    """Return the numbers behind the layer's name, after refusing what is sparse."""
    if len(cells) <= len(names):
        raise InputError(f"{where}: expected a name and {', '.join(names)}")
    for cell in cells[len(names) + 1 :]:
        kept, colon, of = cell.partition(":")
        if colon and kept.strip() != of.strip():
            raise InputError(f"{where}: sparsity {cell} is not modelled; expected 1:1")
    return [_number(cell, name, where) for cell, name in zip(cells[1:], names, strict=False)]


def _number(cell: str, name: str, where: str) -> int:
    if not cell.isdecimal() or int(cell) < 1:
        raise InputError(f"{where}: {name} = {cell!r}: expected a whole number of 1 or more")
    return int(cell)
