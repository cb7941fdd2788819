"""LoopNest: the seven loops of a layer and how many steps and words they stand for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LoopNest:
    """The loops of a convolution or linear layer over one image.

    ``K`` and ``C`` are all output and input channels; with ``groups`` an output reads only ``C / groups``
    of them. ``H`` and ``W`` are the input's size without padding; pairs are (vertical, horizontal). A linear
    layer has P = Q = R = S = 1.

    Examples
    --------
    >>> LoopNest(K=16, C=6, P=10, Q=10, R=5, S=5, H=14, W=14).taps
    240000
    """

    K: int
    C: int
    P: int = 1
    Q: int = 1
    R: int = 1
    S: int = 1
    H: int = 1
    W: int = 1
    N: int = 1
    groups: int = 1
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)

    @property
    def pixels(self) -> int:
        """Output pixels, ``N * P * Q``."""
        return self.N * self.P * self.Q

    @property
    def depth(self) -> int:
        """Taps per output, ``C * R * S / groups``."""
        return self.C // self.groups * self.R * self.S

    @property
    def outputs(self) -> int:
        """Output words, ``pixels * K``."""
        return self.pixels * self.K

    @property
    def taps(self) -> int:
        """Innermost steps, ``outputs * depth``."""
        return self.outputs * self.depth

    @property
    def weights(self) -> int:
        """Weight words, ``K * depth``."""
        return self.K * self.depth

    @property
    def inputs(self) -> int:
        """Input words without padding, ``N * C * H * W``."""
        return self.N * self.C * self.H * self.W
