"""Design points per second: many machines at once, and one by one with the tiling of least energy."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial

import networks
import numpy as np

import addersim
from addersim.costs.evaluate_machines import evaluate_machines
from addersim.hardware import ROLES, Hardware, load_hardware

TABLES = ["horowitz2014_45nm", "aladdin_40nm", "evoapprox_45nm"]
SPACE = {
    "rows": [8, 16, 32, 64],
    "cols": [8, 16, 32, 64],
    "pipeline_stages": [1, 2],
    "buffers.inputs.size_bytes": [2048, 4096, 8192],
    "buffers.weights.size_bytes": [2048, 4096, 8192],
    "buffers.outputs.size_bytes": [4096, 8192],
    "buffers.shared.size_bytes": [1 << n for n in range(15, 20)],
    "buffers.shared.word_bits": [64, 128, 256],
    "dram.bits_per_cycle": [16, 32, 64, 128],
    "clock_mhz": [200.0, 500.0],
    "vector.lanes": [8, 16],
}
# CPU seconds per point, each run once by us on ResNet-18 at 224 x 224 with the configuration it ships with
PEERS = {
    "SCALE-Sim 3.0.0, 32 x 32, weight stationary, no energy": 845,
    "ZigZag 3.9.1, tpu_like, mapping searched": 121,
    "AccelForge 1.0.467, tpu_v4i, mapping searched": 77,
    "AccelForge 1.0.467, eyeriss, mapping searched": 93,
}


def two_levels() -> Hardware:
    """Return a buffer per operand and one behind them all."""
    own = [{"name": role, "holds": [role], "size_bytes": 8192, "word_bits": 64} for role in ROLES]
    shared = {"name": "shared", "holds": list(ROLES), "size_bytes": 131072, "word_bits": 128}
    return load_hardware("adder_16x16", buffers=[*own, shared])


def one_level(size_bytes: int) -> Hardware:
    """Return one buffer that all operands share."""
    buffer = {"name": "all", "holds": list(ROLES), "size_bytes": size_bytes, "word_bits": 128}
    return load_hardware("adder_16x16", buffers=[buffer])


def race(rounds: int) -> None:
    """Print both rates for ResNet-20, and what peers took for one point."""
    qnet = networks.resnet20()[0]
    points = int(np.prod([len(values) for values in SPACE.values()]))
    at_once = [points / _seconds(partial(_many, qnet, step)) for step in range(5)]
    print(f"\nResNet-20, two buffer levels and DRAM, {len(TABLES)} tables, {points:,} machines at once")
    print(f"  {statistics.median(at_once):,.0f} points/s")
    searched = []
    for step in range(max(rounds, 3)):
        machine = one_level(32768 + 1024 * step)  # a new size, so that no tiling is known yet
        searched.append(1 / _seconds(partial(addersim.evaluate, qnet.on(machine), machine, tiling="energy")))
    print("ResNet-20, one buffer level and DRAM, one by one, every tiling searched for the least energy")
    print(f"  {statistics.median(searched):,.0f} points/s")
    print("peers, ResNet-18 at 224 x 224")
    for name, seconds in PEERS.items():
        print(f"  {name:56s} {seconds:4d} s/point")


def _many(qnet: addersim.QuantizedNetwork, step: int) -> None:
    """Evaluate the whole space, with sizes of buffers of which no tiling is known yet."""
    space = {key: [n + 16 * step * key.endswith("size_bytes") for n in values] for key, values in SPACE.items()}
    evaluate_machines(qnet, two_levels(), dict(zip(space, np.ix_(*space.values()), strict=True)), tables=TABLES)


def _seconds(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start
