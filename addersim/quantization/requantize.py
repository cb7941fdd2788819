"""requantise: the integers of a quantised network anew, from changed float parameters and steps.

What quantisation-aware training does before every step, by the functions that :func:`addersim.quantize` calls.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from addersim.network.node import EdgeFormat, Node, Tensor
from addersim.network.ops import OPS
from addersim.network.quantized import QuantizedNetwork
from addersim.quantization.fuse import Fused, role
from addersim.quantization.layer_integers import (
    Draft,
    Reals,
    add_node,
    finished,
    identity_node,
    layer_draft,
    narrow_node,
    norm_draft,
)
from addersim.quantization.settings import Quantization


class Layout(NamedTuple):
    """What stays of a quantised network while its numbers change.

    Attributes
    ----------
    qnet
        The network whose nodes and edges are kept.
    formats
        The format in which each edge is rounded; for a branch of an addition, the addition's.
    choices
        With what it was quantised.
    """

    qnet: QuantizedNetwork
    formats: Mapping[str, EdgeFormat]
    choices: Quantization


def layout(qnet: QuantizedNetwork, choices: Quantization) -> Layout:
    """Return what stays of ``qnet``, which :func:`addersim.quantize` made with ``choices``."""
    formats = {node.name: _rounded(qnet, node) for node in qnet.nodes}
    return Layout(qnet, formats, choices)


def _rounded(qnet: QuantizedNetwork, node: Node) -> EdgeFormat:
    return qnet.format(qnet.consumers(node.name)[0].name if node.unrounded else node.name)


def requantise(plan: Layout, parts: Mapping[str, Fused]) -> QuantizedNetwork:
    """Return the network with integers from ``parts``, and the formats and widths of ``plan``.

    Parameters
    ----------
    plan
        From :func:`layout`, or with other steps in its formats.
    parts
        What each layer, addition and lone batch norm is made from, by its root's name:
        :func:`addersim.quantization.fuse.fuse` of the float network with the parameters of the moment.

    Raises
    ------
    InputError
        If a gain or an offset is not finite, or a gain needs too wide a multiplier.
    """
    nodes: dict[str, Node] = {}
    tensors: dict[str, Tensor] = {}
    for old in plan.qnet.nodes:
        new, form = renewed(plan, parts, old, nodes, tensors)
        float_edge = old.attrs["float_edge"]
        nodes[old.name] = replace(new, attrs={**new.attrs, "float_edge": float_edge})
        tensors[old.name] = Tensor(plan.qnet.tensors[old.name].shape, form)
    return QuantizedNetwork(plan.qnet.name, tuple(nodes.values()), tensors)


def renewed(
    plan: Layout, parts: Mapping[str, Fused], old: Node, nodes: Mapping[str, Node], tensors: Mapping[str, Tensor]
) -> tuple[Node, EdgeFormat]:
    """Return one node of :func:`requantise` and its edge's format, after what it reads."""
    form = plan.formats[old.name]
    if role(old) == "add":
        return add_node(parts[old.name], [nodes[name] for name in old.inputs]), form
    if old.stage is None:
        return old, form if role(old) in ("input", "join") else _moved(old, tensors[old.inputs[0]])
    # The zero point of an addition's output comes in with its first branch.
    first = not old.unrounded or plan.qnet.consumers(old.name)[0].inputs[0] == old.name
    out = replace(form, zero_point=form.zero_point if first else 0)
    new = _staged(plan, old, parts.get(old.name), tensors[old.inputs[0]].integers, form, out)
    return new, replace(out, bits=new.output_stage.product.bits, signed=True) if new.unrounded else form


def _staged(plan: Layout, old: Node, part: Fused | None, x: EdgeFormat, form: EdgeFormat, out: EdgeFormat) -> Node:
    """Return a node with an output stage anew, from what it is made of, or between two edges."""
    if part is not None:
        return finished(draft(old, part, x, plan.choices), form, plan.choices, part)
    make = identity_node if old.unrounded else narrow_node
    return make(old.name, old.inputs[0], x, out, plan.choices)


def _moved(old: Node, source: Tensor) -> EdgeFormat:
    return OPS[old.kind].out_format(old, source.integers, source.shape)


def draft(old: Node, part: Fused, x: EdgeFormat, choices: Quantization) -> Draft:
    """Return a layer or lone batch norm as integers but for its output stage, in the widths of ``old``."""
    if old.datapath is None:
        return norm_draft(part, old.inputs[0], x)
    return layer_draft(part, old.inputs[0], x, old.datapath.w.bits, choices)


def absorbed(plan: Layout, parts: Mapping[str, Fused]) -> dict[str, Fused]:
    """Return ``parts`` with batch norms that make the output stages of ``plan.qnet``: its correction, in float.

    Gains and offsets are those of the integers, ``M_k / 2**n_k`` and ``A_k / 2**n_k``. Layers without a batch norm
    stay as they are.
    """
    return {name: _absorbed(plan, plan.qnet.node(name), part) for name, part in parts.items()}


def _absorbed(plan: Layout, node: Node, part: Fused) -> Fused:
    norm = part.batch_norm
    if norm is None or node.stage is None:
        return part
    form = plan.formats[node.name]
    plain = draft(node, part, plan.qnet.format(node.inputs[0]), plan.choices)
    p = {key: np.asarray(value, np.float64) for key, value in node.params.items() if key != "w_krsc"}
    unit_k = form.step / 2.0 ** p["shift_k"]
    gain_k, zero = p["multiplier_k"] * unit_k, form.zero_point if part.adds_zero else 0
    ratio_k = np.where(plain.gain_k != 0, gain_k / np.where(plain.gain_k != 0, plain.gain_k, 1.0), 1.0)
    offset_k = p["offset_k"] * unit_k - zero * form.step
    return _with_norm(part, norm, ratio_k, offset_k, plain.offset_k)


def _with_norm(part: Fused, norm: Node, ratio_k: Reals, offset_k: Reals, plain_k: Reals) -> Fused:
    """Return a part whose output stage has ``ratio_k`` times the gain and offset ``offset_k`` instead of ``plain_k``.

    What an offset holds beside beta is proportional to the gain.
    """
    p = {key: np.asarray(norm.params[key], np.float64) for key in ("gamma_k", "beta_k")}
    new = {"gamma_k": p["gamma_k"] * ratio_k, "beta_k": offset_k - ratio_k * (plain_k - p["beta_k"])}
    params = {**norm.params, **{key: value.astype(np.float32) for key, value in new.items()}}
    norm = replace(norm, params=params)
    return replace(part, norm=norm) if part.norm is not None else replace(part, root=norm)
