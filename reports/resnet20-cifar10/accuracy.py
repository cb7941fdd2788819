"""Accuracy of a ResNet-20 on the 10,000 CIFAR-10 test images, float and int8: accuracy.py MODEL [WEIGHTS [DATA]].

MODEL is resnet20_adder, resnet20_conv or resnet20_conv_a; WEIGHTS a checkpoint, published ones included (by default
the weights shipped with the package); DATA a folder that holds CIFAR-10, else the one in ADDERSIM_DATA, else the set is
downloaded into the user's cache. int8 is post-training, calibrated on the first 100 training images.
"""

from __future__ import annotations

import sys

import numpy as np
import torch

import addersim
from addersim.nn import load_checkpoint
from addersim.study.images import normalise
from addersim.train import load_dataset

AKAMASTER = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # the normalisation of akamaster/pytorch_resnet_cifar10


def main(model: str, weights: str | None = None, data: str | None = None) -> None:
    """Print one line: float and integer accuracy."""
    dataset = load_dataset("cifar10", data)
    mean, std = AKAMASTER if model.endswith("_a") else (dataset.card.mean, dataset.card.std)
    images, labels = normalise(np.asarray(dataset.test_images), mean, std), np.asarray(dataset.test_labels)
    calibration = normalise(np.asarray(dataset.train_images[:100]), mean, std)
    module = load_checkpoint(model, weights)
    with torch.inference_mode():
        logits = torch.cat([module(part) for part in torch.from_numpy(images).split(500)]).numpy()
    qnet = addersim.quantize(addersim.from_torch(module, images[:1]), calibration)
    integers = addersim.simulate(qnet, images, threads=2).logits_int
    right = [100 * float(np.mean(found.argmax(1) == labels)) for found in (logits, integers)]
    print(f"{model}, {weights or 'shipped weights'}: float {right[0]:.2f} %, int8 {right[1]:.2f} %")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:4])
    except addersim.InputError as error:
        sys.exit(f"accuracy.py: {error}")
