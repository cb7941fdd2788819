"""How the weights of an AdderNet and of its multiplier twin are distributed: python run.py ADDER CONV.

ADDER and CONV are weights of ResNet-20 (by default those shipped with the package). Every adder layer, and every
convolution of the twin except the first and the last, is fitted by a normal and by a Laplace distribution (maximum
likelihood in closed form). Writes histograms.svg, histograms.png and fits.csv, one row per layer, beside this file.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray
from torch import nn

import addersim
from addersim.nn import AdderConv2d, load_checkpoint

HERE = Path(__file__).parent
Weights = dict[str, NDArray[np.float64]]


def weights_of(model: nn.Module, kind: type[nn.Module]) -> Weights:
    """Return the weights of the layers between the first convolution and the last, one row each."""
    layers = {n: m for n, m in model.named_modules() if isinstance(m, kind) and n not in ("conv1", "fc")}
    return {name: layer.weight.detach().double().numpy().ravel() for name, layer in layers.items()}


def fits(w: NDArray[np.float64]) -> dict[str, float]:
    """Return the parameters of both fits, and by how much a weight is likelier under Laplace's (nats).

    A normal distribution of standard deviation s has the mean log likelihood -log(s) - log(2 pi) / 2 - 1/2 at its
    maximum, a Laplace distribution of scale b (mean distance from the median) -log(2 b) - 1.
    """
    mean, sigma, median = float(w.mean()), float(w.std()), float(np.median(w))
    b = float(np.abs(w - median).mean())
    normal, laplace = -np.log(sigma) - np.log(2 * np.pi) / 2 - 0.5, -np.log(2 * b) - 1
    fourth = float(((w - mean) ** 4).mean() / sigma**4)
    return {"mean": mean, "sigma": sigma, "median": median, "b": b, "kurtosis": fourth, "gain_nats": laplace - normal}


def draw(panel: Any, title: str, w: NDArray[np.float64]) -> None:
    """Draw all layers' weights, each divided by its layer's standard deviation, and both fits."""
    found = fits(w)
    panel.hist(w, bins=161, range=(-5, 5), density=True, color="#c9d1d9")
    at = np.linspace(-5, 5, 400)
    normal = np.exp(-(((at - found["mean"]) / found["sigma"]) ** 2) / 2) / (found["sigma"] * np.sqrt(2 * np.pi))
    laplace = np.exp(-np.abs(at - found["median"]) / found["b"]) / (2 * found["b"])
    panel.plot(at, normal, color="#d55e00", label=f"normal, $\\sigma$ = {found['sigma']:.2f}")
    panel.plot(at, laplace, color="#0072b2", label=f"Laplace, b = {found['b']:.2f}")
    panel.set_title(title, fontsize=11)
    panel.set_xlabel("weight / standard deviation of its layer")
    panel.spines[["top", "right"]].set_visible(False)
    panel.legend(frameon=False)


def main(adder: str | None, conv: str | None) -> None:
    """Fit, print and draw."""
    networks = {
        "AdderNet": weights_of(load_checkpoint("resnet20_adder", adder), AdderConv2d),
        "CNN": weights_of(load_checkpoint("resnet20_conv", conv), nn.Conv2d),
    }
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
    for panel, (name, layers) in zip(panels, networks.items(), strict=True):
        pooled = np.concatenate([w / w.std() for w in layers.values()])
        better = sum(fits(w)["gain_nats"] > 0 for w in layers.values())
        draw(panel, f"{name}: Laplace fits {better} of {len(layers)} layers better", pooled)
    for kind in ("svg", "png"):
        figure.savefig(HERE / f"histograms.{kind}", dpi=150)
    with (HERE / "fits.csv").open("w", newline="", encoding="utf-8") as file:
        rows = [
            {"network": n, "layer": name, **fits(w)} for n, layers in networks.items() for name, w in layers.items()
        ]
        table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows({k: f"{v:.4g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows)


if __name__ == "__main__":
    try:
        main(*(sys.argv[1:3] if len(sys.argv) > 2 else (None, None)))
    except addersim.InputError as error:
        sys.exit(f"run.py: {error}")
