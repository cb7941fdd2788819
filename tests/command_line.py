"""The command `addersim`, in this process."""

from __future__ import annotations

import sys

import pytest

from addersim.cli.app import main


def addersim(*arguments, expect=0):
    """Run ``addersim`` in this process; return nothing, check the exit code."""
    old = sys.argv
    sys.argv = ["addersim", *map(str, arguments)]
    try:
        with pytest.raises(SystemExit) as stop:
            main()
    finally:
        sys.argv = old
    assert stop.value.code in (expect, None if expect == 0 else expect)
