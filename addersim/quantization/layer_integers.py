"""The quantised nodes: integer weights, biases, multipliers and shifts, and registers that hold them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from addersim.arithmetic.datapath import Datapath, Kind, exact_datapath
from addersim.arithmetic.fixed import IntFormat, Ints, format_for
from addersim.arithmetic.output_stage import OutputStage
from addersim.errors import InputError
from addersim.network.node import EdgeFormat, Node
from addersim.network.ops import OPS
from addersim.quantization.fuse import Fused
from addersim.quantization.gains import encode_gains

if TYPE_CHECKING:
    from addersim.quantization.settings import Quantization

Reals = NDArray[np.float64]
Extremes = tuple[Ints, Ints]


@dataclass(frozen=True, eq=False)
class Draft:
    """A node whose output stage is still in real numbers: ``y = gain_k * t + offset_k`` with ``t = acc - B_k``.

    Attributes
    ----------
    node
        The node with its weights, ``bias_k`` and datapath, and without a stage.
    centred
        Least and largest t per channel.
    gain_k, offset_k
        In the units of the float network; :func:`finished` makes M_k, A_k and n_k of them.
    """

    node: Node
    centred: Extremes
    gain_k: Reals
    offset_k: Reals


def layer_draft(fused: Fused, source: str, x: EdgeFormat, weight_bits: int, choices: Quantization) -> Draft:
    """Return the integer weights and biases of a layer, and the gains of its batch norm.

    An adder layer's weights take the input's step (times ``2**weight_shift`` where they have fewer bits) and zero
    point, ``bias_k`` holds ``B_k = round((mean_k - bias_k + sum |w - w'|) / s)``. A multiplier layer's batch norm is
    folded into its weights, each output channel has its own step, and ``bias_k`` is ``z * sum(w)``.
    """
    root = fused.root
    norm = batch_norm(fused)
    if OPS[root.kind].array == "adder":
        shift = x.bits - weight_bits
        w_krsc, w_form = adder_weights(root, x, shift), IntFormat(weight_bits, x.signed)
        step_k, (low_k, high_k) = np.full(len(w_krsc), x.step), _adder_extremes(w_krsc << shift, x.format)
        lost_k = (
            np.abs(root.params["w_krsc"] - np.clip(root.params["w_krsc"], *x.range)).astype(np.float64).sum((1, 2, 3))
        )
        exact_k = (norm["mean"] + lost_k) / step_k
        bias_k, gain_k = np.rint(exact_k).astype(np.int64), norm["gain"] * step_k
        offset_k = norm["beta"] + gain_k * (bias_k - exact_k)  # what B_k's rounding leaves is A_k's
    else:
        shift = 0
        folded = root.params["w_krsc"].astype(np.float64) * norm["gain"][:, None, None, None]
        w_krsc, w_form, step_k, low_k, high_k = _multiplier_weights(folded, x, weight_bits)
        bias_k = x.zero_point * w_krsc.sum((1, 2, 3))
        gain_k, offset_k = step_k, norm["beta"] - norm["gain"] * norm["mean"]
    dead = norm["gain"] == 0
    gain_k, bias_k = np.where(dead, 0.0, gain_k), np.where(dead, 0, bias_k)
    datapath = _datapath(root, x.format, w_form, w_krsc, shift, choices)
    params = {"w_krsc": w_krsc.astype(np.int16 if w_form.max < 1 << 15 else np.int32), "bias_k": bias_k}
    node = Node(root.name, root.kind, (source,), root.attrs, params, datapath)
    return Draft(node, (low_k - bias_k, high_k - bias_k), gain_k, offset_k)


def norm_draft(fused: Fused, source: str, x: EdgeFormat) -> Draft:
    """Return the scale node of a batch norm that stands alone."""
    norm = batch_norm(fused)
    offset_k = norm["beta"] - norm["gain"] * norm["mean"]
    return _scale_draft(fused.root.name, source, x, norm["gain"], offset_k)


def finished(draft: Draft, out: EdgeFormat, choices: Quantization, fused: Fused | None = None) -> Node:
    """Return the node with its output stage on integers: ``M_k / 2**n_k ~ gain_k / s_out``, A_k, and their registers.

    Raises
    ------
    InputError
        If a gain or an offset is not finite, or a gain needs too wide a multiplier.
    """
    node = draft.node
    stage, params = _stage(node.name, draft.centred, draft.gain_k / out.step, draft.offset_k, out, choices, fused)
    return replace(node, stage=stage, params={**node.params, **params})


def narrow_node(name: str, source: str, x: EdgeFormat, out: EdgeFormat, choices: Quantization) -> Node:
    """Return the scale node that brings an edge to another step and width."""
    return finished(_scale_draft(name, source, x, np.ones(1), np.zeros(1)), out, choices)


def identity_node(name: str, source: str, x: EdgeFormat, out: EdgeFormat, choices: Quantization) -> Node:
    """Return the scale node of an identity branch, which leaves the rounding to the addition.

    The zero point of ``out`` goes into the branch's offset; give it to one of the two branches only.
    """
    node = narrow_node(name, source, x, out, choices)
    return replace(node, stage=replace(node.output_stage, finish=False))


def add_node(fused: Fused, branches: Sequence[Node]) -> Node:
    """Return the addition of two products, with a register that holds their aligned sum."""
    a, b = branches
    shifts = [branch.params["shift_k"] for branch in branches]
    channels = max(len(s) for s in shifts)
    shift_a, shift_b = (np.broadcast_to(s, (channels,)).copy() for s in shifts)
    shift = np.maximum(shift_a, shift_b)
    reach = (1 << (a.output_stage.product.bits - 1 + int((shift - shift_a).max()))) + (
        1 << (b.output_stage.product.bits - 1 + int((shift - shift_b).max()))
    )
    product = format_for(-reach, reach)
    stage = replace(a.output_stage, product=product, centred=product, finish=True, relu=fused.relu)
    params = {"shift_a_k": shift_a, "shift_b_k": shift_b, "shift_k": shift}
    return Node(fused.root.name, fused.root.kind, (a.name, b.name), {}, params, None, stage)


def _scale_draft(name: str, source: str, x: EdgeFormat, gain_k: Reals, offset_k: Reals) -> Draft:
    bias_k = np.where(gain_k == 0, 0, x.zero_point).astype(np.int64)
    extremes = np.full_like(bias_k, x.format.min) - bias_k, np.full_like(bias_k, x.format.max) - bias_k
    return Draft(Node(name, "scale", (source,), {}, {"bias_k": bias_k}), extremes, gain_k * x.step, offset_k)


def batch_norm(fused: Fused) -> Mapping[str, Reals]:
    """Return mean (less the layer's bias), gain = gamma / sigma and beta of a layer's batch norm, in float64.

    Without batch norm gain = 1, mean = 0, beta = the layer's bias.
    """
    root = fused.root
    source = fused.batch_norm
    K = len(root.params["w_krsc"]) if "w_krsc" in root.params else len(root.params["gamma_k"])
    bias = np.asarray(root.params.get("bias_k", np.zeros(K)), np.float64)
    if source is None:
        return {"mean": np.zeros(K), "gain": np.ones(K), "beta": bias}
    p = {key: np.asarray(value, np.float64) for key, value in source.params.items()}
    sigma = np.sqrt(p["var_k"] + source.attrs["eps"])
    gain = np.where(p["var_k"] == 0, 0.0, p["gamma_k"] / sigma)
    # Zero variance: the channel is constant, so its input equals its mean and only beta is left.
    return {"mean": p["mean_k"] - bias, "gain": gain, "beta": p["beta_k"]}


def adder_weights(root: Node, x: EdgeFormat, shift: int) -> Ints:
    """Return the codes of an adder layer's weights; c stands for the input code ``c << shift``."""
    form = IntFormat(x.bits - shift, x.signed)
    codes = np.rint((root.params["w_krsc"].astype(np.float64) / x.step + x.zero_point) / (1 << shift))
    return np.clip(codes, form.min, form.max).astype(np.int64)


def _adder_extremes(w_krsc: Ints, x: IntFormat) -> Extremes:
    """Return the least and the largest accumulator per channel, for weights as input codes."""
    reach_k = np.maximum(np.abs(w_krsc - x.min), np.abs(x.max - w_krsc)).sum((1, 2, 3))
    return -reach_k, np.zeros_like(reach_k)


def _multiplier_weights(w: Reals, x: EdgeFormat, bits: int) -> tuple[Ints, IntFormat, Reals, Ints, Ints]:
    """Return symmetric codes per output channel, their format, the steps, and the accumulator's extremes."""
    largest = (1 << (bits - 1)) - 1
    magnitude_k = np.abs(w).max((1, 2, 3))
    step_k = np.where(magnitude_k > 0, magnitude_k / largest, 1.0)
    w_krsc = np.rint(w / step_k[:, None, None, None]).astype(np.int64)
    products = w_krsc * x.format.min, w_krsc * x.format.max
    low_k, high_k = np.minimum(*products).sum((1, 2, 3)), np.maximum(*products).sum((1, 2, 3))
    return w_krsc, IntFormat(bits, signed=True), step_k * x.step, low_k, high_k


def _datapath(root: Node, x: IntFormat, w: IntFormat, w_krsc: Ints, shift: int, choices: Quantization) -> Datapath:
    kind: Kind = "adder" if OPS[root.kind].array == "adder" else "multiplier"
    if choices.datapath is not None and kind == "adder":
        return replace(choices.datapath, x=x, w=w, weight_shift=shift)
    return exact_datapath(kind, x, w, int(np.prod(w_krsc.shape[1:])), weight_shift=shift)


def _stage(
    name: str,
    centred: Extremes,
    gain_k: Reals,
    offset_k: Reals,
    out: EdgeFormat,
    choices: Quantization,
    fused: Fused | None,
) -> tuple[OutputStage, dict[str, Any]]:
    """Return the output stage and its M_k, A_k, n_k; t and p get the narrowest registers that hold them."""
    if not np.isfinite(offset_k).all():
        raise InputError(f"layer {name!r}: the offset of its output stage is not finite")
    multiplier_k, shift_k = encode_gains(gain_k, choices.output_stage, choices.multiplier_bits, name)
    if fused is not None and fused.batch_norm is None:
        _check_lost(name, gain_k, multiplier_k)
    zero = out.zero_point if fused is None or fused.adds_zero else 0
    offset = np.rint(offset_k / out.step * 2.0**shift_k).astype(np.int64) + (zero << shift_k)
    corners = np.stack([centred[0] * multiplier_k, centred[1] * multiplier_k]) + offset
    half = 1 << max(int(shift_k.max()) - 1, 0)  # the rounding constant passes through the same register
    stage = OutputStage(
        centred=format_for(int(centred[0].min()), int(centred[1].max()), signed=True),
        product=format_for(int(corners.min()), int(corners.max()) + half, signed=True),
        multiplier_bits=max(choices.multiplier_bits, int(np.abs(multiplier_k).max()).bit_length()),
        finish=fused is None or not fused.partial,
        relu=fused is not None and fused.relu,
        style=choices.output_stage,
    )
    return stage, {"multiplier_k": multiplier_k, "offset_k": offset, "shift_k": shift_k}


def _check_lost(name: str, gain_k: Reals, multiplier_k: Ints) -> None:
    """Raise InputError where a gain that is not 0 has become 0."""
    lost = (multiplier_k == 0) & (gain_k != 0)
    if lost.any():
        raise InputError(
            f"layer {name!r}: without a batch norm its input's and its output's step cannot be aligned: "
            f"their ratio is {float(np.abs(gain_k[lost]).max()):.3g}, below 2**-32"
        )
