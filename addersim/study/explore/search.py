"""search: the good points of a space that is too large to sweep."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from addersim.errors import InputError
from addersim.network.quantized import QuantizedNetwork
from addersim.study.explore.accuracy import measure
from addersim.study.explore.batch import quantised
from addersim.study.explore.identity import identity
from addersim.study.explore.pareto import Sense, check_objectives, pareto
from addersim.study.explore.pricing import Accuracy, Columns, figures, priced
from addersim.study.explore.proposals import Proposals
from addersim.study.explore.results import Results
from addersim.study.explore.space import Indices, Space, make_space
from addersim.study.outcome import Progress
from addersim.study.study import Study, changed

MACHINES = 64  # that are priced for each network before the first trial


def search(
    study: Study | str | os.PathLike[str],
    space: Mapping[str, Sequence[Any]] | None,
    objectives: Mapping[str, Sense],
    trials: int = 100,
    seed: int = 0,
    progress: Progress = lambda step, done: None,
    *,
    out: str | os.PathLike[str] | None = None,
) -> Any:
    """Return a DataFrame with the points that were tried, in the order in which they were; no point comes twice.

    First a random sample is priced, 64 machines for each of up to ``trials / 8`` quantised networks, and what
    is on its Pareto front is tried, up to half of the trials. Where accuracy is an objective, the others are priced,
    and the front of each network is taken. Optuna (extra ``explore``) proposes the rest with its tree-structured
    Parzen estimator. :func:`pareto` of the result is what was found.

    Parameters
    ----------
    study, space, progress
        As of :func:`addersim.sweep`; the study's first cost table alone is used.
    objectives
        Columns of :func:`addersim.sweep`, each with ``"min"`` or ``"max"``; ``accuracy_percent`` simulates every trial.
    trials
        How many points are tried; all of the space if it has no more.
    seed
        Of the sample and of Optuna: the same seed tries the same points.
    out
        Folder that remembers every trial: a search that was stopped and is called again computes none twice.

    Raises
    ------
    InputError
        As :func:`addersim.sweep`; also if an objective is no column or NaN, because the table prints no area, or if
        ``trials`` is not positive.

    Examples
    --------
    >>> import addersim, tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp())
    >>> addersim.example_network().save(path / "net.safetensors")
    >>> _ = (path / "study.toml").write_text('network.file = "net.safetensors"')
    >>> space = {"hardware.rows": range(1, 65), "hardware.cols": range(1, 65)}
    >>> tried = addersim.search(path / "study.toml", space, {"energy_pj": "min", "cycles": "min"}, trials=8)
    >>> len(tried), len(tried.drop_duplicates(["hardware.rows", "hardware.cols"]))
    (8, 8)
    """
    import pandas as pd

    check_objectives(objectives, figures(accuracy=True))
    if trials < 1:
        raise InputError(f"trials = {trials}, expected 1 or more")
    chosen = _one_table(study if isinstance(study, Study) else Study.read(study))
    accuracy = "accuracy_percent" in objectives
    grid = make_space(chosen, space, accuracy)
    results = None if out is None else Results(Path(out), identity(chosen, grid, accuracy))
    trial = _Trial(chosen, grid, accuracy, results)
    total, random = min(trials, len(grid)), np.random.default_rng(seed)
    opening = _opening(trial, objectives, total, random)
    proposals = Proposals(grid, objectives, seed)
    tried: dict[int, Any] = {}
    while len(tried) < total:
        index = opening[len(tried)] if len(tried) < len(opening) else proposals.propose(tried, random)
        tried[index] = pd.DataFrame(trial.row(index))
        proposals.learn(index, [float(tried[index][column].iloc[0]) for column in objectives])
        progress("search", len(tried) / total)
    return pd.concat(list(tried.values()), ignore_index=True).drop(columns="point")


def _one_table(study: Study) -> Study:
    return changed(study, {"evaluation.tables": list(study.evaluation.tables[:1])})


class _Trial:
    """The rows of single points; the networks used last stay quantised."""

    def __init__(self, study: Study, space: Space, accuracy: bool, results: Results | None) -> None:
        self.study, self.space, self.accuracy, self.results = study, space, accuracy, results
        self.prepared = lru_cache(maxsize=8)(self._prepared)

    def _prepared(self, network: int) -> tuple[QuantizedNetwork, Accuracy | None]:
        point = self.space.points(self.space.numbers(network, np.zeros(1, np.int64)))[0]
        study = changed(self.study, point)
        memory = self.results.memory if self.results is not None else None
        return quantised(study), measure(study.data, memory) if self.accuracy else None

    def row(self, index: int) -> Columns:
        """Return the one row of a point, from the folder if it is there."""
        indices = np.array([index], np.int64)
        found = self.results.read(indices) if self.results is not None else None
        if found is None:
            found = priced(self.study, self._network(indices)[0], self.space, indices, self._network(indices)[1])
            if self.results is not None:
                self.results.write(indices, found)
        return found

    def _network(self, indices: Indices) -> tuple[QuantizedNetwork, Accuracy | None]:
        return self.prepared(int(self.space.network(indices)[0]))


def _opening(trial: _Trial, objectives: Mapping[str, Sense], total: int, random: np.random.Generator) -> list[int]:
    """Return the points to begin with: the front of a priced sample, up to half of the trials."""
    import pandas as pd

    space, half = trial.space, max(1, total // 2)
    networks = random.choice(space.networks, min(space.networks, max(1, total // 8)), replace=False)
    machines = len(space) // space.networks
    frames = []
    for network in networks:
        indices = space.numbers(int(network), random.choice(machines, min(machines, MACHINES), replace=False))
        frames.append(pd.DataFrame(priced(trial.study, trial.prepared(int(network))[0], space, indices)))
    without = {column: sense for column, sense in objectives.items() if column != "accuracy_percent"}
    if not without:
        front = [int(frame["point"].iloc[0]) for frame in frames]
    else:
        groups = frames if trial.accuracy else [pd.concat(frames, ignore_index=True)]
        front = [int(point) for frame in groups for point in pareto(frame, without)["point"]]
    return [front[i] for i in random.permutation(len(front))[:half]]
