"""OpCounts: how often each primitive of each width runs, per layer and image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from addersim.arithmetic.primitives import Count, Name, Primitive
from addersim.network.graph import Network
from addersim.network.ops import OPS
from addersim.tabular import Tabular

Convention = Literal["exact", "paper"]


@dataclass(frozen=True, repr=False)
class OpCounts(Tabular):
    """The counts of a network, one row per (layer, part, primitive).

    Attributes
    ----------
    rows
        All counts.
    adder_taps, multiplier_taps
        Layer name to number of taps, for the layers that have a loop nest.

    Notes
    -----
    A tap of an adder layer is one subtraction, one absolute value and one accumulation; a tap of a
    multiplier layer is one multiplication and one accumulation. The totals below count taps only, as the
    AdderNet paper does (CVPR 2020, table 1); output stages, residual additions and pooling are rows of
    their own.
    """

    rows: tuple[Count, ...]
    adder_taps: Mapping[str, int]
    multiplier_taps: Mapping[str, int]

    def total(self, names: Iterable[Name], part: str = "tap") -> int:
        """Return how often the named primitives run in ``part``."""
        wanted = set(names)
        return sum(row.times for row in self.rows if row.part == part and row.primitive.name in wanted)

    @property
    def taps(self) -> int:
        """All taps."""
        return sum(self.adder_taps.values()) + sum(self.multiplier_taps.values())

    @property
    def additions(self) -> int:
        """Subtractions and additions in taps: two per adder tap, one per multiplier tap."""
        return self.total(["subtract", "add"])

    @property
    def multiplications(self) -> int:
        """Multiplications in taps: one per multiplier tap."""
        return self.total(["multiply"])

    def to_pandas(self) -> Any:
        """Return the rows as a DataFrame."""
        import pandas as pd

        columns = ["layer", "part", "primitive", *list(Primitive.__dataclass_fields__)[1:], "times"]
        rows = [(row.layer, row.part, *vars(row.primitive).values(), row.times) for row in self.rows]
        return pd.DataFrame(rows, columns=columns)


def count(network: Network, convention: Convention = "exact") -> OpCounts:
    """Return the primitives that one image costs.

    Parameters
    ----------
    network
        A float network (counted as fp32) or a quantised one (counted at its datapaths' widths).
    convention
        ``"paper"`` counts every convolution and linear layer as an adder layer, which is how the AdderNet
        paper's totals come about.

    Examples
    --------
    >>> import addersim
    >>> counts = addersim.count(addersim.example_network())
    >>> counts.additions == 2 * sum(counts.adder_taps.values()) + sum(counts.multiplier_taps.values())
    True
    """
    rows: list[Count] = []
    taps: dict[str, dict[str, int]] = {"adder": {}, "multiplier": {}}
    for node in network.nodes:
        op = OPS[node.kind]
        shapes = network.in_shapes(node)
        as_kind = "adder" if convention == "paper" and op.array else op.array
        nest = op.loops(node, shapes, network.tensors[node.name].shape)
        if nest is not None and as_kind:
            taps[as_kind][node.name] = nest.taps
        rows += op.primitives(node, network, as_kind)
    return OpCounts(tuple(rows), taps["adder"], taps["multiplier"])
