"""A small fully convolutional network that gives every pixel a class, in adders or in multipliers."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from addersim.nn.layers import AdderConv2d
from addersim.nn.models.pyramid import FeaturePyramid
from addersim.nn.models.resnet import Conv

CHANNELS, WIDTH = (16, 32, 64, 128), 32


def _stage(conv: Conv, inputs: int, outputs: int) -> nn.Sequential:
    """Return two 3x3 layers with batch norm and ReLU, the first with stride 2."""
    return nn.Sequential(
        conv(inputs, outputs, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
        conv(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
    )  # fmt: skip


class Segmenter(nn.Module):
    """A convolution with stride 2, three strided stages, a feature pyramid, and a class for every pixel.

    A 1x1 convolution makes logits of the pyramid's finest level, which has half the image's resolution. They are
    upsampled, and a 3x3 convolution of the image itself adds what only single pixels can tell. The three
    convolutions that read the image or make logits multiply in both twins.
    """

    def __init__(self, adder: bool, classes: int = 11) -> None:
        super().__init__()
        conv: Conv = AdderConv2d if adder else nn.Conv2d
        a, b, c, d = CHANNELS
        self.conv1, self.bn1 = nn.Conv2d(1, a, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(a)
        self.layer1, self.layer2, self.layer3 = _stage(conv, a, b), _stage(conv, b, c), _stage(conv, c, d)
        self.pyramid = FeaturePyramid(conv, CHANNELS, WIDTH)
        self.head = nn.Conv2d(WIDTH, classes, 1)
        self.detail = nn.Conv2d(1, classes, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, classes, H, W) for x (N, 1, H, W); 16 divides H and W."""
        maps = [F.relu(self.bn1(self.conv1(x)))]
        for stage in (self.layer1, self.layer2, self.layer3):
            maps.append(stage(maps[-1]))
        coarse = self.head(self.pyramid(maps)[0])
        logits: Tensor = self.detail(x) + F.interpolate(coarse, scale_factor=2.0, mode="nearest")
        return logits
