"""Four classes of small images, told apart by their bright quarter, and a recipe that learns them in a second."""

from pathlib import Path

import numpy as np
import pytest

from addersim.train import Recipe, loop
from addersim.train.recipe import Augmentation

NAMES = ("train_images", "train_labels", "test_images", "test_labels")


def quarters(train=300, test=50, size=28):
    """Return train images (N, H, W), their labels, test images, their labels; uint8."""
    generator, half = np.random.default_rng(0), size // 2

    def part(count):
        labels = generator.integers(0, 4, count).astype(np.uint8)
        x = generator.integers(0, 120, (count, size, size)).astype(np.uint8)
        for picture, label in zip(x, labels, strict=True):
            picture[half * (label // 2) :, half * (label % 2) :][:half, :half] += 100
        return x, labels

    return *part(train), *part(test)


def save_npz(file: Path, arrays):
    np.savez(file, **dict(zip(NAMES, arrays, strict=True)))


def recipe(**change):
    values = {"model": "lenet5_adder", "dataset": "fashion_mnist", "epochs": 2, "batch_size": 32, "eta": 0.1}
    return Recipe(**{**values, "augmentation": Augmentation(flip=False, shift_pixels=1), **change})


def train_cut_short(chosen, out, folder):
    """Train until the second epoch begins, as after Ctrl-C."""
    whole_epoch = loop._epoch

    def interrupted(run, epoch, tick):
        if epoch == 1:
            raise KeyboardInterrupt
        return whole_epoch(run, epoch, tick)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop, "_epoch", interrupted)
        loop.train(chosen, out, folder, progress=False)
