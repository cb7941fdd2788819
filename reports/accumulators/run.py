"""Accumulators of ResNet-20 on adders, narrower and narrower: run.py CHECKPOINT [DATA].

CHECKPOINT is the published ResNet20-AdderNet.pth, DATA a folder that holds CIFAR-10 (else the one in ADDERSIM_DATA,
else the set is downloaded into the user's cache). All 10,000 test images, integers from input to logits, calibrated on
training images. Writes results.csv, layers.csv, costs.csv, accumulators.svg, accumulators.png and README.md beside
this file.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from written import CALIBRATION, LESS, MACHINE, MODES, START, WIDTHS, Bill, Row, draw, needed, readme

import addersim
from addersim.costs import arithmetic_tables, load_table
from addersim.costs.area import areas
from addersim.files import write_atomically
from addersim.hardware import load_hardware
from addersim.network.quantized import QuantizedNetwork
from addersim.nn import load_checkpoint
from addersim.simulation.accumulators import LayerAccumulator
from addersim.study.images import normalise
from addersim.train import load_dataset

HERE = Path(__file__).parent
ACCUMULATION = ("tap add", "tap accumulator register")
CHANCE = 11.0  # in %: narrower ones are not run


def main(checkpoint: str, data: str | None = None) -> None:
    """Measure everything and write it down."""
    dataset = load_dataset("cifar10", data)
    chosen = np.random.default_rng(0).permutation(len(dataset.train_labels))[:CALIBRATION]
    mean, std = dataset.card.mean, dataset.card.std
    calibration = normalise(np.asarray(dataset.train_images)[chosen], mean, std)
    images, labels = normalise(np.asarray(dataset.test_images), mean, std), np.asarray(dataset.test_labels)
    network = addersim.from_torch(load_checkpoint("resnet20_adder", checkpoint), images[:1])
    rows: list[Row] = []
    bills: list[Bill] = []
    layers: dict[int, list[LayerAccumulator]] = {}
    for bits in WIDTHS:
        qnet = addersim.quantize(network, calibration, bits=bits, correction="least_squares")
        found = addersim.accumulators(qnet, calibration).layers
        layers[bits] = [row for row in found if row.kind == "adder"]
        for row in simulated(qnet, bits, layers[bits], images, labels):
            print(*row, flush=True)
            rows.append(row)
        bills += billed(qnet, bits, bill_widths(bits, layers[bits], rows))
    write_atomically(HERE / "results.csv", as_csv(rows))
    write_atomically(HERE / "costs.csv", as_csv(bills))
    frames = [{"bits": bits, **vars(row)} for bits, found in layers.items() for row in found]
    write_atomically(HERE / "layers.csv", as_csv([tuple(frames[0]), *(tuple(f.values()) for f in frames)]))
    draw(HERE, rows, layers)
    write_atomically(HERE / "README.md", readme(rows, layers, bills))


def simulated(
    qnet: QuantizedNetwork,
    bits: int,
    layers: list[LayerAccumulator],
    images: NDArray[np.float32],
    labels: NDArray[Any],
) -> Iterator[Row]:
    """Yield the exact network, then every width and mode: one width for all layers, then each layer its own."""
    exact = addersim.simulate(qnet, images).logits_int

    def row(net: QuantizedNetwork, *said: Any) -> Row:
        logits = addersim.simulate(net, images).logits_int
        share = 100 * float(np.mean(logits.argmax(1) == labels))
        return Row(bits, *said, share, int(np.any(logits != exact, axis=1).sum()))

    yield row(qnet, "0", "saturate", "exact", max(layer.unsigned_bits or 0 for layer in layers))
    for preload, overflow in MODES:
        for width in WIDTHS[bits]:
            net = addersim.narrowed(qnet, width, overflow, preload_bias=preload)
            yield (found := row(net, START[preload], overflow, "one", width))
            if found.accuracy < CHANCE:
                break
    for preload, overflow in MODES[:3]:
        for less in LESS:
            own = {layer.layer: needed(layer, preload) - less for layer in layers}
            net = addersim.narrowed(qnet, own, overflow, preload_bias=preload)
            yield (found := row(net, START[preload], overflow, "own", -less))
            if found.accuracy < CHANCE:
                break


def bill_widths(bits: int, layers: list[LayerAccumulator], rows: list[Row]) -> list[int]:
    """Return the machine's width, what is proven from 0, and the narrowest that wraps from the bias without a loss."""
    machine = load_hardware(MACHINE).accumulator_bits
    proven = max(layer.unsigned_bits or 0 for layer in layers)
    same = [
        r.accumulator_bits for r in rows if r.bits == bits and r[1:4] == ("bias", "wrap", "one") and not r.other_logits
    ]
    return [machine, proven, min(same)]


def billed(qnet: QuantizedNetwork, bits: int, widths: Iterable[int]) -> Iterator[Bill]:
    """Yield the bill of one image for accumulators of every width, by every cost table of arithmetic."""
    for name in arithmetic_tables():
        for width in widths:
            net = addersim.narrowed(qnet, width, preload_bias=width == min(widths))
            cost = addersim.evaluate(net, MACHINE, "output_stationary", name)
            adders = {node.name for node in net.nodes if node.datapath is not None and node.datapath.kind == "adder"}
            sums = [c for c in cost.charges if c.layer in adders and c.action.startswith(ACCUMULATION)]
            energies = [sum(c.energy_pj for c in sums), cost.energy_by_unit["arithmetic"], cost.energy_pj]
            yield Bill(
                bits, cost.table, width, *(energy / 1000 for energy in energies), element_area(name, bits, width)
            )


def element_area(table: str, bits: int, width: int) -> float | None:
    """Return the area in um2 of one adder element, of those parts whose area the table prints; ``None`` without any."""
    machine = load_hardware(MACHINE, operand_bits=bits, accumulator_bits=width)
    parts = [area.area_um2 for area in areas(machine, load_table(table)) if area.component.startswith("array: ")]
    priced = [area_um2 for area_um2 in parts if area_um2 is not None]
    return sum(priced) / (machine.rows * machine.cols) if priced else None


def as_csv(rows: list[Any]) -> str:
    """Return rows of a named tuple with their head, or plain rows whose first is the head."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    if hasattr(rows[0], "_fields"):
        table.writerow(rows[0]._fields)
    table.writerows([f"{v:.6g}" if isinstance(v, float) else "" if v is None else v for v in row] for row in rows)
    return text.getvalue()


if __name__ == "__main__":
    try:
        main(*sys.argv[1:3])
    except addersim.InputError as error:
        sys.exit(f"run.py: {error}")
