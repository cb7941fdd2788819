"""Taps per second of the toggle counts: the native loops beside the NumPy definition, interleaved, one core.

    python benchmarks/toggles.py --rounds 9

Layers are the three stages of ResNet-20, 8 images, random 8-bit operands, 24-bit accumulators. Figures are CPU time,
medians over rounds, preparation in Python included; the definition sees one image only.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time

for threads in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[threads] = "1"

import numpy as np

from addersim.arithmetic.datapath import Datapath, exact_datapath, with_accumulator
from addersim.arithmetic.fixed import IntFormat
from addersim.arithmetic.window import Window
from addersim.kernels import native, reference

U8, S8 = IntFormat(8, False), IntFormat(8, True)
WINDOW = Window(3, 3, padding=(1, 1))
STAGES = ((16, 32), (32, 16), (64, 8))  # channels, pixels along a side


def datapaths(depth: int) -> dict[str, Datapath]:
    """Return the datapaths to race: the one with a loop of its own, and three that need words."""
    paths = {
        "adder": exact_datapath("adder", U8, U8, depth),
        "adder, tree of 4": exact_datapath("adder", U8, U8, depth, tree_inputs=4),
        "adder, negative": exact_datapath("adder", U8, U8, depth, sign="negative"),
        "multiplier": exact_datapath("multiplier", U8, S8, depth),
    }
    return {name: with_accumulator(path, 24) for name, path in paths.items()}


def race(channels: int, side: int, rounds: int) -> None:
    """Print G taps/s of every datapath on one layer."""
    rng, depth = np.random.default_rng(0), 9 * channels
    x = rng.integers(0, 128, (8, side, side, channels))
    w = rng.integers(0, 128, (channels, 3, 3, channels))
    initial, taps = np.zeros(channels, np.int64), side * side * channels * depth
    print(f"\n{channels} channels, {side} x {side}, 3 x 3 taps")
    contests = [(name, path, False) for name, path in datapaths(depth).items()]
    for name, path, weight_stationary in [*contests, ("adder, weight stationary", contests[0][1], True)]:
        rates: dict[str, list[float]] = {"native": [], "definition": []}
        for _ in range(rounds):
            for kernels, images in ((native, x), (reference, x[:1])):
                start = time.process_time()
                kernels.toggles(images, w, initial, path, WINDOW, 0, weight_stationary)
                rate = 1e-9 * len(images) * taps / (time.process_time() - start)
                rates["native" if kernels is native else "definition"].append(rate)
        ours, plain = (statistics.median(values) for values in rates.values())
        print(f"  {name:24s} {ours:7.3f} G taps/s   definition {plain:7.4f}   {ours / plain:6.0f} x")


def main() -> None:
    """Run every layer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    for channels, side in STAGES:
        race(channels, side, rounds)


if __name__ == "__main__":
    main()
