"""VGG-small for CIFAR, in adders or in multipliers."""

from __future__ import annotations

from torch import Tensor, nn

from addersim.nn.layers import AdderConv2d
from addersim.nn.models.resnet import Conv

CHANNELS = (128, 128, 256, 256, 512, 512)


class VGGSmall(nn.Module):
    """Six 3x3 layers of 128, 128, 256, 256, 512, 512 channels, each with batch norm and ReLU, and one linear layer.

    A 2x2 max pool follows every second layer. The first convolution and the last layer multiply in both twins,
    as in the published AdderNets.
    """

    def __init__(self, adder: bool, classes: int = 10) -> None:
        super().__init__()
        conv: Conv = AdderConv2d if adder else nn.Conv2d
        layers: list[nn.Module] = []
        for i, (inputs, outputs) in enumerate(zip((3, *CHANNELS), CHANNELS, strict=False)):
            layer = (conv if i else nn.Conv2d)(inputs, outputs, 3, padding=1, bias=False)
            layers += [layer, nn.BatchNorm2d(outputs), nn.ReLU(), *([nn.MaxPool2d(2)] if i % 2 else [])]
        self.features = nn.Sequential(*layers)
        self.fc = nn.Linear(CHANNELS[-1] * 4 * 4, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, classes) for x (N, 3, 32, 32)."""
        logits: Tensor = self.fc(self.features(x).flatten(1))
        return logits
