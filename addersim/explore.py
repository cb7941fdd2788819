"""sweep: a study evaluated at every point of a grid."""

from __future__ import annotations

import itertools
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from addersim.errors import InputError
from addersim.evaluate import evaluate
from addersim.hardware import multiplier_twin
from addersim.ops import OPS
from addersim.outcome import Progress, load_calibration, on_integers
from addersim.quantized import QuantizedNetwork
from addersim.study import Study, changed, check_key, make_study

Point = dict[str, Any]
Work = tuple[str, list[Point]]
IDLE = ("twin.", "data.name", "data.limit")  # keys that only a simulation or a comparison reads
COST_KEYS = ("hardware", "evaluation")  # keys of these tables leave the quantised network as it is


def sweep(
    study: Study | str | os.PathLike[str],
    space: Mapping[str, Sequence[Any]] | None = None,
    pool: str = "local:2",
    progress: Progress = lambda step, done: None,
) -> Any:
    """Return a DataFrame with one row per point of the grid, in the grid's order.

    Nothing is simulated, so there is no accuracy and no overflow here, and the study's twin is left out.

    Parameters
    ----------
    study
        The study whose keys the space varies, or its file.
    space
        Dotted keys of the study file with the values to try; by default the study's own ``[space]``.
    pool
        ``"local:N"`` for N worker processes; with N = 1 everything runs in this one.
    progress
        Called with the step and the fraction of it that is done.

    Returns
    -------
    pandas.DataFrame
        The space's keys, then per table ``energy_pj``, ``arithmetic_pj``, ``buffers_pj``, ``dram_pj``,
        ``cycles``, ``latency_us`` and ``area_um2`` of one image; NaN where a table prints no area. Rows do
        not depend on the pool.

    Raises
    ------
    InputError
        If the space is empty, a key is unknown or changes nothing, a value does not fit, or the pool is not
        ``local:N``.

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
    import pandas as pd

    study = study if isinstance(study, Study) else Study.read(study)
    axes = _axes(study, space)
    study = study.model_copy(update={"twin": None})
    points = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    for point in points:
        changed(study, point)  # a bad value is reported before any work is done
    work = [(study.model_dump_json(exclude_unset=True, exclude_none=True), batch) for batch in _batches(points)]
    rows: dict[str, list[Point]] = {}
    for part in _results(work, _workers(pool)):
        rows |= {_key(point): found for point, found in part}
        progress("sweep", len(rows) / len(points))
    return pd.DataFrame([row for point in points for row in rows[_key(point)]])


def _axes(study: Study, space: Mapping[str, Sequence[Any]] | None) -> dict[str, Sequence[Any]]:
    """Return the axes of the grid, every key known and of some effect."""
    axes = dict(study.space if space is None else space)
    if not axes or not all(len(values) for values in axes.values()):
        raise InputError(f"{study.path}: the space is empty; give [space] keys such as hardware.rows = [8, 16]")
    for key in axes:
        check_key(key, study.path)
        if key.startswith(IDLE):
            why = "which prices [network] and simulates nothing"
            raise InputError(f"{study.path}: {key} changes nothing in a sweep, {why}")
    return axes


def _results(work: list[Work], workers: int) -> Iterator[list[tuple[Point, list[Point]]]]:
    if workers == 1:
        yield from (_evaluate(*item) for item in work)
    else:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as executor:
            yield from executor.map(_evaluate, *zip(*work, strict=True))


def _workers(pool: str) -> int:
    kind, _, number = pool.partition(":")
    if kind != "local" or not number.isdigit() or int(number) < 1:
        raise InputError(f"pool = {pool!r}, expected local:N with N of 1 or more")
    return int(number)


def _key(point: Point) -> str:
    return json.dumps(point, sort_keys=True)


def _batches(points: list[Point]) -> Iterator[list[Point]]:
    """Group points that share a quantised network, so that each is made once."""
    groups: dict[str, list[Point]] = {}
    for point in points:
        fixed = {key: value for key, value in point.items() if key.split(".")[0] not in COST_KEYS}
        groups.setdefault(_key(fixed), []).append(point)
    yield from groups.values()


def _evaluate(study_json: str, points: list[Point]) -> list[tuple[Point, list[Point]]]:
    content = json.loads(study_json)
    study = make_study({k: v for k, v in content.items() if k != "path"}, Path(content["path"]))
    first = changed(study, points[0])
    _, qnet = on_integers(first, first.network, load_calibration(first.data)[0])
    return [(point, _rows(changed(study, point), qnet, point)) for point in points]


def _rows(study: Study, qnet: QuantizedNetwork, point: Point) -> list[Point]:
    machine = study.machine()
    if machine.pe == "adder" and not any(OPS[node.kind].array == "adder" for node in qnet.nodes):
        machine = multiplier_twin(machine)
    placed = qnet.on(machine)
    rows = []
    for table in study.evaluation.tables:
        cost = evaluate(placed, machine, study.evaluation.dataflow, table, study.evaluation.tiling)
        energies = {f"{unit}_pj": energy for unit, energy in cost.energy_by_unit.items()}
        figures = {"energy_pj": cost.energy_pj, **energies, "cycles": cost.cycles, "latency_us": cost.latency_us}
        area_um2 = math.nan if cost.area_um2 is None else cost.area_um2
        rows.append({**point, "table": cost.table, **figures, "area_um2": area_um2})
    return rows
