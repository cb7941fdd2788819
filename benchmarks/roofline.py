"""The core's limit in taps a second, from ``roofline.c``, compiled here and now."""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from timing import Times, interleave, ratio

from addersim.kernels.isa import instruction_sets

LIMIT = "limit"
TURNS = 20_000  # of the loop, 12 vectors of taps each
OPERAND_BYTES = {"distance8": 1, "maxima16": 2, "products8": 1, "forward32": 4, "clipped32": 4, "products32": 4}
VECTOR_BYTES = {"avx512": 64, "avx2": 32, "sse2": 16}


def has_vnni() -> bool:
    """Return whether this processor multiplies and adds 64 bytes in one instruction (AVX-512 VNNI)."""
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.exists() and "avx512_vnni" in cpuinfo.read_text() and "avx512" in instruction_sets()


def limits(name: str) -> dict[str, Callable[[], object]]:
    """Return a contestant per set of instructions of this processor; one call is :func:`taps` taps."""
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "roofline.so"
        source = Path(__file__).with_suffix(".c")
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", str(source), "-o", str(library)], check=True)
        loaded = ctypes.CDLL(str(library))
    sets = [isa for isa in instruction_sets() if isa in VECTOR_BYTES and hasattr(loaded, f"{name}_{isa}")]
    return {f"{LIMIT}, {isa}": partial(loaded[f"{name}_{isa}"], ctypes.c_int64(TURNS)) for isa in sets}


def share(times: Times, name: str, ours: str, ours_taps: int) -> float:
    """Return the part of the core's limit, the best loop's of all sets, that ``ours`` reaches with so many taps."""
    rows = [row for row in times if row.startswith(LIMIT)]
    return min(ratio(times, row, ours) * ours_taps / taps(name, row.split(", ")[1]) for row in rows)


def best_s(name: str, rounds: int) -> float:
    """Return the seconds that a tap takes at least, by the best set of instructions."""
    times = interleave(limits(name), rounds)
    return min(float(np.median(t)) / taps(name, row.split(", ")[1]) for row, t in times.items())


def taps(name: str, isa: str) -> int:
    """Return the taps of one call of a contestant."""
    return TURNS * 12 * VECTOR_BYTES[isa] // OPERAND_BYTES[name]
