"""Laws between and beyond the rows of a cost table; each is named in the source of every price it makes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Literal, TypeAlias

from addersim.errors import InputError

LawName = Literal["linear", "power", "square"]
Points: TypeAlias = Sequence[tuple[float, float]]


def linear(points: Points, x: float) -> float:
    """Return the value at ``x``: linear between neighbouring rows, proportional to ``x`` outside them.

    Parameters
    ----------
    points
        ``(x, y)`` rows in ascending ``x``; one is enough.

    Examples
    --------
    >>> rows = [(8, 0.03), (16, 0.05)]
    >>> round(linear(rows, 12), 6), round(linear(rows, 4), 6), round(linear(rows, 32), 6)
    (0.04, 0.015, 0.1)
    """
    (x_low, y_low), (x_high, y_high) = points[0], points[-1]
    if x <= x_low:
        return y_low * x / x_low
    if x >= x_high:
        return y_high * x / x_high
    (x0, y0), (x1, y1) = _neighbours(points, x)
    return y0 + (y1 - y0) * (x - x0) / (x1 - x0)


def power(points: Points, x: float) -> float:
    """Return ``y0 * (x / x0)**e`` with ``e`` from the two rows around ``x``; the outer pair also beyond them.

    Examples
    --------
    >>> round(power([(8, 0.2), (32, 3.2)], 16), 6)
    0.8
    """
    if len(points) < 2:
        raise InputError("a power law needs two rows")
    (x0, y0), (x1, y1) = _neighbours(points, x)
    return float(y0 * (x / x0) ** (math.log(y1 / y0) / math.log(x1 / x0)))


def square(points: Points, x: float) -> float:
    """Return ``y0 * (x / x0)**2`` from the row nearest to ``x``: a product's width squared.

    Examples
    --------
    >>> square([(32, 12.68)], 8)
    0.7925
    """
    x0, y0 = min(points, key=lambda point: abs(math.log(x / point[0])))
    return y0 * (x / x0) ** 2


def polynomial(coefficients: Sequence[float], x: float) -> float:
    """Return ``sum c[i] * x**i``, lowest power first.

    Examples
    --------
    >>> polynomial([0.0, 0.003125], 8)
    0.025
    """
    return float(sum(c * x**i for i, c in enumerate(coefficients)))


LAWS: Mapping[LawName, Callable[[Points, float], float]] = {
    "linear": linear,
    "power": power,
    "square": square,
}
BETWEEN: Mapping[LawName, str] = {
    "linear": "linear between rows",
    "power": "power law through neighbouring rows",
    "square": "proportional to the product of the widths",
}
BEYOND: Mapping[LawName, str] = {
    "linear": "proportional to the width",
    "power": "power law through the outer rows",
    "square": "proportional to the product of the widths",
}


def said(law: LawName, first: float, last: float, x: float) -> str:
    """Return the law as a charge says it, and where ``x`` is outside the rows ``first`` to ``last``, that it is.

    Examples
    --------
    >>> said("linear", 8, 32, 17), said("linear", 8, 32, 64)
    ('linear between rows', 'extrapolated from 32 b: proportional to the width')
    """
    if first <= x <= last:
        return BETWEEN[law]
    return f"extrapolated from {first if x < first else last:g} b: {BEYOND[law]}"


def _neighbours(points: Points, x: float) -> tuple[tuple[float, float], tuple[float, float]]:
    pairs = list(pairwise(points))
    return next((pair for pair in pairs if x <= pair[1][0]), pairs[-1])
