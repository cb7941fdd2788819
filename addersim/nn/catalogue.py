"""What the bundled models are: names, inputs, sources, weights. Torch is not imported, so that listing is instant."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from addersim.errors import InputError, nearest
from addersim.weights.shipped import WEIGHTS

Task = Literal["classification", "segmentation", "detection"]


@dataclass(frozen=True)
class ModelCard:
    """One bundled model: its name, one line about it, where its structure comes from, its input (C, H, W).

    ``task`` is what its output means: one class per image, one per pixel, or the boxes of a detector. ``dataset``
    says which of the shipped weights are taken where none are named, if there are several.
    """

    name: str
    description: str
    source: str
    input_shape: tuple[int, int, int]
    classes: int = 10
    task: Task = "classification"
    dataset: str = ""


LENET = "LeCun et al., Proc. IEEE 1998, with batch normalisation"
ADDER = "huawei-noah/AdderNet resnet20.py; Chen et al., CVPR 2020"
AKAMASTER = "akamaster/pytorch_resnet_cifar10; He et al., CVPR 2016, section 4.2, option A"
VGG = "Zhang et al., ECCV 2018 (LQ-Nets); Chen et al., CVPR 2020"
IMAGENET = "huawei-noah/AdderNet resnet50.py; Chen et al., CVPR 2020"
PYRAMID = "this package; pyramid after Lin et al., CVPR 2017"
FCOS = "this package; head after Tian et al., ICCV 2019, pyramid after Lin et al., CVPR 2017"
MNIST_INPUT, CIFAR_INPUT = (1, 28, 28), (3, 32, 32)
IMAGENET_INPUT, CANVAS = (3, 224, 224), (1, 64, 64)
ENDS = "adder layers except the first and the last"

CATALOGUE: dict[str, ModelCard] = {
    card.name: card
    for card in (
        ModelCard("lenet5_adder", f"LeNet-5-BN, {ENDS}", LENET, MNIST_INPUT, dataset="fashion_mnist"),
        ModelCard(
            "lenet5_conv",
            "LeNet-5-BN, the multiplier twin of lenet5_adder",
            LENET,
            MNIST_INPUT,
            dataset="fashion_mnist",
        ),
        ModelCard("resnet20_adder", f"ResNet-20, {ENDS}", ADDER, CIFAR_INPUT),
        ModelCard("resnet20_conv", "ResNet-20, the multiplier twin of resnet20_adder", ADDER, CIFAR_INPUT),
        ModelCard("resnet20_conv_a", "ResNet-20, convolutions, shortcuts without weights", AKAMASTER, CIFAR_INPUT),
        ModelCard("resnet32_adder", f"ResNet-32, {ENDS}", ADDER, CIFAR_INPUT),
        ModelCard("resnet32_conv", "ResNet-32, the multiplier twin of resnet32_adder", ADDER, CIFAR_INPUT),
        ModelCard("vgg_small_adder", f"VGG-small, {ENDS}", VGG, CIFAR_INPUT),
        ModelCard("vgg_small_conv", "VGG-small, the multiplier twin of vgg_small_adder", VGG, CIFAR_INPUT),
        ModelCard("resnet18_adder", f"ResNet-18, {ENDS}", IMAGENET, IMAGENET_INPUT, 1000),
        ModelCard("resnet18_conv", "ResNet-18, the multiplier twin of resnet18_adder", IMAGENET, IMAGENET_INPUT, 1000),
        ModelCard("resnet50_adder", f"ResNet-50, {ENDS}", IMAGENET, IMAGENET_INPUT, 1000),
        ModelCard("resnet50_conv", "ResNet-50, the multiplier twin of resnet50_adder", IMAGENET, IMAGENET_INPUT, 1000),
        ModelCard("segmenter_adder", f"Segmenter, a class per pixel, {ENDS}", PYRAMID, CANVAS, 11, "segmentation"),
        ModelCard(
            "segmenter_conv", "Segmenter, the multiplier twin of segmenter_adder", PYRAMID, CANVAS, 11, "segmentation"
        ),
        ModelCard("detector_adder", f"FCOS-like detector, {ENDS}", FCOS, CANVAS, 10, "detection"),
        ModelCard(
            "detector_conv", "FCOS-like detector, the multiplier twin of detector_adder", FCOS, CANVAS, 10, "detection"
        ),
    )
}


def model_card(name: str) -> ModelCard:
    """Return the card of a bundled model; an unknown name is an :class:`InputError` with the nearest one."""
    if name not in CATALOGUE:
        raise InputError(f"unknown model {name!r}{nearest(name, CATALOGUE)}")
    return CATALOGUE[name]


def weights_by_dataset(model_name: str) -> dict[str, Path]:
    """Return the files of weights shipped for a model, by the data set they were trained on; floats only."""
    found = sorted(WEIGHTS.glob(f"{model_name}-*.safetensors"))
    return {file.stem.removeprefix(f"{model_name}-"): file for file in found if not file.stem.endswith("bit")}


def shipped_weights(model_name: str, dataset: str | None = None) -> Path:
    """Return the file of the weights shipped for a model, by default its card's; InputError if there are none."""
    shipped = weights_by_dataset(model_name)
    chosen = dataset or (model_card(model_name).dataset if len(shipped) > 1 else next(iter(shipped), None))
    if chosen in shipped:
        return shipped[chosen]
    wanted = f"{model_name} on {dataset}" if dataset else model_name
    there = ", ".join(name for name in CATALOGUE if weights_by_dataset(name))
    raise InputError(
        f"no weights are shipped for {wanted}: expected the path of a checkpoint; shipped: those of {there}"
    )
