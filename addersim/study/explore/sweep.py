"""sweep: a study evaluated at every point of a grid."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from addersim.errors import InputError
from addersim.study.explore.batch import make_batch, rows
from addersim.study.explore.identity import identity
from addersim.study.explore.pricing import Columns
from addersim.study.explore.results import Results
from addersim.study.explore.space import Indices, Space, make_space
from addersim.study.explore.workers import ADDRESS, check_pool, completed
from addersim.study.outcome import Progress
from addersim.study.study import Study

PART = 1 << 14  # points of a part: what a sweep that is killed may lose of each worker's
SLOW = 64  # fewer points in a part where each is simulated, or placed by a table's prices


def sweep(
    study: Study | str | os.PathLike[str],
    space: Mapping[str, Sequence[Any]] | None = None,
    pool: str = "local:2",
    progress: Progress = lambda step, done: None,
    *,
    out: str | os.PathLike[str] | None = None,
    shard: str | None = None,
    accuracy: bool = False,
) -> Any:
    """Return a DataFrame with one row per point of the grid and cost table, in the grid's order.

    The study's twin is left out. Without ``accuracy`` nothing is simulated, so there is no overflow here either.

    Parameters
    ----------
    study
        The study whose keys the space varies, or its file.
    space
        Dotted keys of the study file with the values to try; by default the study's own ``[space]``.
    pool
        ``"local:N"`` for N worker processes, with N = 1 everything runs in this one; or the address of a Dask
        scheduler, ``"tcp://HOST:PORT"``, whose workers read the study's files at the same places.
    progress
        Called with the step and the fraction of it that is done.
    out
        Folder for the rows, as Parquet parts (extra ``explore``) of up to 16,384 points, or 256 where each is
        simulated or its tiling another than ``"traffic"``. A part is there whole or not at all: a sweep that was
        killed and is called again goes on with the missing ones.
    shard
        ``"i/N"`` evaluates and returns only every N-th part, from the i-th of 1 to N, into ``out``. Once all
        shards are there, the sweep without ``shard`` finds everything and computes nothing.
    accuracy
        Whether to simulate the study's images, for a column ``accuracy_percent``. Points whose machines compute
        alike share a simulation.

    Returns
    -------
    pandas.DataFrame
        The space's keys, then per table ``energy_pj``, ``arithmetic_pj``, ``buffers_pj``, ``dram_pj``,
        ``leakage_pj``, ``cycles``, ``stall_cycles``, ``latency_us`` and ``area_um2`` of one image; NaN where a
        table prints no area. Where a buffer of a point is too small for one tile, ``refused`` says so in the words of
        :func:`addersim.evaluate`, and all figures are NaN; everywhere else it is ``""``. Rows do not depend on pool,
        shards, or how often the sweep was stopped.

    Raises
    ------
    InputError
        If the space is empty, a key is unknown or changes nothing, a value does not fit, the pool is neither
        or does not answer, the shard is out of range, or the folder belongs to another sweep.

    Examples
    --------
    >>> import addersim, tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp())
    >>> addersim.example_network().save(path / "net.safetensors")
    >>> _ = (path / "study.toml").write_text('network.file = "net.safetensors"')
    >>> study = addersim.Study.read(path / "study.toml")
    >>> len(addersim.sweep(study, {"hardware.rows": [8, 16]}, pool="local:1"))
    2
    """
    study = study if isinstance(study, Study) else Study.read(study)
    check_pool(pool)
    grid = make_space(study, space, accuracy)
    slow = accuracy or study.evaluation.tiling != "traffic" or "evaluation.tiling" in grid.axes
    batches = _shard(grid.batches(max(1, PART // SLOW) if slow else PART), shard, out)
    own = identity(study, grid, accuracy)
    results = None if out is None else Results(Path(out), own)
    found = {} if results is None else _finished(results, batches)
    with _memory(results, accuracy and not ADDRESS.fullmatch(pool)) as memory:
        missing = [number for number in range(len(batches)) if number not in found]
        work = [make_batch(study, grid, batches[number], own, memory) for number in missing]
        for place, columns in completed(rows, work, pool):
            number = missing[place]
            if results is not None:
                results.write(batches[number], columns)
            found[number] = columns
            progress("sweep", len(found) / len(batches))
    return _frame(grid, list(found.values()))


def _shard(batches: list[Indices], shard: str | None, out: object) -> list[Indices]:
    if shard is None:
        return batches
    if out is None:
        raise InputError(f"shard = {shard!r} needs out, the folder that all shards write to")
    first, _, count = shard.partition("/")
    if not (first.isdecimal() and count.isdecimal() and 1 <= int(first) <= int(count)):
        raise InputError(f"shard = {shard!r}, expected i/N with i from 1 to N, such as 1/4")
    return batches[int(first) - 1 :: int(count)]


def _finished(results: Results, batches: list[Indices]) -> dict[int, Columns]:
    """Return the rows of the batches that are in the folder."""
    read = {number: results.read(indices) for number, indices in enumerate(batches)}
    return {number: columns for number, columns in read.items() if columns is not None}


@contextmanager
def _memory(results: Results | None, local: bool) -> Iterator[Path | None]:
    """Yield where accuracies are remembered: beside the results, else for this sweep on this machine only."""
    if results is not None or not local:
        yield results.memory if results is not None else None
        return
    with tempfile.TemporaryDirectory(prefix="addersim-") as folder:
        yield Path(folder)


def _frame(space: Space, parts: list[Columns]) -> Any:
    """Return the parts as one frame in the order of the space."""
    import pandas as pd

    if not parts:
        return pd.DataFrame(columns=list(space.axes))
    columns = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    order = np.argsort(columns.pop("point"), kind="stable")
    return pd.DataFrame({key: column[order] for key, column in columns.items()})
