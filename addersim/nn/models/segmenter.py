"""A small fully convolutional network that gives every pixel a class, in adders or in multipliers."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from addersim.nn.layers import AdderConv2d
from addersim.nn.models.pyramid import FeaturePyramid
from addersim.nn.models.resnet import Conv

WIDTH = 32


def _stage(conv: Conv, inputs: int, outputs: int) -> nn.Sequential:
    """Return two 3x3 layers with batch norm and ReLU, the first with stride 2."""
    return nn.Sequential(
        conv(inputs, outputs, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
        conv(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
    )  # fmt: skip


class Segmenter(nn.Module):
    """Three strided stages of 16, 32, 64 channels, a feature pyramid back to full resolution, one class per pixel.

    The first convolution and the last one, 1x1, multiply in both twins.
    """

    def __init__(self, adder: bool, classes: int = 11) -> None:
        super().__init__()
        conv: Conv = AdderConv2d if adder else nn.Conv2d
        self.conv1, self.bn1 = nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.layer1, self.layer2, self.layer3 = _stage(conv, 16, 16), _stage(conv, 16, 32), _stage(conv, 32, 64)
        self.pyramid = FeaturePyramid(conv, (16, 16, 32, 64), WIDTH)
        self.head = nn.Conv2d(WIDTH, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, classes, H, W) for x (N, 1, H, W); 8 divides H and W."""
        maps = [F.relu(self.bn1(self.conv1(x)))]
        for stage in (self.layer1, self.layer2, self.layer3):
            maps.append(stage(maps[-1]))
        logits: Tensor = self.head(self.pyramid(maps)[0])
        return logits
