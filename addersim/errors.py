"""The one exception that means: what you gave me cannot be used, and here is why in one line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

UNITS: Mapping[str, str] = {  # as words of a key: what a text says
    "bit": "bit",
    "bits": "bits",
    "byte": "byte",
    "bytes": "bytes",
    "cycle": "cycle",
    "mhz": "MHz",
    "nm": "nm",
    "ns": "ns",
    "percent": "per cent",
    "pj": "pJ",
    "um2": "um^2",
    "us": "us",
    "uw": "uW",
    "v": "V",
}


class InputError(ValueError):
    """Bad input. The message is one line: what, where, what was expected. The command line exits with 2."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return which of ``known`` a wrong name may have meant, else the list of them.

    Examples
    --------
    >>> nearest("colums", ["rows", "columns"]), nearest("x", ["rows", "columns"])
    ("; did you mean 'columns'?", '; known: columns, rows')
    >>> nearest("clock_ghz", ["clock_mhz", "node_nm"])
    "; unknown unit 'ghz', known: 'clock_mhz' in MHz"
    """
    names = sorted(known)
    for one in names:
        wrong, right = set(name.split("_")) - set(one.split("_")), set(one.split("_")) - set(name.split("_"))
        if name.count("_") == one.count("_") > 0 and len(wrong) == len(right) == 1 and right <= set(UNITS):
            word = wrong.pop()
            if not difflib.get_close_matches(word, right, cutoff=0.8):  # another unit, not this one misspelt
                return f"; unknown unit {word!r}, known: {one!r} in {unit(one)}"
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(names)}"


def unit(key: str) -> str:
    """Return the unit that the last words of a key name, ``""`` if they name none.

    Examples
    --------
    >>> unit("clock_mhz"), unit("pj_per_bit"), unit("rows")
    ('MHz', 'pJ per bit', '')
    """
    words = key.rpartition(".")[2].split("_")
    first = next((i for i, word in enumerate(words) if word in UNITS), len(words))
    return " ".join(UNITS.get(word, word) for word in words[first:])
