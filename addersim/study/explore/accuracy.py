"""Accuracy of a network on its machine, simulated once per content: machines that compute alike share it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from addersim.files import write_atomically
from addersim.network.quantized import QuantizedNetwork
from addersim.simulation.simulate import simulate
from addersim.study.outcome import accuracy, load_images
from addersim.study.study import Data
from addersim.version import VERSION


def measure(data: Data, memory: Path | None) -> Callable[[QuantizedNetwork], float]:
    """Return the function from a network on its machine to its accuracy in per cent on the images of ``data``.

    What was simulated once is not simulated again: the key is a hash of the network (its graph, integers,
    formats, datapaths and constants), of the images and labels, and of addersim's version. A key of the machine
    that leaves every layer's datapath as it is leaves the key as it is.

    Parameters
    ----------
    memory
        Folder with a file ``HASH.json`` per accuracy, for later and for other processes; without one, or where
        it is not there, only this function remembers.
    """
    images, labels = load_images(data)
    known: dict[str, float] = {}
    base = hashlib.sha256(VERSION.encode())
    for array in (images, labels):
        base.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())

    def percent(placed: QuantizedNetwork) -> float:
        digest = base.copy()
        digest.update(placed.to_bytes())
        key = digest.hexdigest()[:32]
        if key not in known:
            file = memory / f"{key}.json" if memory is not None and memory.is_dir() else None
            known[key] = _remembered(file) if file is not None and file.exists() else simulated(placed, file)
        return known[key]

    def simulated(placed: QuantizedNetwork, file: Path | None) -> float:
        found = 100 * accuracy(simulate(placed, images).logits_int, labels)
        if file is not None:
            write_atomically(file, json.dumps({"accuracy_percent": found, "images": len(images)}) + "\n")
        return found

    return percent


def _remembered(file: Path) -> float:
    return float(json.loads(file.read_text(encoding="utf-8"))["accuracy_percent"])
