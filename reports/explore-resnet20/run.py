"""ResNet-20 at every point of study.toml's space: run.py CHECKPOINT_ADDER CHECKPOINT_CONV DATA [POINTS].

CHECKPOINT_ADDER is the published ResNet20-AdderNet.pth, CHECKPOINT_CONV the published resnet20-12fca82f.th, DATA a
folder that holds CIFAR-10. All 10,000 test images, integers from input to logits, calibrated on 200 training images.
POINTS is a folder for the finished rows: a run that was stopped goes on from there. Writes points.csv, and what
written.py makes of it: figures and README.md, beside this file.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from written import HERE, NETWORKS, TABLES, write

import addersim
from addersim.files import write_atomically
from addersim.train import load_dataset
from addersim.train.datasets import Dataset

CALIBRATION = 200
AKAMASTER = "mean = [0.485, 0.456, 0.406]", "std = [0.229, 0.224, 0.225]"  # of akamaster/pytorch_resnet_cifar10
MODELS = {"adder": ("resnet20_adder", ()), "control": ("resnet20_conv_a", AKAMASTER)}


def main(adder: str, conv: str, data: str, points: str | None = None, pool: str = "local:2") -> None:
    """Sweep both networks and write everything down."""
    dataset = load_dataset("cifar10", data)
    with tempfile.TemporaryDirectory(prefix="addersim-") as scratch:
        folder = Path(points or scratch).absolute()
        save_images(dataset, folder)
        swept = []
        for network, weights in zip(NETWORKS, (adder, conv), strict=True):
            frame = addersim.sweep(study(network, weights, folder), None, pool, out=folder / network, accuracy=True)
            swept.append(wide(frame).assign(network=network))
    write_atomically(HERE / "points.csv", pd.concat(swept).to_csv(index=False, float_format="%.6g"))
    write()


def save_images(dataset: Dataset, folder: Path) -> None:
    """Write the test set and the calibration images as folders that a study reads."""
    chosen = np.random.default_rng(0).permutation(len(dataset.train_labels))[:CALIBRATION]
    for name, images, labels in (
        ("test", np.asarray(dataset.test_images), dataset.test_labels),
        ("calibration", np.asarray(dataset.train_images)[chosen], np.asarray(dataset.train_labels)[chosen]),
    ):
        (folder / name).mkdir(parents=True, exist_ok=True)
        np.save(folder / name / "images.npy", images)
        np.save(folder / name / "labels.npy", np.asarray(labels))


def study(network: str, weights: str, folder: Path) -> addersim.Study:
    """Return the study of one network."""
    model, normalisation = MODELS[network]
    paths = (f'network.weights = "{Path(weights).absolute()}"', f'data.folder = "{folder / "test"}"')
    settings = [f"network.model = {model}", *paths, f'data.calibration = "{folder / "calibration"}"']
    return addersim.Study.read(HERE / "study.toml", [*settings, *(f"data.{said}" for said in normalisation)])


def wide(frame: Any) -> Any:
    """Return one row per point: keys, figures, the split by the first table, energy by every table, all in nJ."""
    first = frame[frame["table"] == TABLES[0]].drop(columns=["table", "energy_pj", "area_um2", "cycles", "refused"])
    first = first.reset_index(drop=True)
    for unit in ("arithmetic", "buffers", "dram", "leakage"):
        first[f"{unit}_nj"] = first.pop(f"{unit}_pj") / 1000
    for table in TABLES:
        first[table] = frame.loc[frame["table"] == table, "energy_pj"].to_numpy() / 1000
    return first


if __name__ == "__main__":
    try:
        main(*sys.argv[1:6])
    except addersim.InputError as error:
        sys.exit(f"run.py: {error}")
