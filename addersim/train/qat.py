"""IntegerModule: a torch module whose forward pass is the integer simulator, for quantisation-aware training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from addersim.choices import Choices
from addersim.errors import InputError
from addersim.fixed import Ints
from addersim.fuse import Fused, fuse
from addersim.importer import from_torch
from addersim.kernels import native
from addersim.network import EdgeFormat, Node
from addersim.ops import OPS
from addersim.quantize import quantize
from addersim.quantized import QuantizedNetwork
from addersim.requantise import Layout, absorbed, is_partial, layout, requantise
from addersim.train.integer_gradients import Layer, Replace, Round, Stage, channels, moved, real

NAMES = {
    "w_krsc": "weight",
    "bias_k": "bias",
    "gamma_k": "weight",
    "beta_k": "bias",
    "mean_k": "running_mean",
    "var_k": "running_var",
}


class IntegerModule(nn.Module):
    """A float module, executed on integers: :meth:`forward` runs the kernels that :func:`addersim.simulate` runs.

    In every call the parameters of ``module`` become integers by the functions of :func:`addersim.quantize` (weights,
    B_k, M_k, A_k, n_k), and every node runs on integers. The result is ``code * step`` of the output edge. The
    backward pass gives the float layers' gradients at the values that the integers stand for, straight through the
    roundings, and zero outside the clamps: :mod:`addersim.train.integer_gradients`. Batch norms keep their running
    statistics, in training too: what they make of mean and variance is in the integers.

    Parameters
    ----------
    module
        Every layer with parameters must be a module of its own. Its gammas and betas are changed to those of the
        correction, if ``settings`` name one.
    images
        Calibration images, N C H W, training images only. They decide all widths and steps.
    learned_steps
        Make the steps of rounded edges parameters, ``steps``; powers of two, the input's and the output's stay.
    **settings
        Those of :func:`addersim.quantize`.

    Raises
    ------
    InputError
        As :func:`addersim.from_torch` and :func:`addersim.quantize` do, or if a layer's parameters are not those of a
        module of its name.

    Examples
    --------
    >>> import addersim, torch
    >>> from addersim.nn import load_checkpoint
    >>> images, _ = addersim.sample("fashion_sample", limit=4)
    >>> module = IntegerModule(load_checkpoint("lenet5_adder"), images, bits=4)
    >>> trace = addersim.simulate(module.export(), images)
    >>> logits = module(torch.from_numpy(images)).numpy(force=True)
    >>> bool((np.rint(logits / trace.logits_format.step) == trace.logits_int).all())
    True
    """

    module: nn.Module

    def __init__(self, module: nn.Module, images: Any, *, learned_steps: bool = False, **settings: Any) -> None:
        super().__init__()
        self.module = module
        network = from_torch(module, images[:1], name=type(module).__name__)
        qnet = quantize(network, images, **settings)
        self._plan = layout(qnet, Choices(**settings))
        self._parts = {part.root.name: part for part in fuse(network)}
        self._tensors = {node.name: _tensors(module, node) for node in network.nodes if node.params}
        self._steps = {name: _step(self._plan.formats[name].step) for name in _learnable(self._plan) if learned_steps}
        self.steps = nn.ParameterDict({name.replace(".", "/"): step for name, step in self._steps.items()})
        self._absorb()

    def _absorb(self) -> None:
        """Let the module's batch norms make the output stages that calibration's correction found."""
        for part in absorbed(self._plan, self._parts).values():
            norm = part.norm or part.root
            if norm.kind != "batch_norm":
                continue
            for key in ("gamma_k", "beta_k"):
                tensor = self._tensors[norm.name].get(key)
                if isinstance(tensor, nn.Parameter):
                    tensor.data.copy_(torch.from_numpy(norm.params[key]))

    def export(self) -> QuantizedNetwork:
        """Return the network of integers that the parameters of the moment make."""
        return self._requantised().qnet

    def _requantised(self) -> Layout:
        """Return the integers of the moment and the formats in which their edges are rounded."""
        formats = dict(self._plan.formats)
        for name in formats:
            if (step := self._steps.get(name)) is not None:
                formats[name] = replace(formats[name], step=float(step.detach()))
        plan = self._plan._replace(formats=formats)
        return plan._replace(qnet=requantise(plan, {name: self._fresh(part) for name, part in self._parts.items()}))

    def _fresh(self, part: Fused) -> Fused:
        """Return a part with the parameters of the moment."""
        root, norm = (node and replace(node, params=self._arrays(node)) for node in (part.root, part.norm))
        assert root is not None
        return replace(part, root=root, norm=norm)

    def _arrays(self, node: Node) -> dict[str, NDArray[Any]]:
        arrays = {key: array(key, value) for key, value in self._tensors.get(node.name, {}).items()}
        for key, values in arrays.items():
            if not np.isfinite(values).all():
                raise InputError(f"layer {node.name!r}: its {NAMES[key]} is not finite; lower the learning rate")
        return arrays

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits, integers times their step, in float32."""
        plan = self._requantised()
        qnet, formats = plan.qnet, plan.formats
        first, last = qnet.nodes[0].name, qnet.nodes[-1].name
        codes, _ = native.quantise(
            images.numpy(force=True), formats[first].step, formats[first].zero_point, formats[first].format
        )
        integers: dict[str, Ints] = {first: codes}
        edges = {first: Edge(real(codes, formats[first]), _constant(formats[first].step), formats[first])}
        for node in qnet.nodes[1:]:
            integers[node.name] = run(qnet, node, [integers[name] for name in node.inputs])
            if torch.is_grad_enabled():
                edges[node.name] = self._edge(plan, node, integers, [edges[name] for name in node.inputs])
        return edges[last].value if last in edges else real(integers[last], formats[last])

    def _edge(self, plan: Layout, node: Node, integers: Mapping[str, Ints], sources: Sequence[Edge]) -> Edge:
        """Return what the codes of a node's edge stand for, with its gradient; r where an addition finishes it."""
        form, y, xs = plan.formats[node.name], integers[node.name], [source.value for source in sources]
        if node.stage is None:
            form = _format(plan.qnet, node.name)  # pooling changes the step
            value: Tensor = Replace.apply(moved(node, *xs), real(y, form))  # type: ignore[no-untyped-call]
            return Edge(value, sources[0].step * (form.step / sources[0].form.step), form)
        r = xs[0] + xs[1] if node.kind == "add" else self._before_rounding(plan, node, integers, sources[0])
        step = self._steps.get(node.name, _constant(form.step))
        if is_partial(node):
            return Edge(r, step, form)
        low = form.zero_point if node.stage.relu else form.format.min
        return Edge(Round.apply(r, step, real(y, form), form, low), step, form)  # type: ignore[no-untyped-call]

    def _before_rounding(self, plan: Layout, node: Node, integers: Mapping[str, Ints], source: Edge) -> Tensor:
        """Return r of a layer or a scale node."""
        part = self._parts.get(node.name)
        layer = Layer(node, source.form, plan.formats[node.name], norm=part is not None and part.norm is not None)
        if part is None:
            return layer.scaled(source.value)
        gain_k, offset_k = self._stage(part)
        if node.kind == "scale":
            zero = layer.out.zero_point if part.adds_zero else 0
            y = source.value * channels(gain_k, source.value) + channels(offset_k, source.value)
            return y / layer.out.step + zero
        assert node.stage is not None
        unfinished = replace(node, stage=replace(node.stage, finish=False))
        partial = is_partial(node)
        p = integers[node.name] if partial else run(plan.qnet, unfinished, [integers[node.inputs[0]]])
        weight, r = self._tensors[node.name]["w_krsc"], layer.before_rounding(p)
        stage: Tensor = Stage.apply(source.value, weight, gain_k, offset_k, source.step, r, layer)  # type: ignore[no-untyped-call]
        return stage

    def _stage(self, part: Fused) -> tuple[Tensor, Tensor]:
        """Return gain and offset of a layer's output stage in real numbers, differentiable."""
        root, norm = part.root, part.norm or (part.root if part.root.kind == "batch_norm" else None)
        bias = self._tensors[root.name].get("bias_k")
        bias = _constant(0.0) if bias is None else bias
        if norm is None:
            return torch.ones(len(root.params["w_krsc"])), bias.expand(len(root.params["w_krsc"]))
        gamma, beta, mean, var = (self._tensors[norm.name][key] for key in ("gamma_k", "beta_k", "mean_k", "var_k"))
        gain = torch.where(var == 0, 0, gamma / torch.sqrt(var + norm.attrs["eps"]))
        if OPS[root.kind].array == "adder":  # its bias is in B_k, which is subtracted before the gain
            return gain, beta + gain.detach() * (bias - bias.detach())
        return gain, beta - gain * (mean - bias)


