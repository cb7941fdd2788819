"""Mean IoU of the two shipped segmenters in float and on integers, and the energy of an image: python run.py [DATA].

DATA is a folder that holds Fashion-MNIST; without it the one in ADDERSIM_DATA, else the set is downloaded into the
user's cache. Writes results.csv and canvases.png beside this file, and the networks of integers beside the
weights in the package. Nothing is trained.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import torch
from matplotlib import pyplot as plt

import addersim
from addersim.files import write_atomically
from addersim.network.quantized import QuantizedNetwork
from addersim.study.images import normalise
from addersim.train import load_dataset
from addersim.train.iou import mean_iou
from addersim.weights.shipped import WEIGHTS, card_of_integers

HERE = Path(__file__).resolve().parent
MODELS = {"adder": "segmenter_adder", "multiplier": "segmenter_conv"}
CALIBRATION, SHOWN, BATCH = 200, (0, 1, 2, 3), 100


@dataclass(frozen=True)
class Segmented:
    """A quantised network and the classes (N, H, W) that its float model and its integers give the test canvases."""

    qnet: QuantizedNetwork
    real: np.ndarray
    integer: np.ndarray


def segmented(model: str, calibration: np.ndarray, images: np.ndarray) -> Segmented:
    """Return what one network makes of the test canvases."""
    module = addersim.load_checkpoint(model)
    qnet = addersim.quantize(addersim.from_torch(module, images[:1]), calibration)
    real, integer = [], []
    for first in range(0, len(images), BATCH):
        batch = images[first : first + BATCH]
        with torch.inference_mode():
            real.append(module(torch.from_numpy(batch)).argmax(1).numpy())
        integer.append(addersim.simulate(qnet, batch).logits_int.argmax(1))
    return Segmented(qnet, np.concatenate(real), np.concatenate(integer))


def results(found: dict[str, Segmented], labels: np.ndarray, classes: int) -> pd.DataFrame:
    """Return one row per network and cost table."""
    comparison = addersim.compare(*(found[kind].qnet for kind in MODELS))
    rows = []
    for i, (kind, model) in enumerate(MODELS.items()):
        merit = [mean_iou(maps, labels, classes) for maps in (found[kind].real, found[kind].integer)]
        for table, costs in comparison.costs.items():
            arithmetic, energy = costs[i].energy_by_unit["arithmetic"], costs[i].energy_pj
            figures = [round(100 * m, 2) for m in merit] + [round(pj / 1e3, 1) for pj in (arithmetic, energy)]
            rows.append([model, table, *figures, round(costs[i].latency_us, 1)])
    names = ["mean_iou_float_percent", "mean_iou_int8_percent", "arithmetic_nj", "energy_nj", "latency_us"]
    return pd.DataFrame(rows, columns=["network", "table", *names])


def save(qnet: QuantizedNetwork, row: Any) -> None:
    """Put a network of integers and its card beside the weights that it was made from."""
    name = f"{row.network}-fashion_composites-8bit"
    measured = {"mean_iou_percent": row.mean_iou_int8_percent, "measured_on": "2000 test images, integers"}
    how = {"bits": 8, "calibration_images": CALIBRATION}
    qnet.save(WEIGHTS / f"{name}.safetensors")
    command = "python reports/segmentation/run.py"
    write_atomically(WEIGHTS / f"{name}.json", card_of_integers(name, how, measured, command))


def draw(canvases: np.ndarray, labels: np.ndarray, found: dict[str, Segmented], file: Path) -> None:
    """Draw a few canvases: image, truth, and both networks in float and on integers."""
    columns = {"image": canvases, "truth": labels}
    for kind in MODELS:
        columns |= {f"{kind}, float": found[kind].real, f"{kind}, int8": found[kind].integer}
    colours = mpl.colors.ListedColormap(["black", *mpl.colormaps["tab10"].colors])
    figure, axes = plt.subplots(len(SHOWN), len(columns), figsize=(9, 6.2), layout="constrained")
    for row, n in zip(axes, SHOWN, strict=True):
        for axis, (title, maps) in zip(row, columns.items(), strict=True):
            style = {"cmap": "gray"} if title == "image" else {"cmap": colours, "vmin": 0, "vmax": 10}
            axis.imshow(maps[n], interpolation="nearest", **style)
            axis.set(xticks=[], yticks=[], title=title if n == SHOWN[0] else "")
    figure.savefig(file, dpi=120, metadata={"Software": None})
    plt.close(figure)


def main(data: str | None) -> None:
    """Measure, write, print."""
    dataset = load_dataset("fashion_composites", data)
    card = dataset.card
    calibration, images = (
        normalise(x, card.mean, card.std) for x in (dataset.train_images[:CALIBRATION], dataset.test_images)
    )
    found = {kind: segmented(model, calibration, images) for kind, model in MODELS.items()}
    table = results(found, dataset.test_labels, card.classes)
    write_atomically(HERE / "results.csv", table.to_csv(index=False, lineterminator="\n"))
    for kind, row in zip(MODELS, table.drop_duplicates("network").itertuples(), strict=True):
        save(found[kind].qnet, row)
    draw(dataset.test_images[:, 0], dataset.test_labels, found, HERE / "canvases.png")
    print(table.to_string(index=False))


if __name__ == "__main__":
    try:
        main(sys.argv[1] if len(sys.argv) > 1 else None)
    except addersim.InputError as error:
        sys.exit(f"run.py: {error}")
