"""quantize: observe ranges, choose steps and widths, and write every layer down as integers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from addersim.datapath import STYLES, Datapath, Style
from addersim.errors import InputError, nearest
from addersim.fuse import Fused, fuse
from addersim.integers import add_node, identity_node, layer_node, narrow_node, norm_node
from addersim.network import EdgeFormat, Network, Node, Tensor
from addersim.ops import OPS
from addersim.ops.avg_pool import AvgPool
from addersim.quantized import QuantizedNetwork
from addersim.ranges import RULES, Observed, RangeRule, edge_format, observe

INPUT_BITS = 8
END_BITS = 8  # first and last layer
LOGIT_BITS = 16


@dataclass(frozen=True)
class Choices:
    """The arguments of :func:`quantize` that hold for every layer."""

    bits: int = 8
    residual_bits: int = 8
    range: RangeRule = "mse"
    quantile: float = 0.9997
    output_stage: Style = "multiplier_shift"
    multiplier_bits: int = 8
    datapath: Datapath | None = None

    def __post_init__(self) -> None:
        for name, value in (("bits", self.bits), ("residual_bits", self.residual_bits)):
            if not 2 <= value <= 16:
                raise InputError(f"{name} = {value} is out of range, expected 2 to 16")
        if not 3 <= self.multiplier_bits <= 16:
            raise InputError(f"multiplier_bits = {self.multiplier_bits} is out of range, expected 3 to 16")
        if self.range not in RULES:
            raise InputError(f"range = {self.range!r}{nearest(self.range, RULES)}")
        if self.output_stage not in STYLES:
            raise InputError(f"output_stage = {self.output_stage!r}{nearest(self.output_stage, STYLES)}")
        if not 0 < self.quantile <= 1:
            raise InputError(f"quantile = {self.quantile} is out of range, expected above 0 and up to 1")
        if self.datapath is not None and self.datapath.kind != "adder":
            raise InputError("datapath: expected an adder datapath, which every adder layer then takes")


def quantize(
    network: Network,
    images: Any,
    bits: int = 8,
    *,
    residual_bits: int = 8,
    range: RangeRule = "mse",  # the field's word for it, which the study files use too
    quantile: float = 0.9997,
    output_stage: Style = "multiplier_shift",
    multiplier_bits: int = 8,
    datapath: Datapath | None = None,
) -> QuantizedNetwork:
    """Return the network on integers, calibrated on ``images``.

    Parameters
    ----------
    network
        A float network, from :func:`addersim.from_torch` or :meth:`Network.load`.
    images
        Calibration images, N C H W, floats in the units of the torch module. Never use test images.
    bits
        Width of weights and inputs of all layers but the first and the last, which keep 8 bits. Where several
        layers make the output side by side, as in a detector, all of them are last.
    residual_bits
        Width of edges that a residual addition reads.
    range
        How an edge's range is chosen: ``"mse"`` (least squared error), ``"quantile"`` or ``"max"``.
    quantile
        Quantile of the magnitudes for ``range="quantile"``.
    output_stage
        ``"multiplier_shift"``, ``"shift_add"`` or ``"shift_only"``.
    multiplier_bits
        Magnitude bits of the output stage's multiplier.
    datapath
        A datapath that every adder layer takes, apart from the operands' formats; by default each layer has
        the narrowest registers that cannot overflow.

    Raises
    ------
    InputError
        If an argument is out of range, an edge carries only zeros, or an image does not fit.

    Notes
    -----
    An adder layer has one step for inputs and weights. Its weights are clamped to the input's range,
    ``w' = clamp(w, lo, hi)``, and ``-sum |w - w'|`` goes into the bias, which is exact for every input in
    the range: outside it ``|x - w| = |x - w'| + |w - w'|``.

    Examples
    --------
    >>> import addersim
    >>> images, _ = addersim.sample("fashion_sample", limit=4)
    >>> addersim.quantize(addersim.example_network(), images, bits=4).node("conv2").datapath.x.bits
    4
    """
    choices = Choices(bits, residual_bits, range, quantile, output_stage, multiplier_bits, datapath)
    build = _Build(network, observe(network, images), choices)
    plan = fuse(network)
    layers = [f.root.name for f in plan if OPS[f.root.kind].array is not None]
    last = {*layers[-1:], *_output_layers(network)}
    for fused in plan:
        _place(build, fused, is_first=fused.root.name in layers[:1], is_last=fused.root.name in last)
    if build.alias[network.nodes[-1].name] != build.nodes[-1].name:
        raise InputError(f"network {network.name!r}: its output is read again inside the network")
    return QuantizedNetwork(network.name, tuple(build.nodes), build.tensors)


@dataclass
class _Build:
    """The quantised nodes so far, and which quantised edge stands for a float edge."""

    network: Network
    observed: Mapping[str, Observed]
    choices: Choices
    nodes: list[Node] = field(default_factory=list)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    alias: dict[str, str] = field(default_factory=dict)

    def put(self, node: Node, form: EdgeFormat, float_edge: str) -> str:
        """Append a node whose edge stands for ``float_edge`` of the float network."""
        self.nodes.append(replace(node, attrs={**node.attrs, "float_edge": float_edge}))
        self.tensors[node.name] = Tensor(self.network.tensors[float_edge].shape, form)
        return node.name

    def format(self, name: str) -> EdgeFormat:
        form = self.tensors[name].format
        assert form is not None
        return form

    def node(self, name: str) -> Node:
        return next(node for node in self.nodes if node.name == name)


def _output_layers(network: Network) -> set[str]:
    """Return the layers between which and the output there is neither a layer nor a rectifier."""
    found, to_visit = set(), [network.nodes[-1].name]
    while to_visit:
        node = network.node(to_visit.pop())
        if OPS[node.kind].array is not None:
            found.add(node.name)
        elif node.kind != "relu":
            to_visit += node.inputs
    return found


def _place(build: _Build, fused: Fused, is_first: bool, is_last: bool) -> None:
    """Append what ``fused`` becomes, with the requantisations that its inputs need."""
    root, inputs = fused.root, [build.alias[name] for name in fused.root.inputs]
    if root.kind == "input":
        name = build.put(root, _input_format(build), root.name)
    elif root.kind == "add":
        name = _add(build, fused, inputs)
    elif root.kind == "batch_norm":
        form = _format(build, fused)
        node = norm_node(fused, build.format(inputs[0]), form, build.choices, inputs[0])
        assert node.stage is not None
        name = build.put(node, _edge(fused, form, node.stage.product.bits), fused.end)
    elif OPS[root.kind].array is not None:
        name = _layer(build, fused, inputs[0], is_first, is_first or is_last)
    elif root.kind == "concat":
        name = _concat(build, fused, inputs)
    else:
        name = _moved(build, fused, inputs)
    build.alias[fused.end] = name


def _moved(build: _Build, fused: Fused, inputs: list[str]) -> str:
    """An operation that selects or moves codes, or sums them exactly."""
    root = fused.root
    shape = build.tensors[inputs[0]].shape
    form = OPS[root.kind].out_format(root, build.format(inputs[0]), shape)
    return build.put(replace(root, inputs=tuple(inputs)), form, fused.end)


def _layer(build: _Build, fused: Fused, source: str, first: bool, end: bool) -> str:
    choices = build.choices
    adder = OPS[fused.root.kind].array == "adder"
    weight_bits = END_BITS if end and not adder else choices.bits
    needed = max(END_BITS, choices.bits) if end and not adder else choices.bits
    if build.format(source).bits > needed and not (first and not adder):
        source = _narrow(build, source, fused.root.inputs[0], needed)
    form = _format(build, fused)
    depth_bits = build.format(source), form
    node, product = layer_node(fused, source, *depth_bits, weight_bits, choices)
    return build.put(node, _edge(fused, form, product), fused.end)


def _edge(fused: Fused, form: EdgeFormat, product_bits: int) -> EdgeFormat:
    """Return the format behind an output stage: ``form``, or p's where an addition finishes it."""
    if not fused.partial:
        return form
    return EdgeFormat(product_bits, True, form.step, form.zero_point if fused.adds_zero else 0)


