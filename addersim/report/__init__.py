"""One self-contained page about an outcome, its figures as CSV and JSON, and the study that made them."""

from __future__ import annotations

from pathlib import Path

from addersim.files import write_atomically
from addersim.report.files import comparison_csv, layers_csv, picture, summary_json
from addersim.report.page import page
from addersim.report.study_text import study_text
from addersim.study.outcome import Outcome

__all__ = ["write_report"]


def write_report(outcome: Outcome, folder: Path) -> Path:
    """Write the report of an outcome into ``folder``; the same outcome gives the same bytes.

    ``index.html`` needs nothing beside it; ``layers.csv``, ``comparison.csv`` (where there is a twin) and
    ``summary.json`` hold its figures, ``energy.svg`` shows where the energy goes, ``study.toml`` says what was run.
    All is made before the first byte is written.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    InputError
        If the folder cannot be written, or the study's images are no longer there.
    """
    texts = {"study.toml": study_text(outcome.study), "layers.csv": layers_csv(outcome)}
    if outcome.comparison is not None:
        texts["comparison.csv"] = comparison_csv(outcome.comparison)
    texts["energy.svg"] = picture(outcome)
    texts["summary.json"] = summary_json(outcome)
    texts["index.html"] = page(outcome)
    for name, text in texts.items():
        write_atomically(Path(folder) / name, text.encode("utf-8", "replace"))
    return Path(folder) / "index.html"
