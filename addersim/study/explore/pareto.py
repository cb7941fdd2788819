"""pareto: the rows that no other row beats."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from addersim.errors import InputError, nearest

Sense = Literal["min", "max"]


def pareto(frame: Any, objectives: Mapping[str, Sense]) -> Any:
    """Return the Pareto front: the rows of ``frame`` that no other row dominates, in their order.

    A row dominates another if it is at least as good in every objective and better in one. Rows that are equal
    in every objective do not dominate each other: either all of them are on the front, or none.

    Parameters
    ----------
    frame
        A pandas DataFrame. It may hold several cost tables: choose one first, unless the front is to mix them. Rows
        whose column ``refused`` holds a reason, if there is one, are on no front.
    objectives
        Columns of numbers, each with ``"min"`` or ``"max"``. Values are compared exactly, by rank.

    Raises
    ------
    InputError
        If there is no objective, a column is not there or holds no numbers, a sense is another word, or a value
        is NaN.

    Examples
    --------
    >>> import addersim, pandas
    >>> frame = pandas.DataFrame({"energy_pj": [3, 1, 2, 1], "accuracy_percent": [92, 90, 90, 90]})
    >>> list(addersim.pareto(frame, {"energy_pj": "min", "accuracy_percent": "max"}).index)
    [0, 1, 3]
    """
    check_objectives(objectives, list(frame.columns))
    frame = accepted(frame)
    ranks = np.column_stack([_ranks(frame, column, sense) for column, sense in objectives.items()])
    distinct, which = np.unique(ranks, axis=0, return_inverse=True)
    return frame[_undominated(distinct)[which.reshape(-1)]]


def accepted(frame: Any) -> Any:
    """Return the rows of a sweep that have figures: those whose machine has room for all tiles."""
    return frame[frame["refused"] == ""] if "refused" in frame else frame


def check_objectives(objectives: Mapping[str, str], columns: Iterable[str]) -> None:
    """Raise InputError unless each objective is one of ``columns`` with ``"min"`` or ``"max"``."""
    if not objectives:
        raise InputError("no objectives; expected columns with 'min' or 'max', such as energy_pj = 'min'")
    for column, sense in objectives.items():
        if column not in columns:
            raise InputError(f"objective {column!r} is no column{nearest(column, columns)}")
        if sense not in ("min", "max"):
            raise InputError(f"objective {column} = {sense!r}, expected 'min' or 'max'")


def _ranks(frame: Any, column: str, sense: str) -> NDArray[np.int64]:
    """Return for every value how many distinct ones are better."""
    values = frame[column]
    if not np.issubdtype(np.asarray(values).dtype, np.number):
        raise InputError(f"objective {column} holds no numbers")
    if missing := int(values.isna().sum()):
        raise InputError(f"objective {column} is NaN in {missing:,} of {len(values):,} rows; leave them or it out")
    distinct, rank = np.unique(np.asarray(values), return_inverse=True)
    return rank if sense == "min" else len(distinct) - 1 - rank


def _undominated(ranks: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which rows of an array of distinct rows, in lexicographic order, no other row dominates.

    A row that dominates comes first in that order, so the first row left is on the front, and what it dominates
    goes: as many steps as the front has rows, each over what is left.
    """
    front = np.zeros(len(ranks), bool)
    left = np.arange(len(ranks))
    while len(left):
        front[left[0]] = True
        left = left[(ranks[left] < ranks[left[0]]).any(axis=1)]
    return front
