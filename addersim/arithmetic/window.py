"""Window: which input pixels a sliding kernel meets, and how many outputs that makes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Window:
    """The sliding window of a convolution or pooling layer; pairs are (vertical, horizontal).

    Examples
    --------
    >>> Window(R=3, S=3, stride=(2, 2), padding=(1, 1)).out_size(32, 32)
    (16, 16)
    """

    R: int
    S: int
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    def out_size(self, H: int, W: int) -> tuple[int, int]:
        """Return (P, Q): ``floor((H + 2*padding - dilation*(R-1) - 1) / stride) + 1``, likewise for W and S."""
        (sy, sx), (py, px), (dy, dx) = self.stride, self.padding, self.dilation
        return (H + 2 * py - dy * (self.R - 1) - 1) // sy + 1, (W + 2 * px - dx * (self.S - 1) - 1) // sx + 1

    def rows(self, r: int, P: int) -> slice:
        """Return the padded input rows that kernel row ``r`` meets, one per output row."""
        first = r * self.dilation[0]
        return slice(first, first + (P - 1) * self.stride[0] + 1, self.stride[0])

    def columns(self, s: int, Q: int) -> slice:
        """Return the padded input columns that kernel column ``s`` meets, one per output column."""
        first = s * self.dilation[1]
        return slice(first, first + (Q - 1) * self.stride[1] + 1, self.stride[1])
