"""What every performance figure of the README is measured with: peers interleaved in one run, one core.

    make bench                       # or: python benchmarks/bench.py --rounds 9

Each line is the median over rounds; a ratio is the median of the ratios within a round, so that a busy
machine disturbs both sides alike.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import partial
from pathlib import Path

for threads in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[threads] = "1"

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

import addersim
from addersim.nn import AdderConv2d, build_model, load_checkpoint
from addersim.study import Study

Contest = Mapping[str, Callable[[], object]]


def interleave(contest: Contest, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of every contestant in every round; the first call of each is not timed."""
    for run in contest.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in contest}
    for _ in range(rounds):
        for name, run in contest.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def show(title: str, seconds: Mapping[str, list[float]], per: int = 1) -> None:
    """Print medians in ms, and each contestant's time as a multiple of the first one's."""
    first = next(iter(seconds.values()))
    print(f"\n{title}")
    for name, times in seconds.items():
        ratio = statistics.median(t / f for t, f in zip(times, first, strict=True))
        print(f"  {name:44s} {1e3 * statistics.median(times) / per:10.3f} ms {ratio:8.2f} x")


def simulation(rounds: int) -> None:
    """Whole networks on integers beside PyTorch's float twins of the same shapes, batch 32."""
    x = addersim.sample("fashion_sample", 32)[0]
    calibration = addersim.sample("fashion_calibration", 100)[0]
    qnet = addersim.quantize(addersim.from_torch(load_checkpoint("lenet5_adder"), x[:1]), calibration)
    race("LeNet-5 on 28 x 28", qnet, load_checkpoint("lenet5_conv"), x, rounds)
    x = torch.randn(32, 3, 32, 32).numpy()
    adder = settled(build_model("resnet20_adder"), x)
    qnet = addersim.quantize(addersim.from_torch(adder, x[:1]), x)
    race("ResNet-20 on 32 x 32", qnet, build_model("resnet20_conv"), x, rounds)


def settled(module: torch.nn.Module, x: NDArray[np.float32]) -> torch.nn.Module:
    """Return an untrained module whose batch norms have seen data: speed does not depend on the weights."""
    with torch.no_grad():
        for _ in range(60):
            module.train()(torch.tensor(x[:8]))
    return module.eval()


def race(
    title: str, qnet: addersim.QuantizedNetwork, twin: torch.nn.Module, x: NDArray[np.float32], rounds: int
) -> None:
    """Time the integers, from float images to logits, and the twin in both memory formats."""
    plain, last = torch.tensor(x), torch.tensor(x).to(memory_format=torch.channels_last)
    copy = deepcopy(twin).eval().to(memory_format=torch.channels_last)

    def floats(module: torch.nn.Module, tensor: torch.Tensor) -> None:
        with torch.no_grad():
            module(tensor)

    contest = {
        "addersim, int8, exact": lambda: addersim.simulate(qnet, x),
        "PyTorch fp32 CNN twin, NCHW": lambda: floats(twin.eval(), plain),
        "PyTorch fp32 CNN twin, channels_last": lambda: floats(copy, last),
    }
    show(f"{title}, one image (batch 32, one core)", interleave(contest, rounds), per=32)


def naive(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """The expression of the published code, as autograd sees it."""
    columns = F.unfold(x, 3, padding=1)
    return -(columns[:, None] - w.flatten(1)[None, :, :, None]).abs().sum(2)


def training(rounds: int) -> None:
    """Forward and backward of one adder layer of ResNet-20, batch 32."""
    for C, size in ((16, 32), (64, 8)):
        layer = AdderConv2d(C, C, 3, padding=1, bias=False)
        forwards = {
            "addersim.nn.AdderConv2d": layer,
            "torch conv2d": partial(F.conv2d, weight=layer.weight, padding=1),
            "the published expression": partial(naive, w=layer.weight),
        }
        x = torch.randn(32, C, size, size)
        contest = {name: partial(forward_backward, forward, x) for name, forward in forwards.items()}
        show(f"forward + backward, {C} channels, {size} x {size}, batch 32", interleave(contest, max(1, rounds // 3)))


def forward_backward(forward: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> None:
    """One training step's work in one layer."""
    forward(x.clone().requires_grad_()).sum().backward()


def sweep() -> None:
    """Points per second of a grid over an array's rows and columns."""
    with tempfile.TemporaryDirectory() as folder:
        addersim.example_network().save(Path(folder) / "net.safetensors")
        (Path(folder) / "study.toml").write_text('[network]\nfile = "net.safetensors"\n')
        study = Study.read(Path(folder) / "study.toml")
        sides = list(range(1, 21))
        start = time.perf_counter()
        rows = addersim.sweep(study, {"hardware.rows": sides, "hardware.cols": sides}, pool="local:1")
        print(f"\nsweep: {len(rows) / (time.perf_counter() - start):.0f} points/s, one process")


def help_time(rounds: int) -> None:
    """Seconds of ``addersim --help``."""
    command = [sys.executable, "-m", "addersim", "--help"]
    contest = {"addersim --help": lambda: subprocess.run(command, capture_output=True, check=True)}
    show("command line", interleave(contest, rounds))


def main() -> None:
    """Run every contest."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    simulation(rounds)
    training(rounds)
    sweep()
    help_time(rounds)


if __name__ == "__main__":
    main()
