"""Whole networks on integers, from float images to logits, beside PyTorch's float twins of the same shapes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from threading import Barrier
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from timing import interleave, pin, ratio, show
from torch.nn.utils.fusion import fuse_conv_bn_eval

import addersim
from addersim.nn import build_model, load_checkpoint
from addersim.simulation.threads import spread

OURS = "addersim, int8, exact"
BATCH = 32


def lenet5() -> tuple[addersim.QuantizedNetwork, torch.nn.Module, NDArray[np.float32]]:
    """Return the quantised network, its convolutional twin, and a batch of images."""
    x = addersim.sample("fashion_sample", BATCH)[0]
    calibration = addersim.sample("fashion_calibration", 100)[0]
    qnet = addersim.quantize(addersim.from_torch(load_checkpoint("lenet5_adder"), x[:1]), calibration)
    return qnet, load_checkpoint("lenet5_conv").eval(), x


def resnet20() -> tuple[addersim.QuantizedNetwork, torch.nn.Module, NDArray[np.float32]]:
    """Return the same for ResNet-20, untrained: speed does not depend on the weights."""
    x = torch.randn(BATCH, 3, 32, 32).numpy()
    adder = settled(build_model("resnet20_adder"), x)
    return addersim.quantize(addersim.from_torch(adder, x[:1]), x), settled(build_model("resnet20_conv"), x), x


def settled(module: torch.nn.Module, x: NDArray[np.float32]) -> torch.nn.Module:
    """Return a module whose batch norms have seen data."""
    with torch.no_grad():
        for _ in range(60):
            module.train()(torch.tensor(x[:8]))
    return module.eval()


def folded(module: torch.nn.Module) -> torch.nn.Module:
    """Return a copy in which batch norms are folded into the convolutions in front of them, as traced."""
    traced = torch.fx.symbolic_trace(deepcopy(module).eval())
    modules = dict(traced.named_modules())
    for node in list(traced.graph.nodes):
        norm, conv = modules.get(str(node.target)), modules.get(str(node.args[0].target)) if _after_node(node) else None
        if isinstance(norm, torch.nn.BatchNorm2d) and isinstance(conv, torch.nn.Conv2d):
            parent, _, name = str(node.args[0].target).rpartition(".")
            setattr(traced.get_submodule(parent), name, fuse_conv_bn_eval(conv, norm))
            node.replace_all_uses_with(node.args[0])
            traced.graph.erase_node(node)
    traced.recompile()
    return traced


def _after_node(node: torch.fx.Node) -> bool:
    return node.op == "call_module" and bool(node.args) and isinstance(node.args[0], torch.fx.Node)


def run_on(module: Callable[[torch.Tensor], Any], x: torch.Tensor) -> None:
    """Call a module without gradients."""
    with torch.no_grad():
        module(x)


def race(name: str, rounds: int, compiled: bool) -> None:
    """Time the integers and the twin: in both memory formats, and folded and compiled."""
    qnet, twin, x = {"LeNet-5": lenet5, "ResNet-20": resnet20}[name]()
    plain, last = torch.tensor(x), torch.tensor(x).to(memory_format=torch.channels_last)
    twin_last = deepcopy(twin).to(memory_format=torch.channels_last)
    contest: dict[str, Callable[[], object]] = {
        OURS: partial(addersim.simulate, qnet, x),
        "PyTorch fp32 CNN twin, NCHW": partial(run_on, twin, plain),
        "PyTorch fp32 CNN twin, channels_last": partial(run_on, twin_last, last),
    }
    if compiled:
        fast, fast_last = torch.compile(folded(twin)), torch.compile(folded(twin_last))
        contest["the twin folded and compiled, NCHW"] = partial(run_on, fast, plain)
        contest["the twin folded and compiled, channels_last"] = partial(run_on, fast_last, last)
    show(f"{name}, one image (batch {BATCH}, one core)", interleave(contest, rounds), per=BATCH)


def two_cores(rounds: int) -> None:
    """Print how much faster two threads are than one, by the clock on the wall; then with a core for each thread."""
    qnet, _, x = resnet20()
    pin(2)
    print(f"\nResNet-20: two threads {_two_against_one(qnet, x, rounds)} (asked: 1.7 at {BATCH})")
    both = Barrier(2)
    list(spread(lambda core: (both.wait(), os.sched_setaffinity(0, {core})), sorted(os.sched_getaffinity(0)), 2))
    print(f"  where each has a core of its own: {_two_against_one(qnet, x, rounds)}")
    pin(1)


def _two_against_one(qnet: addersim.QuantizedNetwork, x: NDArray[np.float32], rounds: int) -> str:
    found = []
    for batch in (BATCH, 8 * BATCH):
        images = np.tile(x, (batch // BATCH, 1, 1, 1))
        contest = {f"threads = {n}": partial(addersim.simulate, qnet, images, threads=n) for n in (1, 2)}
        times = interleave(contest, rounds, time.perf_counter, least_s=0.1)
        found.append(f"{ratio(times, 'threads = 1', 'threads = 2'):.2f} x one at {batch} images")
    return ", ".join(found)


def ten_thousand() -> None:
    """Print the seconds that a whole CIFAR-10 test set takes, from float arrays in memory to logits."""
    qnet, _, x = resnet20()
    images = np.tile(x, (313, 1, 1, 1))[:10_000]
    start = time.process_time()
    addersim.simulate(qnet, images)
    print(
        f"\nResNet-20, 10,000 images of 3 x 32 x 32 from float arrays: {time.process_time() - start:.1f} s (asked: 9)"
    )
