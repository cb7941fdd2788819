"""Accuracy of the shipped pair on all 10,000 test images, float and int8: python full_test.py [DATA].

DATA is a folder that holds Fashion-MNIST; without it the one in ADDERSIM_DATA, else the set is downloaded into
the user's cache.
"""

from __future__ import annotations

import sys

import numpy as np

import addersim
from addersim.network.float_run import run_float
from addersim.study.images import normalise
from addersim.study.outcome import load_network
from addersim.study.study import Study
from addersim.train import load_dataset


def main(data: str | None) -> None:
    """Print one line per network."""
    dataset = load_dataset("fashion_mnist", data)
    images = normalise(np.asarray(dataset.test_images), (0.2860,), (0.3530,))
    labels = np.asarray(dataset.test_labels)
    calibration, _ = addersim.sample("fashion_calibration")
    study = Study.read("lenet5-fashion")
    for source in (study.network, study.twin):
        network, _ = load_network(source)
        trace = addersim.simulate(addersim.quantize(network, calibration), images, threads=2)
        right = [np.mean(logits.argmax(1) == labels) for logits in (run_float(network, images), trace.logits_int)]
        print(f"{source.model}: float {100 * right[0]:.2f} %, int8 {100 * right[1]:.2f} %")


if __name__ == "__main__":
    try:
        main(sys.argv[1] if len(sys.argv) > 1 else None)
    except addersim.InputError as error:
        sys.exit(f"full_test.py: {error}")
