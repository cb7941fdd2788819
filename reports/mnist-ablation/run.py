"""The ablation of the AdderNet paper on MNIST: python run.py OUT [DATA [EPOCHS]].

LeNet-5-BN on adders, {full-precision, sign} gradient of the weights x {adaptive rate with eta 0.1, one global rate that
is 100 times as high in adder layers}, three seeds each; everything else as in the recipe lenet5_adder-mnist. Writes
runs.csv after every run and table.csv (mean and spread) beside this file; a run that is already in OUT is resumed or
read, not repeated.
"""

from __future__ import annotations

import csv
import statistics
import sys
from itertools import product
from pathlib import Path
from typing import Any

import addersim
from addersim.train import read_recipe, train

HERE = Path(__file__).parent
RECIPE = Path(addersim.__file__).parent / "train" / "recipes" / "lenet5_adder-mnist.toml"
SEEDS = (1, 2, 3)
PUBLISHED = {  # Chen et al., CVPR 2020, as slides on the paper quote them (Kwonrince, AdderNet_review.pdf, p. 23)
    ("full", "adaptive"): 99.40,
    ("full", "global"): 98.99,
    ("sign", "adaptive"): 97.99,
    ("sign", "global"): 97.72,
}


def write(name: str, rows: list[dict[str, Any]]) -> None:
    """Write a table beside this file."""
    with (HERE / name).open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return per variant the published accuracy, and mean, least and most over the seeds that are done."""
    found = []
    for gradient, rate in PUBLISHED:
        mine = [r["test_percent"] for r in rows if (r["weight_gradient"], r["adder_rate"]) == (gradient, rate)]
        if mine:
            figures = {"mean": statistics.fmean(mine), "least": min(mine), "most": max(mine)}
            told = {key: f"{value:.2f}" for key, value in figures.items()}
            published = PUBLISHED[gradient, rate]
            row = {"weight_gradient": gradient, "adder_rate": rate, "published": published, "seeds": len(mine)}
            found.append(row | told)
    return found


def main(out: Path, data: str | None, epochs: int) -> None:
    """Train all variants, seed by seed, so that every variant has a figure early."""
    recipe, rows = read_recipe(RECIPE), []
    for seed, (gradient, rate) in product(SEEDS, PUBLISHED):
        change = {"seed": seed, "weight_gradient": gradient, "adder_rate": rate, "epochs": epochs}
        folder = out / f"{gradient}-{rate}-{seed}"
        result = train(recipe.model_copy(update=change), folder, data, resume=True, progress=False)
        rows.append(change | {"test_percent": round(result.accuracy_percent, 2)})
        write("runs.csv", rows)
        write("table.csv", summary(rows))
        print(rows[-1], flush=True)


if __name__ == "__main__":
    try:
        out, data, epochs = (*sys.argv[1:4], *(None,) * 3)[:3]
        if out is None:
            raise addersim.InputError("expected a folder for the runs")
        main(Path(out), data, int(epochs or 8))
    except addersim.InputError as error:
        sys.exit(f"run.py: {error}")
