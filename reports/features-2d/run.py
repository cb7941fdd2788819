"""What the features of an AdderNet and of its multiplier twin look like in the plane: python run.py [DATA] [EPOCHS].

Both networks, a LeNet whose last hidden layer has two outputs, learn MNIST by the same recipe; the figure shows those
two numbers for the 10,000 test images. Writes features.svg, features.png and accuracy.csv beside this file.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import addersim
from addersim.nn import AdderConv2d, AdderLinear, adaptive_rate, parameter_groups, reestimate_batch_norm
from addersim.train import load_dataset

HERE = Path(__file__).parent
BATCH, SEED, ETA, RATE = 128, 1, 0.1, 0.1


class PlaneNet(nn.Module):
    """conv 16@5x5 - pool - conv 32@5x5 - pool - 128 - 2 - classes; batch norm after every layer, ReLU before the 2."""

    def __init__(self, adder: bool, classes: int = 10) -> None:
        super().__init__()
        conv, linear = (AdderConv2d, AdderLinear) if adder else (nn.Conv2d, nn.Linear)
        self.hidden = nn.Sequential(
            *(nn.Conv2d(1, 16, 5, padding=2, bias=False), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2)),
            *(conv(16, 32, 5, padding=2, bias=False), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), linear(32 * 49, 128, bias=False), nn.BatchNorm1d(128), nn.ReLU()),
            *(linear(128, 2, bias=False), nn.BatchNorm1d(2)),
        )
        self.last = nn.Sequential(linear(2, classes, bias=False), nn.BatchNorm1d(classes))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, classes) for x (N, 1, 28, 28)."""
        logits: Tensor = self.last(self.hidden(x))
        return logits


def train(model: nn.Module, x: Tensor, labels: Tensor, epochs: int) -> None:
    """SGD with momentum, cosine learning rate, the adaptive rate in adder layers."""
    generator = torch.Generator().manual_seed(SEED)
    optimiser = torch.optim.SGD(parameter_groups(model, ETA), RATE, momentum=0.9, weight_decay=5e-4)
    adaptive_rate(optimiser)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs)
    for _ in range(epochs):
        model.train()
        for picked in torch.randperm(len(x), generator=generator).split(BATCH)[:-1]:
            optimiser.zero_grad()
            F.cross_entropy(model(x[picked]), labels[picked]).backward()
            optimiser.step()
        schedule.step()
    reestimate_batch_norm(model, x[:5000].split(500))


def draw(points: dict[str, tuple[np.ndarray, float]], labels: np.ndarray) -> None:
    """Draw one panel per network, a colour per digit."""
    figure, panels = plt.subplots(1, 2, figsize=(9, 4.5), layout="constrained")
    for panel, (name, (xy, accuracy)) in zip(panels, points.items(), strict=True):
        for digit in range(10):
            mine = xy[labels == digit]
            panel.scatter(*mine.T, s=1.5, alpha=0.5, color=plt.get_cmap("tab10")(digit), rasterized=True)
            at = np.median(mine, axis=0)
            panel.text(*at, str(digit), fontsize=12, weight="bold", ha="center", va="center")
        panel.set_title(f"{name}: {accuracy:.2f} % of the test images right", fontsize=11)
        panel.set_xlabel("first feature")
        panel.set_ylabel("second feature")
        panel.spines[["top", "right"]].set_visible(False)
    for kind in ("svg", "png"):
        figure.savefig(HERE / f"features.{kind}", dpi=150)


def main(data: str | None, epochs: int) -> None:
    """Train both networks and write the figure and the table."""
    torch.set_num_threads(1)
    dataset = load_dataset("mnist", data)
    x, x_test = (
        (torch.from_numpy(a).float() / 255 - 0.1307) / 0.3081 for a in (dataset.train_images, dataset.test_images)
    )
    labels, test_labels = torch.from_numpy(dataset.train_labels).long(), np.asarray(dataset.test_labels)
    points = {}
    for name, adder in (("CNN", False), ("AdderNet", True)):
        torch.manual_seed(SEED)
        model = PlaneNet(adder)
        train(model, x, labels, epochs)
        model.eval()
        with torch.inference_mode():
            xy, logits = model.hidden(x_test), model(x_test)
        points[name] = xy.numpy(), 100 * float(np.mean(logits.argmax(1).numpy() == test_labels))
    draw(points, test_labels)
    with (HERE / "accuracy.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerows(
            [("network", "epochs", "test_percent"), *((n, epochs, f"{a:.2f}") for n, (_, a) in points.items())]
        )


if __name__ == "__main__":
    try:
        main(sys.argv[1] if len(sys.argv) > 1 else None, int(sys.argv[2]) if len(sys.argv) > 2 else 15)
    except addersim.InputError as error:
        sys.exit(f"run.py: {error}")
