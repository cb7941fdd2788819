"""Accuracy of the shipped LeNet-5-BN on integers, MNIST: lenet.py [DATA].

DATA is a folder that holds MNIST (else the one in ADDERSIM_DATA, else the set is downloaded into the user's cache).
All 10,000 test images, integers from input to logits, calibrated on training images; writes lenet.csv and lenet.md
beside this file, row by row.
"""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path

import numpy as np

import addersim
from addersim.files import write_atomically
from addersim.network.float_run import run_float
from addersim.nn import load_checkpoint
from addersim.nn.catalogue import shipped_weights
from addersim.study.images import normalise
from addersim.train import load_dataset
from addersim.weights.shipped import WEIGHTS, card_of_integers

HERE = Path(__file__).parent
CALIBRATION = 200
MODELS = {"lenet5_adder": "adder", "lenet5_conv": "convolutional"}
BITS = (8, 6, 5, 4, 3, 2)
SHIPPED_BITS = 8  # of what is put beside the weights in the package
HEAD = f"""# LeNet-5-BN on MNIST, post-training quantisation

Accuracy in % on all 10,000 test images, from the weights in the package. Integers from input to logits: first and last
layer have 8 bits. `correction = "least_squares"`, calibrated on {CALIBRATION} training images; nothing is trained.
`lenet.py` beside this file measures it.

| bits | {" | ".join(MODELS.values())} |
|---|---|---|
"""


def main(data: str | None = None) -> None:
    """Measure every width of both networks and write them down after each."""
    dataset = load_dataset("mnist", data)
    chosen = np.random.default_rng(0).permutation(len(dataset.train_labels))[:CALIBRATION]
    how = dataset.card.mean, dataset.card.std
    calibration = normalise(np.asarray(dataset.train_images)[chosen], *how)
    images, labels = normalise(np.asarray(dataset.test_images), *how), np.asarray(dataset.test_labels)
    rows: dict[str, list[float]] = {"float": [], **{str(bits): [] for bits in BITS}}
    for model in MODELS:
        network = addersim.from_torch(load_checkpoint(model, shipped_weights(model, "mnist")), images[:1])
        rows["float"].append(100 * float(np.mean(run_float(network, images).argmax(1) == labels)))
        for bits in BITS:
            qnet = addersim.quantize(network, calibration, bits, correction="least_squares")
            logits = addersim.simulate(qnet, images).logits_int
            rows[str(bits)].append(100 * float(np.mean(logits.argmax(1) == labels)))
            if bits == SHIPPED_BITS:
                ship(qnet, f"{model}-mnist-{bits}bit", rows[str(bits)][-1])
            print(f"{model}, {bits} bits: {rows[str(bits)][-1]:.2f} %", flush=True)
            _write(rows)


def ship(qnet: addersim.QuantizedNetwork, name: str, percent: float) -> None:
    """Put a network of integers and its card beside the weights that it was made from."""
    how = {"bits": SHIPPED_BITS, "correction": "least_squares", "calibration_images": CALIBRATION}
    measured = {"accuracy_percent": round(percent, 2), "measured_on": "10000 test images, integers"}
    qnet.save(WEIGHTS / f"{name}.safetensors")
    card = card_of_integers(name, how, measured, "python reports/quantisation/lenet.py")
    write_atomically(WEIGHTS / f"{name}.json", card)


def _write(rows: dict[str, list[float]]) -> None:
    lines = [[name, *(f"{value:.2f}" for value in found)] for name, found in rows.items() if found]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([["bits", *MODELS.values()], *lines])
    write_atomically(HERE / "lenet.csv", text.getvalue())
    write_atomically(HERE / "lenet.md", HEAD + "".join(f"| {' | '.join(line)} |\n" for line in lines))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:2])
    except addersim.InputError as error:
        sys.exit(f"lenet.py: {error}")
