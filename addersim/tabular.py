"""Tabular: results that show themselves as tables, in a terminal and in a notebook."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any


class Tabular:
    """Gives a result with ``to_pandas`` a plain table as its ``repr`` and an HTML table in a notebook."""

    @abstractmethod
    def to_pandas(self) -> Any:
        """Return the result as a DataFrame."""

    def __repr__(self) -> str:
        frame = self.to_pandas()
        shown = frame.to_string(index=False, max_rows=60, max_colwidth=40, na_rep="", float_format=lambda v: f"{v:.6g}")
        return f"{type(self).__name__}\n{shown}"

    def _repr_html_(self) -> str:
        return str(self.to_pandas().to_html(index=False, max_rows=200, na_rep=""))
