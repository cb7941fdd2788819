"""ResNet-18 and ResNet-50 for 224 x 224 pixels, in adders or multipliers, with the key names of published weights."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from addersim.errors import InputError
from addersim.nn.layers import AdderConv2d
from addersim.nn.models.resnet import BasicBlock, Conv, projection

EXPANSION = 4


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride) and 1x1 layers with batch norm, and the shortcut around them; ReLU after the sum."""

    def __init__(self, conv: Conv, inputs: int, outputs: int, stride: int, downsample: nn.Module | None) -> None:
        super().__init__()
        narrow = outputs // EXPANSION
        self.conv1, self.bn1 = conv(inputs, narrow, 1, bias=False), nn.BatchNorm2d(narrow)
        self.conv2 = conv(narrow, narrow, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(narrow)
        self.conv3, self.bn3 = conv(narrow, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, outputs, H/stride, W/stride) for x (N, inputs, H, W)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        return F.relu(self.bn3(self.conv3(x)) + shortcut)


Block = type[BasicBlock] | type[Bottleneck]
BLOCKS: dict[int, tuple[Block, tuple[int, int, int, int], int]] = {
    18: (BasicBlock, (2, 2, 2, 2), 1),
    50: (Bottleneck, (3, 4, 6, 3), EXPANSION),
}


def _stage(block: Block, conv: Conv, inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
    down = None if stride == 1 and inputs == outputs else projection(conv, inputs, outputs, stride)
    first = block(conv, inputs, outputs, stride, down)
    return nn.Sequential(first, *(block(conv, outputs, outputs, 1, None) for _ in range(blocks - 1)))


class ImageNetResNet(nn.Module):
    """The network of huawei-noah/AdderNet resnet50.py, and the same with basic blocks for depth 18.

    The 7x7 convolution and the last layer, a 1x1 convolution with bias and batch norm behind it, multiply in
    both twins; shortcuts that change the shape have weights (1x1, adders in the adder network).
    """

    def __init__(self, depth: int, adder: bool, classes: int = 1000) -> None:
        super().__init__()
        if depth not in BLOCKS:
            raise InputError(f"depth must be 18 or 50, got {depth}")
        block, blocks, wider = BLOCKS[depth]
        conv: Conv = AdderConv2d if adder else nn.Conv2d
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False), nn.BatchNorm2d(64)
        self.layer1 = _stage(block, conv, 64, 64 * wider, blocks[0], 1)
        self.layer2 = _stage(block, conv, 64 * wider, 128 * wider, blocks[1], 2)
        self.layer3 = _stage(block, conv, 128 * wider, 256 * wider, blocks[2], 2)
        self.layer4 = _stage(block, conv, 256 * wider, 512 * wider, blocks[3], 2)
        self.fc, self.bn2 = nn.Conv2d(512 * wider, classes, 1), nn.BatchNorm2d(classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, classes) for x (N, 3, 224, 224), or any size from 32 pixels on that 32 divides."""
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, stride=2, padding=1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        logits: Tensor = self.bn2(self.fc(F.adaptive_avg_pool2d(x, 1)))
        return logits.flatten(1)
