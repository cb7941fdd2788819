"""The bundled models: name -> builder. What each is, without torch: :mod:`addersim.nn.catalogue`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import nn

from addersim.nn.catalogue import model_card
from addersim.nn.models.detector import Detector
from addersim.nn.models.imagenet import ImageNetResNet
from addersim.nn.models.lenet import LeNet5, lenet5
from addersim.nn.models.resnet import CifarResNet, CifarResNetA
from addersim.nn.models.segmenter import Segmenter
from addersim.nn.models.vgg import VGGSmall

MODELS: dict[str, Callable[[int], nn.Module]] = {
    "lenet5_adder": partial(LeNet5, True),
    "lenet5_conv": partial(LeNet5, False),
    "resnet20_adder": partial(CifarResNet, 20, True),
    "resnet20_conv": partial(CifarResNet, 20, False),
    "resnet20_conv_a": partial(CifarResNetA, 20),
    "resnet32_adder": partial(CifarResNet, 32, True),
    "resnet32_conv": partial(CifarResNet, 32, False),
    "vgg_small_adder": partial(VGGSmall, True),
    "vgg_small_conv": partial(VGGSmall, False),
    "resnet18_adder": partial(ImageNetResNet, 18, True),
    "resnet18_conv": partial(ImageNetResNet, 18, False),
    "resnet50_adder": partial(ImageNetResNet, 50, True),
    "resnet50_conv": partial(ImageNetResNet, 50, False),
    "segmenter_adder": partial(Segmenter, True),
    "segmenter_conv": partial(Segmenter, False),
    "detector_adder": partial(Detector, True),
    "detector_conv": partial(Detector, False),
}


def build_model(name: str, classes: int | None = None) -> nn.Module:
    """Return a bundled model with freshly drawn weights.

    Parameters
    ----------
    name
        A key of :data:`MODELS`; an unknown one is an :class:`addersim.errors.InputError` with the nearest.
    classes
        Number of outputs; by default what the model's card says.
    """
    card = model_card(name)
    return MODELS[name](card.classes if classes is None else classes)


__all__ = [
    "MODELS",
    "CifarResNet",
    "CifarResNetA",
    "Detector",
    "ImageNetResNet",
    "LeNet5",
    "Segmenter",
    "VGGSmall",
    "build_model",
    "lenet5",
]