def _narrow(build: _Build, source: str, float_edge: str, bits: int) -> str:
    """Return an edge of ``bits`` bits that stands for ``source``, made once."""
    name = f"{source}.{bits}bit"
    if name not in build.tensors:
        c = build.choices
        centred = build.format(source).zero_point != 0
        form = edge_format(
            float_edge, build.observed[float_edge], bits, rule=c.range, quantile=c.quantile, centred=centred
        )
        build.put(narrow_node(name, source, build.format(source), form, c), form, float_edge)
    return name


def _add(build: _Build, fused: Fused, inputs: list[str]) -> str:
    form = _format(build, fused)
    branches = []
    for i, name in enumerate(inputs):
        node = build.node(name)
        if node.stage is not None and not node.stage.finish:
            branches.append(_rescaled(build, name, form))
            continue
        own = replace(form, zero_point=form.zero_point if i == 0 else 0)
        branch = identity_node(f"{fused.root.name}.identity{i}", name, build.format(name), own, build.choices)
        assert branch.stage is not None
        wide = EdgeFormat(branch.stage.product.bits, True, form.step, own.zero_point)
        branches.append(build.put(branch, wide, fused.root.inputs[i]))
    products = [build.node(name) for name in branches]
    return build.put(add_node(fused, products, form), form, fused.end)


