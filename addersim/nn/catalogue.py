"""What the bundled models are: names, inputs, sources, weights. Torch is not imported, so that listing is instant."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

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
WEIGHTS = Path(__file__).resolve().parent.parent / "weights"
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


def weights_by_dataset(model_name: str) -> dict[str, Path]:
    """Return the files of weights shipped for a model, by the data set they were trained on."""
    found = sorted(WEIGHTS.glob(f"{model_name}-*.safetensors"))
    return {file.stem.removeprefix(f"{model_name}-"): file for file in found}


def shipped_weights(model_name: str, dataset: str | None = None) -> Path:
    """Return the file of the weights shipped for a model; InputError if there are none or several."""
    found = [file for name, file in weights_by_dataset(model_name).items() if dataset in (None, name)]
    if len(found) == 1:
        return found[0]
    wanted = f"{model_name} on {dataset}" if dataset else model_name
    if found:
        raise InputError(f"several weights are shipped for {wanted}: expected a data set")
    there = ", ".join(name for name in CATALOGUE if weights_by_dataset(name))
    raise InputError(
        f"no weights are shipped for {wanted}: expected the path of a checkpoint; shipped: those of {there}"
    )
