"""What the bundled models are: names, inputs, sources. Torch is not imported, so that listing is instant."""

from __future__ import annotations

from dataclasses import dataclass

from addersim.errors import InputError, nearest


@dataclass(frozen=True)
class ModelCard:
    """One bundled model: its name, one line about it, where its structure comes from, its input (C, H, W)."""

    name: str
    description: str
    source: str
    input_shape: tuple[int, int, int]
    classes: int = 10


LENET = "LeCun et al., Proc. IEEE 1998, with batch normalisation"
ADDER = "huawei-noah/AdderNet resnet20.py; Chen et al., CVPR 2020"
AKAMASTER = "akamaster/pytorch_resnet_cifar10; He et al., CVPR 2016, section 4.2, option A"
MNIST_INPUT, CIFAR_INPUT = (1, 28, 28), (3, 32, 32)

CATALOGUE: dict[str, ModelCard] = {
    card.name: card
    for card in (
        ModelCard("lenet5_adder", "LeNet-5-BN, adder layers except the first and the last", LENET, MNIST_INPUT),
        ModelCard("lenet5_conv", "LeNet-5-BN, the multiplier twin of lenet5_adder", LENET, MNIST_INPUT),
        ModelCard("resnet20_adder", "ResNet-20, adder layers except the first and the last", ADDER, CIFAR_INPUT),
        ModelCard("resnet20_conv", "ResNet-20, the multiplier twin of resnet20_adder", ADDER, CIFAR_INPUT),
        ModelCard("resnet20_conv_a", "ResNet-20, convolutions, shortcuts without weights", AKAMASTER, CIFAR_INPUT),
        ModelCard("resnet32_adder", "ResNet-32, adder layers except the first and the last", ADDER, CIFAR_INPUT),
        ModelCard("resnet32_conv", "ResNet-32, the multiplier twin of resnet32_adder", ADDER, CIFAR_INPUT),
    )
}


def model_card(name: str) -> ModelCard:
    """Return the card of a bundled model; an unknown name is an :class:`InputError` with the nearest one."""
    if name not in CATALOGUE:
        raise InputError(f"unknown model {name!r}{nearest(name, CATALOGUE)}")
    return CATALOGUE[name]
