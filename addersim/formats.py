"""Which format every edge of the integer network gets: width from who reads it, step from what it carries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from addersim.choices import END_BITS, Choices
from addersim.errors import InputError
from addersim.fuse import Fused, end_layers, fuse
from addersim.network import EdgeFormat, Network, Node
from addersim.ops import OPS
from addersim.ops.avg_pool import AvgPool
from addersim.ranges import Observed, edge_format

INPUT_BITS = 8
LOGIT_BITS = 16


@dataclass(frozen=True, eq=False)
class Formats:
    """The formats that ``choices`` give the edges of ``network``, which carry what was ``observed``."""

    network: Network
    observed: Mapping[str, Observed]
    choices: Choices

    @cached_property
    def _ends(self) -> frozenset[str]:
        return end_layers(self.network)

    def input_bits(self, layer: Node) -> int:
        """Return the width of a layer's inputs: 8 or more where it is a first or last layer of multipliers."""
        bits = self.choices.input_bits(layer.name)
        is_end = layer.name in self._ends and OPS[layer.kind].array == "multiplier"
        return max(END_BITS, bits) if is_end else bits

    def of_input(self) -> EdgeFormat:
        """Return the input's format: signed, its largest magnitude at the end of the range."""
        observed = self.observed[self.network.nodes[0].name]
        if observed.magnitude == 0:
            raise InputError("the calibration images are all zero")
        return edge_format("input", observed, INPUT_BITS, rule="max", grid=self._grid(False), signed=True)

    def behind(self, fused: Fused) -> EdgeFormat:
        """Return the format of the rounded edge that ``fused`` leads to (its addition's, if it is partial)."""
        network, end = self.network, fused.end
        if fused.partial:
            reader = network.consumers(end)[0].name
            return self.behind(next(f for f in fuse(network) if f.root.name == reader))
        readers = self._readers(end)
        grid = self._grid(fused.root.kind == "add" or any(reader.kind == "add" for reader in readers))
        if not readers:  # nothing but the network's output is made of its codes
            return self._logits(end, grid)
        if [reader.kind for reader in readers] == ["concat"]:
            return self.behind(Fused(readers[0], None, False, readers[0].name, False))
        if any(reader.kind == "add" for reader in readers):
            return self._residual(end, self._adder_widths(readers), grid)
        wanted = [self.input_bits(node) for node in self._layers_behind(end)]
        bits = max(wanted, default=self.choices.bits)
        return self._edge(end, bits, bool(self._adder_widths(readers)), grid)

    def narrow(self, edge: str, source: EdgeFormat, bits: int) -> EdgeFormat:
        """Return the format of ``edge`` as a layer of ``bits`` bits reads it, where its own is ``source``.

        Behind a residual addition the step is a power of two times the source's: requantising is a shift then, and
        what it rounds was not rounded to another grid before.
        """
        readers = self._readers(edge)
        aligned = any(reader.kind == "add" for reader in readers) and bool(self._adder_widths(readers))
        return self._edge(edge, bits, source.zero_point != 0, source.step if aligned else self._grid(False))

    def _logits(self, edge: str, grid: float | None) -> EdgeFormat:
        if self.observed[edge].magnitude == 0:
            return EdgeFormat(LOGIT_BITS, True, 2.0 ** (1 - LOGIT_BITS))
        return edge_format(edge, self.observed[edge], LOGIT_BITS, rule="max", grid=grid, signed=True)

    def _residual(self, edge: str, widths: list[int], grid: float | None) -> EdgeFormat:
        """Return the format of an edge that an addition reads; its grid is that of the narrowest adder layer."""
        bits = self.choices.residual_bits
        if widths and min(widths) < bits:
            grid = self._edge(edge, min(widths), True, grid).step
        return self._edge(edge, bits, bool(widths), grid)

    def _edge(self, edge: str, bits: int, centred: bool, grid: float | None) -> EdgeFormat:
        c = self.choices
        try:
            return edge_format(
                edge, self.observed[edge], bits, rule=c.range, quantile=c.quantile, centred=centred, grid=grid
            )
        except InputError as error:
            names = ", ".join(repr(reader.name) for reader in self._readers(edge)) or "nobody"
            raise InputError(f"{error} (read by {names})") from None

    def _grid(self, residual: bool) -> float | None:
        """Return 1 where steps are powers of two: all, or those of the edges that additions read and make.

        Without a multiplier the gain between two of these has to be a power of two.
        """
        c = self.choices
        return 1.0 if c.steps == "power_of_two" or (residual and c.output_stage != "multiplier_shift") else None

    def _adder_widths(self, readers: list[Node]) -> list[int]:
        return [self.choices.input_bits(reader.name) for reader in readers if OPS[reader.kind].array == "adder"]

    def _layers_behind(self, name: str) -> list[Node]:
        """Return the layers that read an edge, or the exact sums that an average pool makes of it."""
        found = []
        for node in self._readers(name):
            pools = isinstance(OPS[node.kind], AvgPool)
            found += self._layers_behind(node.name) if pools else [node] if OPS[node.kind].array is not None else []
        return found

    def _readers(self, name: str) -> list[Node]:
        """Return who reads an edge's codes, looking through operations that only move or select them."""
        found = []
        for node in self.network.consumers(name):
            moves = node.kind not in ("add", "batch_norm", "concat") and OPS[node.kind].array is None
            found += self._readers(node.name) if moves and not isinstance(OPS[node.kind], AvgPool) else [node]
        return found
