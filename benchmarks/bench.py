"""What every performance figure of the README is measured with: peers interleaved in one run, one core.

    make bench                       # or: python benchmarks/bench.py --rounds 9 --only layers

Times are CPU time, medians over rounds; a ratio is the median of the ratios within a round, so that a busy machine
disturbs both sides alike.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

for threads in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[threads] = "1"  # read when NumPy and torch are imported

import emulation
import layers
import machines
import networks
import numpy as np
import roofline
import torch
import torch.nn.functional as F
from timing import interleave, keep_memory, pin, show

import addersim
from addersim.nn import AdderConv2d
from addersim.study.study import Study


def simulation(rounds: int) -> None:
    """Whole networks, the whole test set, two cores."""
    networks.race("LeNet-5", rounds, compiled=False)
    networks.race("ResNet-20", rounds, compiled=True)
    networks.ten_thousand()
    networks.two_cores(rounds)


def naive(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """The expression of the published code, as autograd sees it."""
    columns = F.unfold(x, 3, padding=1)
    return -(columns[:, None] - w.flatten(1)[None, :, :, None]).abs().sum(2)


def training(rounds: int) -> None:
    """Forward and backward of one adder layer of ResNet-20, batch 32; freed memory is kept, for all of them."""
    keep_memory()
    for C, size in ((16, 32), (32, 16), (64, 8)):
        layer = AdderConv2d(C, C, 3, padding=1, bias=False)
        forwards = {
            "addersim.nn.AdderConv2d": layer,
            "torch conv2d": partial(F.conv2d, weight=layer.weight, padding=1),
            "the published expression": partial(naive, w=layer.weight),
        }
        x = torch.randn(32, C, size, size)
        contest = {name: partial(forward_backward, forward, x) for name, forward in forwards.items()}
        times = interleave(contest, max(1, rounds // 3), least_s=0.1)
        show(f"forward + backward, {C} channels, {size} x {size}, batch 32", times)
        say_limit(9 * C * C * size * size * 32, float(np.median(times["torch conv2d"])), rounds)


def say_limit(taps: int, conv2d_s: float, rounds: int) -> None:
    """Print what the loops take at least: two of the adders' own and one of products, or three of products."""
    forward, clipped, products = (roofline.best_s(name, rounds) for name in ("forward32", "clipped32", "products32"))
    ours_s, theirs_s = taps * (forward + clipped + products), taps * 3 * products
    print(f"  in registers, nothing loaded: {1e3 * ours_s:.2f} ms for adders ({ours_s / conv2d_s:.2f} x conv2d as "
          f"measured), {1e3 * theirs_s:.2f} ms for products ({ours_s / theirs_s:.2f} x)")  # fmt: skip


def forward_backward(forward: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> None:
    """One training step's work in one layer."""
    forward(x.clone().requires_grad_()).sum().backward()


def sweep(rounds: int) -> None:
    """Points per second of a sweep over rows and columns of the array and the width of DRAM, from study to frame."""
    with tempfile.TemporaryDirectory() as folder:
        addersim.example_network().save(Path(folder) / "net.safetensors")
        (Path(folder) / "study.toml").write_text('[network]\nfile = "net.safetensors"\n')
        study = Study.read(Path(folder) / "study.toml")
        sides = list(range(1, 101))
        space = {"hardware.rows": sides, "hardware.cols": sides, "hardware.dram.bits_per_cycle": sides[:10]}
        start = time.process_time()
        rows = addersim.sweep(study, space, pool="local:1")
        print(
            f"\nsweep of {len(rows):,} points: {len(rows) / (time.process_time() - start):,.0f} points/s, one process"
        )


def help_time(rounds: int) -> None:
    """Seconds of ``addersim --help``."""
    command = [sys.executable, "-m", "addersim", "--help"]
    contest = {"addersim --help": lambda: subprocess.run(command, capture_output=True, check=True)}
    show("command line", interleave(contest, rounds, time.perf_counter))


PARTS: dict[str, Callable[[int], None]] = {
    "layers": layers.race,
    "emulation": emulation.race,
    "networks": simulation,
    "training": training,
    "machines": machines.race,
    "sweep": sweep,
    "help": help_time,
}


def main() -> None:
    """Run every contest, or those asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", nargs="*", choices=PARTS, default=list(PARTS))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    pin(1)
    for part in arguments.only:
        PARTS[part](arguments.rounds)


if __name__ == "__main__":
    main()
