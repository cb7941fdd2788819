"""The core's limit in taps a second, from ``roofline.c``, compiled here and now."""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from addersim.kernels.isa import instruction_set

TURNS = 20_000  # of the loop, 12 vectors of taps each
OPERAND_BYTES = {"distance8": 1, "maxima16": 2}


def limits() -> dict[str, Callable[[], object]]:
    """Return a contestant per loop; one call is :func:`taps` taps."""
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "roofline.so"
        source = Path(__file__).with_suffix(".c")
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", str(source), "-o", str(library)], check=True)
        loaded = ctypes.CDLL(str(library))
    found = {}
    for name in OPERAND_BYTES:
        run = getattr(loaded, f"{name}_{instruction_set().name}")
        run.argtypes = [ctypes.c_int64]
        found[name] = partial(run, TURNS)
    return found


def taps(name: str) -> int:
    """Return the taps of one call of a contestant."""
    return TURNS * 12 * instruction_set().vector_bytes // OPERAND_BYTES[name]
