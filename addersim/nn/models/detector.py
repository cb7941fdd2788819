"""A one-stage detector in the manner of FCOS on a ResNet-20 backbone, in adders or in multipliers."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from addersim.nn.layers import AdderConv2d
from addersim.nn.models.pyramid import FeaturePyramid
from addersim.nn.models.resnet import Conv, stage

WIDTH, BLOCKS = 32, 3
STRIDES = (2, 4, 8)


class Level(NamedTuple):
    """What the detector says at every location (p, q) of one level, a location being ``stride`` pixels apart.

    Class logits (N, K, P, Q), the logit of centre-ness (N, 1, P, Q), and the distances in pixels from the location
    to the left, top, right and bottom edge of the object's box (N, 4, P, Q).
    """

    class_logits: Tensor
    centre_ness: Tensor
    distances: Tensor


class Detector(nn.Module):
    """Fully convolutional one-stage detector (after Tian et al., ICCV 2019), without anchors.

    Backbone: a convolution with stride 2 and the three stages of ResNet-20. Neck: a feature pyramid over them. Head,
    shared by all levels: two 3x3 layers with batch norm, then three 3x3 convolutions that give class logits,
    centre-ness and four distances. The first convolution and these three multiply in both twins. Distances are
    ``relu(y) * stride``, which costs hardware nothing, instead of an exponential.
    """

    def __init__(self, adder: bool, classes: int = 10) -> None:
        super().__init__()
        conv: Conv = AdderConv2d if adder else nn.Conv2d
        self.classes = classes
        self.conv1, self.bn1 = nn.Conv2d(1, 16, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(16)
        self.layer1 = stage(conv, 16, 16, BLOCKS, pad=False)
        self.layer2 = stage(conv, 16, 32, BLOCKS, pad=False)
        self.layer3 = stage(conv, 32, 64, BLOCKS, pad=False)
        self.pyramid = FeaturePyramid(conv, (16, 32, 64), WIDTH)
        self.tower = nn.Sequential(
            conv(WIDTH, WIDTH, 3, padding=1, bias=False), nn.BatchNorm2d(WIDTH), nn.ReLU(),
            conv(WIDTH, WIDTH, 3, padding=1, bias=False), nn.BatchNorm2d(WIDTH), nn.ReLU(),
        )  # fmt: skip
        self.class_logits = nn.Conv2d(WIDTH, classes, 3, padding=1)
        self.centre_ness = nn.Conv2d(WIDTH, 1, 3, padding=1)
        self.distances = nn.Conv2d(WIDTH, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return one vector per image (N, outputs) for x (N, 1, H, W), 8 dividing H and W; :meth:`levels` sorts it.

        Level by level from fine to coarse, class logits, centre-ness and distances, each flattened from C H W: a
        network in hardware has one output.
        """
        maps, x = [], F.relu(self.bn1(self.conv1(x)))
        for layer in (self.layer1, self.layer2, self.layer3):
            x = layer(x)
            maps.append(x)
        heads = (self.class_logits, self.centre_ness, self.distances)
        features = [self.tower(level) for level in self.pyramid(maps)]
        return torch.cat([head(level).flatten(1) for level in features for head in heads], 1)

    def levels(self, outputs: Tensor, height: int, width: int) -> list[Level]:
        """Return the levels, fine to coarse, from the outputs for images of ``height`` x ``width`` pixels."""
        found, at = [], 0
        for stride in STRIDES:
            P, Q = height // stride, width // stride
            channels = (self.classes, 1, 4)
            y = outputs[:, at : (at := at + sum(channels) * P * Q)]
            parts = [part.reshape(len(y), -1, P, Q) for part in torch.split(y, [c * P * Q for c in channels], 1)]
            found.append(Level(parts[0], parts[1], F.relu(parts[2]) * stride))
        return found
