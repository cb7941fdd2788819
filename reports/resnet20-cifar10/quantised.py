"""Quantise the shipped ResNet-20 pair at 8 and 4 bits, measure it, save it: quantised.py [DATA [FOLDER]].

DATA is a folder that holds CIFAR-10, else the one in ADDERSIM_DATA, else the set is downloaded into the user's cache.
Networks and cards are written to FOLDER, by default beside the weights in the package.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

import addersim
from addersim.files import write_atomically
from addersim.nn import load_checkpoint
from addersim.study.images import normalise
from addersim.train import load_dataset
from addersim.weights.shipped import WEIGHTS, card_of_integers

HOW = {"correction": "least_squares"}
CALIBRATION_IMAGES = 200
COMMAND = "python reports/resnet20-cifar10/quantised.py"
ACCURACIES = Path(__file__).parent / "quantised.csv"


def main(data: str | None = None, folder: str = str(WEIGHTS)) -> None:
    """Write four networks, a card beside each, and the table of their accuracies."""
    dataset, lines = load_dataset("cifar10", data), ["network,accuracy_percent"]
    card = dataset.card
    images, calibration = (
        normalise(np.asarray(part), card.mean, card.std)
        for part in (dataset.test_images, dataset.train_images[:CALIBRATION_IMAGES])
    )
    labels = np.asarray(dataset.test_labels)
    for model in ("resnet20_adder", "resnet20_conv"):
        network = addersim.from_torch(load_checkpoint(model), images[:1])
        for bits in (8, 4):
            qnet = addersim.quantize(network, calibration, bits=bits, **HOW)
            right = 100 * float(np.mean(addersim.simulate(qnet, images).logits_int.argmax(1) == labels))
            name = f"{model}-cifar10-{bits}bit"
            qnet.save(Path(folder) / f"{name}.safetensors")
            how = {"bits": bits, **HOW, "calibration_images": CALIBRATION_IMAGES}
            measured = {"accuracy_percent": round(right, 2), "measured_on": "10000 test images, integers"}
            write_atomically(Path(folder) / f"{name}.json", card_of_integers(name, how, measured, COMMAND))
            lines.append(f"{name},{right:.2f}")
            print(lines[-1])
    write_atomically(ACCURACIES, "\n".join(lines) + "\n")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:3])
    except addersim.InputError as error:
        sys.exit(f"quantised.py: {error}")
