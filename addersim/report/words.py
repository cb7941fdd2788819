"""Numbers and names as people read them: significant digits, units, ranges, ratios."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

MINUS = "\N{MINUS SIGN}"
DASH = "\N{EN DASH}"
UNNAMED = "?"
SPACES = "\n\N{NO-BREAK SPACE}"


def number(value: float, digits: int = 4) -> str:
    """Return ``value`` with ``digits`` significant digits and thousands separators.

    Examples
    --------
    >>> number(10900.48), number(0.123456), number(0)
    ('10,900', '0.1235', '0')
    """
    if value == 0:
        return "0"
    places = digits - 1 - math.floor(math.log10(abs(value)))
    return f"{round(value, places):,.{max(places, 0)}f}".replace("-", MINUS)


def scaled(value: float, units: Sequence[str], digits: int = 4) -> str:
    """Return ``value`` in the largest of ``units``, each 1000 times the one before, in which it is 1 or more.

    Examples
    --------
    >>> scaled(10_900_484.0, ["pJ", "nJ", "uJ"])
    '10.90 uJ'
    """
    step = 0
    while step < len(units) - 1 and abs(value) >= 1000:
        value, step = value / 1000, step + 1
    return f"{number(value, digits)} {units[step]}"


def energy(energy_pj: float) -> str:
    """Return an energy with its unit."""
    return scaled(energy_pj, ["pJ", "nJ", "µJ", "mJ", "J"])


def duration(time_us: float) -> str:
    """Return a time with its unit."""
    return scaled(time_us * 1000, ["ns", "µs", "ms", "s"])


def area(area_um2: float, digits: int = 4) -> str:
    """Return an area in square micrometres, or from 10,000 of them in square millimetres."""
    return f"{number(area_um2 / 1e6, digits)} mm²" if area_um2 >= 1e4 else f"{number(area_um2, digits)} µm²"


def percent(fraction: float, places: int = 1) -> str:
    """Return a fraction as a percentage.

    Examples
    --------
    >>> percent(0.9035)
    '90.3 %'
    """
    return f"{100 * fraction:.{places}f} %".replace("-", MINUS)


def unbroken(text: str) -> str:
    """Return ``text`` with no-break spaces between numbers and their units."""
    return re.sub(r"(?<=\d) (?=(?:%|[pnµm]?J|[nµm]?s|[µm]m²|MHz|KB|bits|points)(?!\w))", "\N{NO-BREAK SPACE}", text)


def points(difference: float) -> str:
    """Return a difference of two fractions in signed percentage points."""
    text = f"{100 * difference:+.2f}".replace("-", MINUS)
    return text if text.strip(f"+{MINUS}0.") else "0.00"


def standard_error(share: float, count: int) -> str:
    """Return the standard error, in percentage points, of a share that ``count`` independent trials gave."""
    return f"{100 * math.sqrt(share * (1 - share) / count):.2f}"


def change(ratio: float) -> float:
    """Return the signed fraction by which a quantity differs from one that is ``ratio`` times as large."""
    return 1 / ratio - 1


def amount(fraction: float) -> str:
    """Return the size of a change in per cent, two digits or more.

    Examples
    --------
    >>> amount(-0.3436), amount(0.0949), amount(0.00143)
    ('34 %', '9.5 %', '0.14 %')
    """
    size = 100 * abs(fraction)
    return f"{size:,.0f} %" if size >= 10 else f"{size:.1f} %" if size >= 1 else f"{size:.2g} %"


def less_or_more(fraction: float) -> str:
    """Return a change in words: ``"34 % less"``."""
    if abs(fraction) < 5e-5:
        return "the same"
    return f"{amount(fraction)} {'less' if fraction < 0 else 'more'}"


def spread(low: float, high: float) -> str:
    """Return a range of changes in words, or nothing if it is no range.

    Examples
    --------
    >>> spread(-0.34, -0.49), spread(-0.03, 0.05)
    ('34 to 49 % less', 'from 3.0 % less to 5.0 % more')
    """
    if low > high:
        low, high = high, low
    first, last = less_or_more(low), less_or_more(high)
    if first == last:
        return ""
    if low < 0 < high or "the same" in (first, last):
        return f"from {first} to {last}"
    near, far = (high, low) if high < 0 else (low, high)
    return f"{amount(near).removesuffix(' %')} to {less_or_more(far)}"


def ratio(value: float | None) -> str:
    """Return a ratio with two decimals, three where it is close to one; a dash for none."""
    if value is None:
        return DASH
    return f"{value:.3f}" if abs(value - 1) < 0.0095 and value != 1 else f"{value:.2f}"


def ratios(limits: tuple[float, float] | None) -> str:
    """Return the range of a ratio."""
    if limits is None:
        return DASH
    low, high = map(ratio, limits)
    return low if low == high else f"{low} to {high}"


def decibels(value: float | None) -> str:
    """Return a signal-to-noise ratio; an infinite one in words."""
    if value is None or math.isnan(value):
        return DASH
    if math.isinf(value):
        return "exact" if value > 0 else "no signal"
    return f"{value:.1f}".replace("-", MINUS)


def aligned(values: Sequence[float], digits: int = 4) -> list[str]:
    """Return ``values`` with equal decimals, the largest with ``digits`` significant digits.

    Examples
    --------
    >>> aligned([342.472, 6.5, 0.001, 0])
    ['342.5', '6.5', '<0.1', '0']
    """
    largest = max((abs(value) for value in values), default=0)
    places = min(max(digits - 1 - math.floor(math.log10(largest)), 0), 6) if largest else 0
    return [_at(value, places) for value in values]


def _at(value: float, places: int) -> str:
    if 0 < value < 0.5 * 10**-places:
        return f"<{10**-places:.{places}f}"
    return f"{value:,.{places}f}".replace("-", MINUS) if value else "0"


def clean(text: str) -> str:
    """Return ``text`` without characters that neither XML nor a screen can show."""
    return "".join(c if c.isprintable() or c in SPACES else UNNAMED for c in text)


def short(name: str, length: int = 16) -> str:
    """Return ``name`` on one line, shortened in its middle to ``length`` characters.

    Examples
    --------
    >>> short("layer3.block2.conv1")
    'layer3.b…2.conv1'
    """
    line = clean(name).replace("\n", UNNAMED)
    tail = (length - 1) // 2
    return line if len(line) <= length else f"{line[: length - 1 - tail]}…{line[-tail:]}"