class Edge(NamedTuple):
    """An edge's values with their gradient, its step as a parameter if it is one, and its format.

    In front of an addition ``value`` is r in the addition's codes, and ``form`` is the addition's.
    """

    value: Tensor
    step: Tensor
    form: EdgeFormat


def run(qnet: QuantizedNetwork, node: Node, xs: Sequence[Ints]) -> Ints:
    """Return the integers of a node's edge by the simulator's kernels."""
    formats = tuple(_format(qnet, name) for name in (*node.inputs, node.name))
    return OPS[node.kind].prepared(node, formats, native)(*xs)[0]


def _format(qnet: QuantizedNetwork, name: str) -> EdgeFormat:
    form = qnet.tensors[name].format
    assert form is not None
    return form


def _learnable(plan: Layout) -> list[str]:
    """Return the rounded edges whose steps can be learned: somebody computes with them, and they are not tied."""
    tied = plan.choices.output_stage != "multiplier_shift"
    found = []
    for name in [node.name for node in plan.qnet.nodes if node.stage is not None and node.stage.finish]:
        kinds = [node.kind for node in _readers(plan.qnet, name)]
        power_of_two = math.frexp(plan.formats[name].step)[0] == 0.5
        if kinds and "concat" not in kinds and not (tied and power_of_two):
            found.append(name)
    return found


