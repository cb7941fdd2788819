"""LeNet-5 with batch normalisation, in adders or in multipliers."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from addersim.nn.layers import AdderConv2d, AdderLinear


class LeNet5(nn.Module):
    """conv 6@5x5 - pool - conv 16@5x5 - pool - 120 - 84 - classes; batch norm after every layer, then ReLU.

    The first convolution and the last layer multiply in both twins, as in the published AdderNets.
    """

    def __init__(self, adder: bool, classes: int = 10) -> None:
        super().__init__()
        conv: type[AdderConv2d] | type[nn.Conv2d] = AdderConv2d if adder else nn.Conv2d
        linear: type[AdderLinear] | type[nn.Linear] = AdderLinear if adder else nn.Linear
        self.conv1, self.bn1 = nn.Conv2d(1, 6, 5, padding=2, bias=False), nn.BatchNorm2d(6)
        self.conv2, self.bn2 = conv(6, 16, 5, bias=False), nn.BatchNorm2d(16)
        self.fc1, self.bn3 = linear(400, 120, bias=False), nn.BatchNorm1d(120)
        self.fc2, self.bn4 = linear(120, 84, bias=False), nn.BatchNorm1d(84)
        self.fc3, self.bn5 = nn.Linear(84, classes, bias=False), nn.BatchNorm1d(classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, classes) for x (N, 1, 28, 28)."""
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 2)
        x = F.max_pool2d(F.relu(self.bn2(self.conv2(x))), 2)
        x = F.relu(self.bn3(self.fc1(x.flatten(1))))
        x = F.relu(self.bn4(self.fc2(x)))
        logits: Tensor = self.bn5(self.fc3(x))
        return logits


def lenet5(adder: bool = True, classes: int = 10) -> LeNet5:
    """Return LeNet-5-BN with freshly drawn weights, on adders or (``adder=False``) on multipliers."""
    return LeNet5(adder, classes)
