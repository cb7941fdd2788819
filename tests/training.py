"""What tests of training share: images told apart by their bright quarter, a recipe for them, small trained modules."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import addersim
from addersim.nn import AdderConv2d, build_model
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


def data_folder(place: Path, train=300, test=50):
    """Make ``place`` a folder with such images in the name of Fashion-MNIST, and return it."""
    save_npz(place / "fashion_mnist.npz", quarters(train, test))
    return place


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


class Joined(nn.Module):
    """Everything a plan can hold: a lone batch norm, a residual addition, a concatenation, pooling, two widths."""

    def __init__(self):
        super().__init__()
        self.first, self.norm0 = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.adder, self.norm1 = AdderConv2d(6, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.other, self.norm2 = AdderConv2d(6, 6, 1, bias=False), nn.BatchNorm2d(6)
        self.plain = nn.Conv2d(12, 8, 3, stride=2)
        self.lone, self.last = nn.BatchNorm2d(8), nn.Linear(8, 5)

    def forward(self, x):
        x = torch.relu(self.norm0(self.first(x)))
        y = torch.relu(self.norm1(self.adder(x)) + x)
        z = torch.relu(self.norm2(self.other(y)))
        both = torch.cat([y, z], 1)
        pooled = nn.functional.max_pool2d(torch.relu(self.plain(both)), 2)
        return self.last(self.lone(pooled).mean((2, 3)))


def trained(module, seed=0):
    """Return a module whose batch norms have seen data, and have gammas and betas of their own."""
    torch.manual_seed(seed)
    for norm in [m for m in module.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]:
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, std=0.2)
        norm.momentum = None
    return module


def joined():
    torch.manual_seed(1)
    module = trained(Joined())
    images = torch.randn(8, 3, 12, 12)
    module(images)
    return module.eval(), images.numpy()


def biased():
    """Biases of adder layers, which are imported as batch norms that only shift, with and without one behind."""
    torch.manual_seed(4)
    layers = nn.Conv2d(3, 4, 3), nn.ReLU(), AdderConv2d(4, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), AdderConv2d(4, 3, 1)
    module, images = trained(nn.Sequential(*layers)), torch.randn(8, 3, 8, 8)
    module(images)
    return module.eval(), images.numpy()


def lenet():
    module = trained(build_model("lenet5_adder"))
    images, _ = addersim.sample("fashion_calibration", limit=16)
    module(torch.from_numpy(images))
    return module.eval(), images


NETWORKS = {"joined": joined, "biased": biased, "lenet": lenet}


def shaken(module, by=0.02, seed=3):
    """Move every parameter a little, as steps of training do."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in module.parameters():
            p.mul_(1 + by * torch.randn(p.shape, generator=generator, dtype=p.dtype))
    return module


def same_integers(logits, qnet, images):
    trace = addersim.simulate(qnet, images)
    step = trace.logits_format.step
    assert np.array_equal(np.rint(logits.double().numpy() / step), trace.logits_int)
    np.testing.assert_allclose(logits.numpy(), trace.logits, rtol=1e-6)  # float32 holds integer x step