def _readers(qnet: QuantizedNetwork, name: str) -> list[Node]:
    """Return the nodes that compute with an edge, behind those that move its codes; concatenations too."""
    found = []
    for node in qnet.consumers(name):
        found += [node] if node.stage is not None or node.kind == "concat" else _readers(qnet, node.name)
    return found


def _step(value: float) -> nn.Parameter:
    return nn.Parameter(torch.tensor(value, dtype=torch.float64))


def _constant(value: float) -> Tensor:
    return torch.tensor(value)


def _tensors(module: nn.Module, node: Node) -> dict[str, Tensor]:
    """Return the tensors of the module from which a float node has its parameters; constants where it has none.

    Raises
    ------
    InputError
        If the node has weights and the module of its name has others.
    """
    owner = _owner(module, node.name)
    found: dict[str, Tensor] = {}
    for key, wanted in node.params.items():
        tensor = getattr(owner, NAMES[key], None)
        if not isinstance(tensor, Tensor) or array(key, tensor).shape != wanted.shape:
            tensor = None if key in ("w_krsc", "bias_k") else torch.from_numpy(np.array(wanted))
        if tensor is None or not np.array_equal(array(key, tensor), wanted):
            raise InputError(f"layer {node.name!r}: its {NAMES[key]} is not that of a module of that name")
        found[key] = tensor
    return found


def _owner(module: nn.Module, name: str) -> nn.Module:
    """Return the module that made a node: nodes are called as modules, or, where one makes several, qualify that."""
    modules = dict(module.named_modules())
    return modules.get(name) or modules.get(name.rpartition(".")[0]) or module


def array(key: str, value: Tensor) -> NDArray[np.float32]:
    """Return a parameter as the network holds it."""
    values = value.detach().to(torch.float32).numpy()
    if key != "w_krsc":
        return values
    return np.ascontiguousarray(values.transpose(0, 2, 3, 1) if values.ndim == 4 else values[:, None, None, :])
