"""Which format every edge of the integer network gets: width from who reads it, step from what it carries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from addersim.errors import InputError
from addersim.network.graph import Network
from addersim.network.node import EdgeFormat, Node
from addersim.network.ops import OPS
from addersim.quantization.channel_groups import group_of, is_group
from addersim.quantization.fuse import Fused, end_layers, fuse, role
from addersim.quantization.output_error import OutputError, output_error
from addersim.quantization.ranges import Observed, edge_format
from addersim.quantization.settings import END_BITS, Quantization

INPUT_BITS = 8
LOGIT_BITS = 16


@dataclass(frozen=True, eq=False)
class Formats:
    """The formats that ``choices`` give the edges of ``network``, which carry what was ``observed`` on ``images``."""

    network: Network
    observed: Mapping[str, Observed]
    choices: Quantization
    images: Any

    @cached_property
    def _ends(self) -> frozenset[str]:
        return end_layers(self.network)

    @cached_property
    def _fused(self) -> Mapping[str, Fused]:
        return {fused.root.name: fused for fused in fuse(self.network)}

    @cached_property
    def _output_error(self) -> OutputError:
        adders = [fused for fused in self._fused.values() if OPS[fused.root.kind].array == "adder"]
        return output_error(self.network, adders, self.images)

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
            return self.behind(self._fused[reader])
        readers = self._readers(end)
        roles = [role(reader) for reader in readers]
        grid = self._grid(self._adds(fused.root) or "add" in roles)
        if not readers:  # nothing but the network's output is made of its codes
            return self._logits(end, grid)
        if roles == ["join"]:
            return self.behind(Fused(readers[0], None, False, readers[0].name, False))
        if "add" in roles or any(map(is_group, readers)):
            return self._residual(end, readers, grid)
        wanted = [self.input_bits(node) for node in self._layers_behind(end)]
        bits = max(wanted, default=self.choices.bits)
        return self._edge(end, bits, bool(self._adder_widths(readers)), grid, self._choosing(end, bits))

    def narrow(self, edge: str, source: EdgeFormat, bits: int) -> EdgeFormat:
        """Return the format of ``edge`` as a layer of ``bits`` bits reads it, where its own is ``source``.

        Behind a residual addition the step is a power of two times the source's: requantising is a shift then, and
        what it rounds was not rounded to another grid before.
        """
        readers = self._readers(edge)
        aligned = "add" in map(role, readers) and bool(self._adder_widths(readers))
        grid = source.step if aligned else self._grid(False)
        return self._edge(edge, bits, source.zero_point != 0, grid, self._choosing(edge, bits))

    def of_group(self, layer: Node, edge: str, source: EdgeFormat) -> EdgeFormat:
        """Return the format of ``edge`` as one group of output channels reads it, of least error of its outputs.

        Without a multiplier the step is a power of two times the source's.
        """
        grid = self._grid(False) if self.choices.output_stage == "multiplier_shift" else source.step
        return self._edge(edge, self.input_bits(layer), source.zero_point != 0, grid, [self._fused[layer.name]])

    def _logits(self, edge: str, grid: float | None) -> EdgeFormat:
        if self.observed[edge].magnitude == 0:
            return EdgeFormat(LOGIT_BITS, True, 2.0 ** (1 - LOGIT_BITS))
        return edge_format(edge, self.observed[edge], LOGIT_BITS, rule="max", grid=grid, signed=True)

    def _residual(self, edge: str, readers: list[Node], grid: float | None) -> EdgeFormat:
        """Return the format of an edge that an addition or groups of channels read.

        Its grid is that of the narrowest adder layer, where that is not one group among others.
        """
        bits, widths = self.choices.residual_bits, self._adder_widths(readers)
        narrowest = min(self._adder_widths([node for node in readers if not is_group(node)]), default=bits)
        if narrowest < bits:
            grid = self._edge(edge, narrowest, True, grid, self._choosing(edge, narrowest)).step
        return self._edge(edge, bits, bool(widths), grid)

    def _choosing(self, edge: str, bits: int) -> list[Fused]:
        """Return the layers of that width whose outputs choose the range of an edge that they read."""
        chosen = self.choices.range == "output_mse"
        adders = [node for node in self._readers(edge) if chosen and OPS[node.kind].array == "adder"]
        return [self._fused[n.name] for n in adders if not is_group(n) and self.choices.input_bits(n.name) == bits]

    def _edge(
        self, edge: str, bits: int, centred: bool, grid: float | None, layers: Sequence[Fused] = ()
    ) -> EdgeFormat:
        """Return the format of an edge; ``layers``, if any, choose its range by the error of their outputs."""
        c = self.choices

        def output(form: EdgeFormat) -> float:
            return sum(self._output_error(f, form, min(c.weights(f.root.name), bits)) for f in layers)

        how = partial(edge_format, rule=c.range, quantile=c.quantile, centred=centred, grid=grid)
        try:
            return how(edge, self.observed[edge], bits, error=output if layers else None)
        except InputError as error:
            names = ", ".join(repr(reader.name) for reader in self._readers(edge)) or "nobody"
            raise InputError(f"{error} (read by {names})") from None

    def _grid(self, residual: bool) -> float | None:
        """Return 1 where steps are powers of two: all, or those of the edges that additions read and make.

        Without a multiplier the gain between two of these has to be a power of two.
        """
        c = self.choices
        return 1.0 if c.steps == "power_of_two" or (residual and c.output_stage != "multiplier_shift") else None

    def _adds(self, root: Node) -> bool:
        """Whether a node is an addition, or joins the groups of one."""
        joined = root.inputs if role(root) == "join" else ()
        made_by = [fused.root for fused in self._fused.values() if fused.end in joined]
        return role(root) == "add" or any(role(node) == "add" and group_of(node)[1] > 1 for node in made_by)

    def _adder_widths(self, readers: list[Node]) -> list[int]:
        return [self.choices.input_bits(reader.name) for reader in readers if OPS[reader.kind].array == "adder"]

    def _layers_behind(self, name: str) -> list[Node]:
        """Return the layers that read an edge, or the exact sums that an average pool makes of it."""
        found = []
        for node in self._readers(name):
            found += self._layers_behind(node.name) if role(node) == "sum" else []
            found += [node] if role(node) == "layer" else []
        return found

    def _readers(self, name: str) -> list[Node]:
        """Return who reads an edge's codes, looking through operations that only move or select them."""
        found = []
        for node in self.network.consumers(name):
            found += self._readers(node.name) if role(node) in ("move", "rectifier") else [node]
        return found
