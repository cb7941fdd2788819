"""Groups of output channels with steps of their own, accuracy and price: groups.py CHECKPOINT_ADDER [DATA].

CHECKPOINT_ADDER is the published ResNet20-AdderNet.pth, DATA a folder that holds CIFAR-10 (else the one in
ADDERSIM_DATA, else the set is downloaded into the user's cache). Measured as in run.py, which has to have run: the rows
without groups have their accuracy from its results.csv. Writes groups.csv and groups.md beside this file, row by row.
"""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path

import numpy as np

import addersim
from addersim.files import write_atomically
from addersim.nn import load_checkpoint
from addersim.study.images import normalise
from addersim.train import load_dataset

HERE = Path(__file__).parent
CALIBRATION = 200
ROWS = ((5, 1), (4, 1), (4, 2), (4, 4), (3, 1), (3, 4))  # bits, groups
MACHINES, UNITS = ("adder_16x16", "adder_32x32"), ("uJ", "cycles")
COLUMNS = ("bits", "groups", "accuracy, %", "requantised words", *(f"{m}, {u}" for m in MACHINES for u in UNITS))
HEAD = f"""# Groups of output channels with steps of their own

The published ResNet-20 AdderNet on all 10,000 CIFAR-10 test images, `correction = "least_squares"`, calibrated on
{CALIBRATION} training images. With `groups = 2` or 4 every adder layer is cut into that many groups of output channels.
Each has a step of its own, and reads inputs that are requantised into it from an edge of 8 bits; energy and cycles of
one image hold all of that (45 nm, `horowitz2014_45nm`). `groups.py` beside this file measures it.

It does not pay. What groups add to the accuracy is within what 10,000 images can tell (a standard error of 0.3 points),
while words, energy and cycles grow with every group, cycles the more where a group does not fill the array's columns; a
fifth bit costs less than four groups on both arrays. The steps that suit the groups best are nearly the same: on 16
calibration images four groups take 0.3 to 0.4 % of the error off a layer's output (median of 20 layers, at most 4 %),
and a step for every single channel would take 2 to 3 %. On 4,000 training images, shifted by up to 4 pixels, that take
no part in calibration, 1 / 2 / 4 groups have 95.93 / 96.10 / 96.73 % at 3 bits and 97.78 / 97.60 / 97.75 at 4, with a
mean squared error of the logits of 1.08 / 1.03 / 0.95 and 0.361 / 0.360 / 0.326.

| {" | ".join(COLUMNS)} |
|{"---|" * len(COLUMNS)}
"""


def main(checkpoint: str, data: str | None = None) -> None:
    """Measure every row and write it down."""
    dataset = load_dataset("cifar10", data)
    how = dataset.card.mean, dataset.card.std
    chosen = np.random.default_rng(0).permutation(len(dataset.train_labels))[:CALIBRATION]
    calibration = normalise(np.asarray(dataset.train_images)[chosen], *how)
    images, labels = normalise(np.asarray(dataset.test_images), *how), np.asarray(dataset.test_labels)
    network = addersim.from_torch(load_checkpoint("resnet20_adder", checkpoint), images[:1])
    with (HERE / "results.csv").open(newline="") as stream:
        known = {row["bits"]: float(row["adder"]) for row in csv.DictReader(stream)}
    lines: list[list[str]] = []
    for bits, groups in ROWS:
        qnet = addersim.quantize(network, calibration, bits, correction="least_squares", groups=groups)
        accuracy = known[str(bits)]
        if groups > 1:
            accuracy = 100 * float(np.mean(addersim.simulate(qnet, images).logits_int.argmax(1) == labels))
        lines.append([str(bits), str(groups), f"{accuracy:.2f}", *_bill(qnet, bits)])
        print(*lines[-1], flush=True)
        _write(lines)


def _bill(qnet: addersim.QuantizedNetwork, bits: int) -> list[str]:
    """Return the words that are requantised for adder layers, and energy and cycles on every machine."""
    narrowed = [
        node.name for node in qnet.nodes if node.kind == "scale" and node.name.endswith((".input", f".{bits}bit"))
    ]
    found = [f"{sum(int(np.prod(qnet.tensors[name].shape)) for name in narrowed):,}"]
    for name in MACHINES:
        cost = addersim.evaluate(qnet.on(name), name)
        found += [f"{cost.energy_pj / 1e6:.1f}", f"{cost.cycles:,.0f}"]
    return found


def _write(lines: list[list[str]]) -> None:
    text = io.StringIO()
    plain = [[cell.replace(",", "") for cell in line] for line in lines]
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *plain])
    write_atomically(HERE / "groups.csv", text.getvalue())
    write_atomically(HERE / "groups.md", HEAD + "".join(f"| {' | '.join(line)} |\n" for line in lines))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:3])
    except addersim.InputError as error:
        sys.exit(f"groups.py: {error}")
