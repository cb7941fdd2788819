"""Choose learning rate, eta and augmentation on held-out training images: python search.py MODEL OUT [DATA].

Ten epochs each, trained on the first 55,000 training images and measured on the last 5,000; the test images
are not looked at. Writes OUT/search-MODEL.csv, one row per setting, and skips the settings already in OUT.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from addersim.train.loop import train
from addersim.train.recipe import Augmentation, Recipe

FLIP = Augmentation(flip=True)
GRIDS = {
    "lenet5_conv": [
        (0.1, 0.1, Augmentation()),
        (0.1, 0.1, FLIP),
        (0.1, 0.1, Augmentation(flip=True, shift_pixels=1)),
        (0.1, 0.1, Augmentation(flip=True, shift_pixels=2)),
        *((rate, 0.1, FLIP) for rate in (0.02, 0.05, 0.2, 0.4)),
    ],
    "lenet5_adder": [(rate, eta, FLIP) for rate in (0.1, 0.05, 0.2) for eta in (0.1, 0.2)]
    + [(0.02, 0.1, FLIP), (0.4, 0.1, FLIP)],
}


def main(model: str, out: Path, data: str | None) -> None:
    """Run the settings of one model and write the table after each."""
    rows = []
    for rate, eta, how in GRIDS[model]:
        recipe = Recipe(
            model=model,
            dataset="fashion_mnist",
            epochs=10,
            batch_size=128,
            learning_rate=rate,
            eta=eta,
            augmentation=how,
            validation_images=5000,
        )
        folder = out / f"{model}-{rate}-{eta}-{int(how.flip)}-{how.shift_pixels}"
        result = train(recipe, folder, data, resume=True, progress=False)
        last = result.history[-1]
        setting = {"learning_rate": rate, "eta": eta, "flip": how.flip, "shift_pixels": how.shift_pixels}
        rows.append(setting | {"loss": round(last.loss, 4), "validation_percent": round(result.accuracy_percent, 2)})
        with (out / f"search-{model}.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            table.writeheader()
            table.writerows(rows)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else None)
