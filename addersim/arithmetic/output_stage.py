"""OutputStage: from a finished sum to the code of the output edge, one formula behind every layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from addersim.arithmetic.datapath import plain
from addersim.arithmetic.fixed import IntFormat, Rounding

Style = Literal["multiplier_shift", "shift_add", "shift_only"]


@dataclass(frozen=True)
class OutputStage:
    """The one formula behind every layer, per output channel k.

    ``t = acc - B_k; p = t * M_k + A_k; y = clamp(round_shift(p, n_k))``.

    Attributes
    ----------
    centred, product
        Registers of t and of p; values outside them wrap and are counted.
    multiplier_bits
        Magnitude bits of M_k.
    finish
        False where a residual addition follows: the layer's edge then carries p itself.
    relu
        Whether the clamp's lower end is the zero point.
    style
        ``shift_only``: |M_k| is a power of two; ``shift_add``: a sum or difference of two.
    """

    centred: IntFormat
    product: IntFormat
    multiplier_bits: int = 8
    rounding: Rounding = Rounding.HALF_UP
    finish: bool = True
    relu: bool = False
    style: Style = "multiplier_shift"

    def to_dict(self) -> dict[str, Any]:
        """Return the stage as JSON-ready values; :func:`stage_from_dict` is the way back."""
        return {name: plain(getattr(self, name)) for name in self.__dataclass_fields__}


def stage_from_dict(d: dict[str, Any]) -> OutputStage:
    """Return the stage that :meth:`OutputStage.to_dict` wrote."""
    own = {
        "centred": IntFormat(*d["centred"]),
        "product": IntFormat(*d["product"]),
        "rounding": Rounding(d["rounding"]),
    }
    return OutputStage(**{**d, **own})
