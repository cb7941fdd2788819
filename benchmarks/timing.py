"""Contestants interleaved in one run on one pinned core; a busy machine then disturbs all of them alike."""

from __future__ import annotations

import ctypes
import os
import statistics
import time
from collections.abc import Callable, Mapping

ALL_CORES = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else {0}
Contest = Mapping[str, Callable[[], object]]
Times = dict[str, list[float]]


def pin(cores: int) -> None:
    """Keep the process on so many cores, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, set(sorted(ALL_CORES)[:cores]))


def keep_memory() -> None:
    """Let the C library keep what is freed, where it can (glibc's mallopt).

    Else it returns large blocks to the system or not, as chance has it, and the pages' first touch costs any
    contestant up to as much as its work.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mmap_threshold, trim_threshold = -3, -1
        mallopt(mmap_threshold, 1 << 25)
        mallopt(trim_threshold, 1 << 30)


def interleave(
    contest: Contest, rounds: int, clock: Callable[[], float] = time.process_time, least_s: float = 2e-3
) -> Times:
    """Return the seconds per call of every contestant in every round; a first call of each is not timed.

    A contestant runs as often in a row as fills ``least_s``, so its caches are warm.
    """
    repeats = {}
    for name, run in contest.items():
        run()
        start = clock()
        run()
        repeats[name] = max(1, int(least_s / max(clock() - start, 1e-9)))
    seconds: Times = {name: [] for name in contest}
    for _ in range(rounds):
        for name, run in contest.items():
            start = clock()
            for _ in range(repeats[name]):
                run()
            seconds[name].append((clock() - start) / repeats[name])
    return seconds


def ratio(times: Times, name: str, to: str) -> float:
    """Return the median over rounds of one contestant's time over another's."""
    return statistics.median(a / b for a, b in zip(times[name], times[to], strict=True))


def show(title: str, times: Times, per: int = 1) -> None:
    """Print medians in ms, and each contestant's time as a multiple of the first one's."""
    first = next(iter(times))
    print(f"\n{title}")
    for name, seconds in times.items():
        print(f"  {name:44s} {1e3 * statistics.median(seconds) / per:10.3f} ms {ratio(times, name, first):8.2f} x")
