"""The ResNets for CIFAR, depth 6n + 2, in adders or multipliers, with the key names of published weights."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from addersim.errors import InputError
from addersim.nn.layers import AdderConv2d

Conv = type[AdderConv2d] | type[nn.Conv2d]


def projection(conv: Conv, inputs: int, outputs: int, stride: int) -> nn.Module:
    """Return a shortcut with weights (option B): 1x1 convolution and batch norm."""
    return nn.Sequential(conv(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs))


class PadShortcut(nn.Module):
    """Shortcut without weights (option A): every second pixel, and zeros for the new channels."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.below = (outputs - inputs) // 2
        self.above = outputs - inputs - self.below

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, outputs, H/2, W/2) for x (N, inputs, H, W)."""
        return F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.below, self.above))


class BasicBlock(nn.Module):
    """Two 3x3 layers with batch norm, and the shortcut around them; ReLU after the sum."""

    def __init__(self, conv: Conv, inputs: int, outputs: int, stride: int, downsample: nn.Module | None) -> None:
        super().__init__()
        self.conv1 = conv(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = conv(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, outputs, H/stride, W/stride) for x (N, inputs, H, W)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(x)) + shortcut)


def stage(conv: Conv, inputs: int, outputs: int, blocks: int, pad: bool) -> nn.Sequential:
    """Return so many basic blocks; where the channels change, the first halves the image."""
    stride = 1 if inputs == outputs else 2
    down: nn.Module | None = None
    if stride == 2:
        down = PadShortcut(inputs, outputs) if pad else projection(conv, inputs, outputs, stride)
    first = BasicBlock(conv, inputs, outputs, stride, down)
    return nn.Sequential(first, *(BasicBlock(conv, outputs, outputs, 1, None) for _ in range(blocks - 1)))


class _Trunk(nn.Module):
    """The common part: first convolution (always multiplying), three stages, mean over 8x8 pixels."""

    def __init__(self, depth: int, conv: Conv, pad: bool) -> None:
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise InputError(f"depth must be 6n + 2, got {depth}")
        blocks = (depth - 2) // 6
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.layer1 = stage(conv, 16, 16, blocks, pad)
        self.layer2 = stage(conv, 16, 32, blocks, pad)
        self.layer3 = stage(conv, 32, 64, blocks, pad)

    def features(self, x: Tensor) -> Tensor:
        """Return (N, 64, 1, 1) for x (N, 3, 32, 32)."""
        x = F.relu(self.bn1(self.conv1(x)))
        return F.avg_pool2d(self.layer3(self.layer2(self.layer1(x))), 8)


class CifarResNet(_Trunk):
    """The network of huawei-noah/AdderNet resnet20.py: shortcuts with weights, batch norm on the logits."""

    def __init__(self, depth: int, adder: bool, classes: int = 10) -> None:
        super().__init__(depth, AdderConv2d if adder else nn.Conv2d, pad=False)
        self.fc, self.bn2 = nn.Conv2d(64, classes, 1, bias=False), nn.BatchNorm2d(classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, classes) for x (N, 3, 32, 32)."""
        logits: Tensor = self.bn2(self.fc(self.features(x)))
        return logits.flatten(1)


class CifarResNetA(_Trunk):
    """The network of akamaster/pytorch_resnet_cifar10: option A shortcuts, a linear layer at the end."""

    def __init__(self, depth: int, classes: int = 10) -> None:
        super().__init__(depth, nn.Conv2d, pad=True)
        self.linear = nn.Linear(64, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, classes) for x (N, 3, 32, 32)."""
        logits: Tensor = self.linear(self.features(x).flatten(1))
        return logits
