"""quantize: observe ranges, choose steps and widths, and write every layer down as integers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Unpack

from addersim.errors import InputError, nearest
from addersim.network.graph import Network
from addersim.network.node import EdgeFormat, Node, Tensor
from addersim.network.ops import OPS
from addersim.network.quantized import QuantizedNetwork
from addersim.quantization.channel_groups import grouped, is_group, whole_of
from addersim.quantization.correction import Walk, corrected
from addersim.quantization.edge_formats import INPUT_BITS, Formats
from addersim.quantization.fuse import Fused, fuse, output_layers, role
from addersim.quantization.layer_integers import (
    Draft,
    add_node,
    finished,
    identity_node,
    layer_draft,
    narrow_node,
    norm_draft,
)
from addersim.quantization.ranges import observe
from addersim.quantization.settings import END_BITS, Quantization, Settings, settings_of, signature_of


def quantize(
    network: Network,
    images: Any,
    bits: int = 8,
    **settings: Unpack[Settings],
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
    residual_bits : int, default 8
        Width of edges that a residual addition reads. An adder layer behind one reads fewer bits by a right shift: the
        residual edge's step is that of its narrowest adder layer over a power of two.
    range : str, default "mse"
        How an edge's range is chosen: ``"mse"`` (least squared error), ``"quantile"`` or ``"max"``. ``"output_mse"``
        is ``"mse"``, but in front of adder layers it minimises the error of their outputs, each channel's mean left
        out: a correction has to take that away. See :class:`addersim.quantization.output_error.OutputError`.
    quantile : float, default 0.9997
        Quantile of the magnitudes for ``range="quantile"``.
    output_stage : str, default "multiplier_shift"
        ``"multiplier_shift"``, ``"shift_add"`` or ``"shift_only"``.
    multiplier_bits : int, default 8
        Magnitude bits of the output stage's multiplier.
    datapath : Datapath, optional
        A datapath that every adder layer takes, apart from the operands' formats; by default each layer has
        the narrowest registers that cannot overflow.
    correction : str, default "none"
        ``"mean"`` moves every output channel's offset so that its mean error on the calibration images is zero,
        ``"least_squares"`` fits its gain as well; ``"batch_norm"`` re-estimates mean and variance of the batch norm.
        Layer by layer, behind the integer layers that come before it. The results are M_k, A_k and n_k like any others.
        Off by default: at 8 bits it gains nothing and takes as long again as the rest; at 4 bits and below, or with
        ``"shift_only"``, least squares pay. See :func:`addersim.quantization.correction.corrected`.
    weight_bits : int, optional
        Width of the weights where it is not ``bits``. In adder layers it is at most ``bits``: the weights' step is
        ``2**(bits - weight_bits)`` times the inputs', which is ``weight_shift`` of their datapath.
    layer_bits : mapping of names to int, optional
        Widths of weights and inputs of single layers, by name, instead of ``bits`` and ``weight_bits``; of the first
        and the last layer, if they are not adder layers, it is the weights' width.
    steps : str, default "free"
        ``"free"``, or ``"power_of_two"`` for the steps of all edges. The weights of multiplier layers keep their own.
    groups : int, default 1
        Groups of output channels that every adder layer is cut into, each with a step of its own, which minimises the
        error of its outputs as in ``"output_mse"``. Inputs have to be in that step, too: each group is a layer of its
        own, ``layer.group0`` and so on, that reads inputs requantised for it alone (``layer.group0.input``), from an
        edge of ``residual_bits``. Counts and prices hold all of that. See
        :func:`addersim.quantization.channel_groups.grouped`.

    Raises
    ------
    InputError
        If an argument is out of range, an edge carries only zeros, an image does not fit, the channels of a layer do
        not divide into ``groups``, or there is nothing wider than a layer's inputs to requantise them from.

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
    choices = settings_of({"bits": bits, **settings})
    network = grouped(network, choices.groups)
    plan = fuse(network)
    layers = [f.root for f in plan if role(f.root) == "layer"]
    choices = choices.model_copy(update={"layer_bits": _layer_bits(choices.layer_bits, layers)})
    ends = {f.norm.name if f.norm else f.root.name for f in plan}
    walk = Walk(network, images, ends) if choices.correction != "none" else None
    build = _Build(network, Formats(network, observe(network, images), choices, images), walk)
    first = layers[0].name if layers else None
    last = {layers[-1].name, *output_layers(network)} if layers else set()
    for fused in plan:
        _place(build, fused, is_first=fused.root.name == first, is_last=fused.root.name in last)
    if build.alias[network.nodes[-1].name] != build.nodes[-1].name:
        raise InputError(f"network {network.name!r}: its output is read again inside the network")
    return QuantizedNetwork(network.name, tuple(build.nodes), build.tensors)


quantize.__signature__ = signature_of(quantize)  # type: ignore[attr-defined]  # for help() and completion


def _layer_bits(widths: Mapping[str, int], layers: Sequence[Node]) -> dict[str, int]:
    """Return the widths with those of a layer for each of its groups."""
    names = dict.fromkeys(whole_of(layer) for layer in layers)
    for name in widths:
        if name not in names:
            raise InputError(f"layer_bits: no layer {name!r}{nearest(name, names)}")
    return {layer.name: widths[whole_of(layer)] for layer in layers if whole_of(layer) in widths}


@dataclass
class _Build:
    """The quantised nodes so far, and which quantised edge stands for a float edge."""

    network: Network
    formats: Formats
    walk: Walk | None
    nodes: list[Node] = field(default_factory=list)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    alias: dict[str, str] = field(default_factory=dict)

    def put(self, node: Node, form: EdgeFormat, float_edge: str) -> str:
        """Append a node whose edge stands for ``float_edge`` of the float network."""
        self.nodes.append(replace(node, attrs={**node.attrs, "float_edge": float_edge}))
        self.tensors[node.name] = Tensor(self.network.tensors[float_edge].shape, form)
        if self.walk is not None:
            self.walk.put(self.nodes[-1], self.tensors)
        return node.name

    def put_draft(self, draft: Draft, form: EdgeFormat, fused: Fused) -> str:
        """Append a layer or batch norm in front of ``form``, its output stage corrected if that is wanted."""
        if self.walk is not None:
            draft = corrected(draft, fused, form, self.choices, self.walk, self.tensors, self._beside(fused))
        node = finished(draft, form, self.choices, fused)
        return self.put(node, _edge(fused, form, node.output_stage.product.bits), fused.end)

    def _beside(self, fused: Fused) -> Node | None:
        """Return the node at the other input of the addition that ``fused`` leads to, if it has been put."""
        if not fused.partial:
            return None
        others = [name for name in self.network.consumers(fused.end)[0].inputs if name != fused.end]
        return self.node(self.alias[others[0]]) if others and others[0] in self.alias else None

    @property
    def choices(self) -> Quantization:
        return self.formats.choices

    def format(self, name: str) -> EdgeFormat:
        return self.tensors[name].integers

    def node(self, name: str) -> Node:
        return next(node for node in self.nodes if node.name == name)


def _place(build: _Build, fused: Fused, is_first: bool, is_last: bool) -> None:
    """Append what ``fused`` becomes, with the requantisations that its inputs need."""
    inputs = [build.alias[name] for name in fused.root.inputs]
    match role(fused.root):
        case "input":
            name = build.put(fused.root, build.formats.of_input(), fused.root.name)
        case "add":
            name = _add(build, fused, inputs)
        case "norm":
            draft = norm_draft(fused, inputs[0], build.format(inputs[0]))
            name = build.put_draft(draft, build.formats.behind(fused), fused)
        case "layer":
            name = _layer(build, fused, inputs[0], is_first, is_first or is_last)
        case "join":
            name = _concat(build, fused, inputs)
        case _:
            name = _moved(build, fused, inputs)
    build.alias[fused.end] = name


def _moved(build: _Build, fused: Fused, inputs: list[str]) -> str:
    """An operation that selects or moves codes, or sums them exactly."""
    root = fused.root
    shape = build.tensors[inputs[0]].shape
    form = OPS[root.kind].out_format(root, build.format(inputs[0]), shape)
    return build.put(replace(root, inputs=tuple(inputs)), form, fused.end)


def _layer(build: _Build, fused: Fused, source: str, first: bool, end: bool) -> str:
    choices, name = build.choices, fused.root.name
    multiplier = OPS[fused.root.kind].array == "multiplier"
    needed, weight_bits = build.formats.input_bits(fused.root), choices.weights(name)
    if end and multiplier:
        weight_bits = choices.layer_bits.get(name, END_BITS)
    if is_group(fused.root):
        source = _narrow_group(build, fused.root, source, needed)
    elif build.format(source).bits > needed and not (first and multiplier):
        source = _narrow(build, source, fused.root.inputs[0], needed)
    x = build.format(source)
    draft = layer_draft(fused, source, x, weight_bits if multiplier else min(weight_bits, x.bits), choices)
    return build.put_draft(draft, build.formats.behind(fused), fused)


def _edge(fused: Fused, form: EdgeFormat, product_bits: int) -> EdgeFormat:
    """Return the format behind an output stage: ``form``, or p's where an addition finishes it."""
    if not fused.partial:
        return form
    return EdgeFormat(product_bits, True, form.step, form.zero_point if fused.adds_zero else 0)


