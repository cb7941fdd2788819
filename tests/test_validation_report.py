"""The tables in reports/validation: as near to the published figures as promised, and as they stand in the README."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parent.parent / "reports" / "validation"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="tests an installed package, without its repository")


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(FOLDER / "run.py"))


def test_eyeriss_processing_times(script: dict[str, Any]) -> None:
    *layers, total = [row for row in script["chip"]() if row.figure == "ms"]
    assert len(layers) == 5 and all(abs(row.deviation) < 0.2 for row in layers)
    assert total.layer == "all" and abs(total.deviation) < 0.15


def test_eyeriss_energies(script: dict[str, Any]) -> None:
    rows = script["energies"]()
    assert len(rows) == 3 * 8 and all(abs(row.deviation) < 0.1 for row in rows)
    assert max(abs(row.deviation) for row in rows if row.figure != "multiplications") < 0.07


def test_eyeriss_global_buffer(script: dict[str, Any]) -> None:
    assert all(abs(row.deviation) < 0.06 for row in script["chip"]() if row.figure == "MB")


def test_scale_sim(script: dict[str, Any]) -> None:
    total = script["scale_sim"]()[-1]
    assert (total.published, total.model) == (2_519_815, 2_487_609)


def test_the_page_is_what_the_script_writes(script: dict[str, Any]) -> None:
    assert (FOLDER / "README.md").read_text(encoding="utf-8") == script["page"]()