def _rescaled(build: _Build, name: str, form: EdgeFormat) -> str:
    assert build.format(name).step == form.step, "a partial layer is scaled for the addition that reads it"
    return name


def _concat(build: _Build, fused: Fused, inputs: list[str]) -> str:
    """All inputs take the format that the concatenated edge would have; those that it alone reads have it already."""
    form = _format(build, fused)
    sources = []
    for i, name in enumerate(inputs):
        if build.format(name) != form:
            narrow = narrow_node(f"{fused.root.name}.input{i}", name, build.format(name), form, build.choices)
            name = build.put(narrow, form, fused.root.inputs[i])
        sources.append(name)
    return build.put(replace(fused.root, inputs=tuple(sources)), form, fused.end)


def _input_format(build: _Build) -> EdgeFormat:
    name = build.network.nodes[0].name
    magnitude = build.observed[name].magnitude
    if magnitude == 0:
        raise InputError("the calibration images are all zero")
    return EdgeFormat(INPUT_BITS, True, magnitude / (2 ** (INPUT_BITS - 1) - 1))


def _format(build: _Build, fused: Fused) -> EdgeFormat:
    """Return the format of the rounded edge that ``fused`` leads to (its addition's, if it is partial)."""
    network, c = build.network, build.choices
    end = fused.end
    if fused.partial:
        addition = next(f for f in fuse(network) if f.root.name == network.consumers(end)[0].name)
        return _format(build, addition)
    if end == network.nodes[-1].name:
        return EdgeFormat(LOGIT_BITS, True, (build.observed[end].magnitude or 1.0) / (2 ** (LOGIT_BITS - 1) - 1))
    readers = _readers(network, end)
    if [reader.kind for reader in readers] == ["concat"]:
        return _format(build, Fused(readers[0], None, False, readers[0].name, False))
    residual = any(reader.kind == "add" for reader in readers)
    return edge_format(
        end,
        build.observed[end],
        c.residual_bits if residual else c.bits,
        rule=c.range,
        quantile=c.quantile,
        centred=any(OPS[reader.kind].array == "adder" for reader in readers),
        power_of_two=residual and c.output_stage != "multiplier_shift",
    )


def _readers(network: Network, name: str) -> list[Node]:
    """Return who reads an edge's codes, looking through operations that only move or select them."""
    found = []
    for node in network.consumers(name):
        moves = node.kind not in ("add", "batch_norm", "concat") and OPS[node.kind].array is None
        found += _readers(network, node.name) if moves and not isinstance(OPS[node.kind], AvgPool) else [node]
    return found