def _narrow(build: _Build, source: str, float_edge: str, bits: int) -> str:
    """Return an edge of ``bits`` bits that stands for ``source``, made once."""
    name = f"{source}.{bits}bit"
    if name not in build.tensors:
        x = build.format(source)
        form = build.formats.narrow(float_edge, x, bits)
        build.put(narrow_node(name, source, x, form, build.choices), form, float_edge)
    return name


def _narrow_group(build: _Build, layer: Node, source: str, bits: int) -> str:
    """Return an edge of ``bits`` bits that stands for ``source``, in the step of one group of output channels."""
    x, edge = build.format(source), layer.inputs[0]
    if x.bits <= bits:
        raise InputError(
            f"layer {whole_of(layer)!r}: its groups requantise inputs to {bits} bits, which takes an edge of more than "
            f"{x.bits}: give residual_bits above {bits} (the network's input has {INPUT_BITS})"
        )
    form = build.formats.of_group(layer, edge, x)
    return build.put(narrow_node(f"{layer.name}.input", source, x, form, build.choices), form, edge)


def _add(build: _Build, fused: Fused, inputs: list[str]) -> str:
    form = build.formats.behind(fused)
    branches = []
    for i, name in enumerate(inputs):
        if build.node(name).unrounded:
            branches.append(_rescaled(build, name, form))
            continue
        own = replace(form, zero_point=form.zero_point if i == 0 else 0)
        branch = identity_node(f"{fused.root.name}.identity{i}", name, build.format(name), own, build.choices)
        wide = EdgeFormat(branch.output_stage.product.bits, True, form.step, own.zero_point)
        branches.append(build.put(branch, wide, fused.root.inputs[i]))
    products = [build.node(name) for name in branches]
    return build.put(add_node(fused, products), form, fused.end)


def _rescaled(build: _Build, name: str, form: EdgeFormat) -> str:
    assert build.format(name).step == form.step, "a partial layer is scaled for the addition that reads it"
    return name


def _concat(build: _Build, fused: Fused, inputs: list[str]) -> str:
    """All inputs take the format that the concatenated edge would have; those that it alone reads have it already."""
    form = build.formats.behind(fused)
    sources = []
    for i, name in enumerate(inputs):
        if build.format(name) != form:
            narrow = narrow_node(f"{fused.root.name}.input{i}", name, build.format(name), form, build.choices)
            name = build.put(narrow, form, fused.root.inputs[i])
        sources.append(name)
    return build.put(replace(fused.root, inputs=tuple(sources)), form, fused.end)
