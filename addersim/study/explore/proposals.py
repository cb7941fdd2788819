"""Proposals: what Optuna would try next in a space, never a point that was tried."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from addersim.study.explore.pareto import Sense
from addersim.study.explore.space import Space

REPEATS = 20  # proposals in a row that were tried before, until a random point is taken instead


class Proposals:
    """Optuna's tree-structured Parzen estimator over the numbers of a space's values.

    A key whose values are numbers is an ordered axis, any other a choice. The same seed and figures give the
    same proposals.
    """

    def __init__(self, space: Space, objectives: Mapping[str, Sense], seed: int) -> None:
        import optuna

        self.space = space
        self._distributions = {key: _distribution(values) for key, values in space.axes.items()}
        self._asked: Any = None
        level = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)  # it announces every study
        self._study = optuna.create_study(
            sampler=optuna.samplers.TPESampler(seed=seed),
            directions=["minimize" if sense == "min" else "maximize" for sense in objectives.values()],
        )
        optuna.logging.set_verbosity(level)

    def propose(self, tried: Collection[int], random: np.random.Generator) -> int:
        """Return a point that is not in ``tried``, which must leave one."""
        from optuna.trial import TrialState

        for _ in range(REPEATS):
            self._asked = self._study.ask(self._distributions)
            codes = [[self._asked.params[key]] for key in self.space.axes]
            index = int(np.ravel_multi_index(codes, self.space.shape)[0])
            if index not in tried:
                return index
            self._study.tell(self._asked, state=TrialState.FAIL)  # it learns nothing twice
        self._asked = None
        while (index := int(random.integers(len(self.space)))) in tried:
            pass
        return index

    def learn(self, index: int, figures: Sequence[float]) -> None:
        """Tell the figures of the point proposed last, or of any other; NaN if it has none."""
        from optuna.trial import TrialState, create_trial

        if np.isnan(figures).any():
            if self._asked is not None:
                self._study.tell(self._asked, state=TrialState.FAIL)
                self._asked = None
            return
        if self._asked is not None:
            self._study.tell(self._asked, list(figures))
            self._asked = None
            return
        codes = np.unravel_index(index, self.space.shape)
        params = {key: int(code) for key, code in zip(self.space.axes, codes, strict=True)}
        self._study.add_trial(create_trial(values=list(figures), params=params, distributions=self._distributions))


def _distribution(values: Sequence[Any]) -> Any:
    from optuna.distributions import CategoricalDistribution, IntDistribution

    if all(isinstance(value, int | float) for value in values):
        return IntDistribution(0, len(values) - 1)
    return CategoricalDistribution(list(range(len(values))))
