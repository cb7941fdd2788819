"""A feature pyramid: coarse maps are upsampled and added to finer ones, so that every level sees both."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from addersim.nn.models.resnet import Conv, projection


class FeaturePyramid(nn.Module):
    """Lateral 1x1 layers with batch norm, nearest upsampling by 2, addition, ReLU (after Lin et al., CVPR 2017).

    The ReLU is not in that paper: behind it the adder layers that read a level have one-sided inputs.
    """

    def __init__(self, conv: Conv, inputs: Sequence[int], outputs: int) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(projection(conv, channels, outputs, 1) for channels in inputs)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return one level of ``outputs`` channels per map; maps and levels go from fine to coarse, by 2."""
        level = F.relu(self.laterals[-1](maps[-1]))
        levels = [level]
        for lateral, x in zip(reversed(self.laterals[:-1]), reversed(maps[:-1]), strict=True):
            level = F.relu(lateral(x) + F.interpolate(level, scale_factor=2.0, mode="nearest"))
            levels.insert(0, level)
        return levels
