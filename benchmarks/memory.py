"""Peak memory of one image through a large network: the shapes of ResNet-50 in adders, 8 bits, 224 x 224 pixels.

    python benchmarks/memory.py

Weights are random. One process makes the network and saves it; another, without torch, loads it and simulates. What
is printed is how much more memory was resident at the peak of ``simulate`` than before it, packed weights included.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

import addersim
from addersim.network.float_run import channels_last
from addersim.network.graph import Network
from addersim.network.node import Node, Tensor
from addersim.network.ops import OPS

LIMIT_MB = 100
SIDE = 224
BLOCKS = ((3, 64), (4, 128), (6, 256), (3, 512))  # per stage: bottleneck blocks, channels inside
Attributes: TypeAlias = Mapping[str, Any]
NONE: Attributes = MappingProxyType({})
STATUS, REFERENCES = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Builder:
    """A network that grows node by node, and what its edges carry; every method returns the name of its edge."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)
        self.nodes = [Node("input", "input", attrs={"shape": (3, SIDE, SIDE)})]
        self.tensors = {"input": Tensor((3, SIDE, SIDE))}
        self.edges = {"input": channels_last(image())}

    def put(self, kind: str, *sources: str, attrs: Attributes = NONE, params: Attributes = NONE) -> str:
        """Append a node."""
        node = Node(f"{kind}{len(self.nodes)}", kind, sources, attrs, params)
        self.nodes.append(node)
        self.tensors[node.name] = Tensor(OPS[kind].shape(node, *(self.tensors[source].shape for source in sources)))
        self.edges[node.name] = OPS[kind].float_run(node, *(self.edges[source] for source in sources))
        return node.name

    def layer(self, kind: str, source: str, K: int, size: int, stride: int = 1) -> str:
        """Append a layer with random weights, and the batch norm that its outputs ask for."""
        w = self.rng.normal(size=(K, size, size, self.tensors[source].shape[0])).astype(np.float32)
        window = {"stride": (stride,) * 2, "padding": (size // 2,) * 2, "dilation": (1, 1), "groups": 1}
        y = self.put(kind, source, attrs=window, params={"w_krsc": w})
        ones, found = np.ones(K, np.float32), self.edges[y]
        norm = {"gamma_k": ones, "beta_k": 0 * ones, "mean_k": found.mean((0, 1, 2)), "var_k": found.var((0, 1, 2))}
        return self.put("batch_norm", y, attrs={"eps": 1e-5}, params=norm)

    def block(self, x: str, K: int, stride: int) -> str:
        """Append a bottleneck of three adder layers, and the shortcut around it."""
        shape = self.tensors[x].shape
        shortcut = x if shape[0] == 4 * K else self.layer("adder_conv2d", x, 4 * K, 1, stride)
        y = self.put("relu", self.layer("adder_conv2d", x, K, 1))
        y = self.put("relu", self.layer("adder_conv2d", y, K, 3, stride))
        return self.put("relu", self.put("add", self.layer("adder_conv2d", y, 4 * K, 1), shortcut))


def resnet50() -> Network:
    """Return the float network: first and last layer multiply, everything between them adds."""
    build = Builder()
    x = build.put("relu", build.layer("conv2d", "input", 64, 7, 2))
    pool = {"stride": (2, 2), "padding": (1, 1), "dilation": (1, 1)}
    x = build.put("max_pool", x, attrs={**pool, "kernel": (3, 3)})
    for blocks, K in BLOCKS:
        for i in range(blocks):
            x = build.block(x, K, 2 if i == 0 and K > 64 else 1)
    whole = {"kernel": (7, 7), "stride": (7, 7), "padding": (0, 0), "dilation": (1, 1)}
    x = build.put("avg_pool", x, attrs={**whole, "count_include_pad": True, "squeeze": True})
    w = build.rng.normal(size=(1000, 1, 1, 2048)).astype(np.float32)
    build.put("linear", x, params={"w_krsc": w, "bias_k": np.zeros(1000, np.float32)})
    return Network("resnet50", tuple(build.nodes), build.tensors)


def image() -> NDArray[np.float32]:
    """Return one image of noise."""
    return np.random.default_rng(1).normal(size=(1, 3, SIDE, SIDE)).astype(np.float32)


def make(path: Path) -> None:
    """Quantise the network and save it."""
    addersim.quantize(resnet50(), image()).save(path)


def resident(key: str) -> float:
    """Return a figure of this process in MB: VmRSS now, VmHWM at the peak."""
    return int(re.findall(rf"{key}:\s+(\d+) kB", STATUS.read_text())[0]) * 1024 / 1e6


def measure(path: Path) -> float:
    """Return by how many MB ``simulate`` makes this process grow at most."""
    qnet, images, simulate = addersim.QuantizedNetwork.load(path), image(), addersim.simulate
    REFERENCES.write_text("5")  # the peak begins anew
    before = resident("VmRSS")
    simulate(qnet, images)
    assert "torch" not in sys.modules
    return resident("VmHWM") - before


def main() -> None:
    """Make and measure, each in a process of its own; fail above the limit."""
    if sys.argv[1:2] == ["make"]:
        return make(Path(sys.argv[2]))
    if sys.argv[1:2] == ["measure"]:
        return print(measure(Path(sys.argv[2])))
    with tempfile.TemporaryDirectory() as folder:
        for step in ("make", "measure"):
            command = [sys.executable, __file__, step, str(Path(folder, "resnet50.safetensors"))]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    grown = float(done.stdout)
    print(f"one image of {SIDE} x {SIDE} through ResNet-50's shapes: {grown:.0f} MB at the peak, limit {LIMIT_MB}")
    sys.exit(grown >= LIMIT_MB)


if __name__ == "__main__":
    main()
