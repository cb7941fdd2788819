"""IntegerModule: a torch module whose forward pass is the integer simulator, for quantisation-aware training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from addersim.arithmetic.fixed import Ints
from addersim.errors import InputError
from addersim.network.graph import Network
from addersim.network.node import EdgeFormat, Node
from addersim.network.ops import OPS
from addersim.network.quantized import QuantizedNetwork
from addersim.network.torch_import import from_torch
from addersim.quantization.channel_groups import cut_like, whole_of
from addersim.quantization.fuse import Fused, fuse, role
from addersim.quantization.quantize import quantize
from addersim.quantization.requantize import Layout, absorbed, layout, requantise
from addersim.quantization.settings import settings_of
from addersim.train.integer_gradients import Layer, Replace, Round, Stage, channels, real
from addersim.train.integer_pass import Pass
from addersim.train.learned_steps import learnable, logarithm
from addersim.train.parameters import NAMES, array, owner, tensors_of

MOMENTUM = {"batch": 0.1, "running": 0.02}  # of the running statistics


class IntegerModule(nn.Module):
    """A float module, executed on integers: :meth:`forward` runs the kernels that :func:`addersim.simulate` runs.

    In every call the parameters of ``module`` become integers by the functions of :func:`addersim.quantize` (weights,
    B_k, M_k, A_k, n_k), and every node runs on integers. The result is ``code * step`` of the output edge. The
    backward pass gives the float layers' gradients at the values that the integers stand for, straight through the
    roundings, and zero outside the clamps: :mod:`addersim.train.integer_gradients`.

    Batch norms of adder layers take mean and variance from the batch in training (see ``statistics``), and move the
    running ones, as anywhere: the distances' means follow every weight, and statistics that stay are wrong by more than
    sigma after a few steps. Both are integers' statistics, and what they make is in the integers. In evaluation, and in
    batch norms of multiplier layers always, the running ones count. ``executed`` is the network that the latest call
    ran, ``outputs`` what the outputs of its residual blocks, ``blocks``, stood for, with their gradients.

    Parameters
    ----------
    module
        Every layer with parameters must be a module of its own. Its gammas and betas are changed to those of the
        correction, if ``settings`` name one, and its running statistics to those of the integers.
    images
        Calibration images, N C H W, training images only. They decide all widths and steps.
    gradient
        ``"adder"``: the published layers' gradients, ``w - x`` clipped to -1 .. 1 for the inputs, ``x - w`` for the
        weights. ``"sign"``: the derivative itself, the sign of the codes' difference for both. The former carries a
        network through training from scratch; for one that is trained already it is no direction of descent in the
        layers far from the loss, where it is a hundred times too long.
    statistics
        Which mean and variance batch norms of adder layers take in training: those of the batch, or the running ones,
        which move by 2 % in every batch. The latter is batch renormalisation (Ioffe, NeurIPS 2017): what training and
        evaluation compute is the same, while the gradient takes the statistics as the batch's. ``"fixed"`` ones stay as
        they are, which suits gains of one power of two: a mean or variance that moves makes such a gain jump.
    learned_steps
        Make the steps of rounded edges parameters: ``steps`` holds their logarithms. Powers of two, the input's and
        the output's stay.
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
    >>> module = IntegerModule(load_checkpoint("lenet5_adder"), images, bits=4).eval()
    >>> trace = addersim.simulate(module.export(), images)
    >>> logits = module(torch.from_numpy(images)).numpy(force=True)
    >>> bool((np.rint(logits / trace.logits_format.step) == trace.logits_int).all())
    True
    """

    module: nn.Module

    def __init__(
        self,
        module: nn.Module,
        images: Any,
        *,
        learned_steps: bool = False,
        gradient: str = "adder",
        statistics: str = "batch",
        **settings: Any,
    ) -> None:
        super().__init__()
        self.module, self.gradient, self.statistics = module, gradient, statistics
        self.outputs: dict[str, Tensor] = {}
        network = _network(module, images[:1])
        qnet = quantize(network, images, **settings)
        network = cut_like(network, qnet)
        self._plan = layout(qnet, settings_of(settings))
        self._parts = {part.root.name: part for part in fuse(network)}
        self._tensors = {node.name: tensors_of(module, node) for node in network.nodes if node.params}
        self._steps = {
            name: logarithm(self._plan.formats[name].step) for name in learnable(self._plan) if learned_steps
        }
        self.steps = nn.ParameterDict({name.replace(".", "/"): step for name, step in self._steps.items()})
        self._absorb()
        self.centre(np.asarray(images))
        self.executed = qnet
        self.blocks = _blocks(module, qnet)

    def _absorb(self) -> None:
        """Let the module's batch norms make the output stages that calibration's correction found."""
        for part in absorbed(self._plan, self._parts).values():
            norm = part.batch_norm
            if norm is None:
                continue
            for key in ("gamma_k", "beta_k"):
                owned = self._tensors[norm.name].get(key)
                if owned is not None and isinstance(owned.tensor, nn.Parameter):
                    owned.own.data.copy_(torch.from_numpy(norm.params[key]))

    def export(self) -> QuantizedNetwork:
        """Return the network of integers that the parameters of the moment make, and the running statistics."""
        return requantise(*self._moment())

    def _moment(self) -> tuple[Layout, dict[str, Fused]]:
        """Return the formats and the float parameters of the moment."""
        formats = dict(self._plan.formats)
        for name, step in self._steps.items():
            formats[name] = replace(formats[name], step=math.exp(step.item()))
        return self._plan._replace(formats=formats), {name: self._fresh(part) for name, part in self._parts.items()}

    def _fresh(self, part: Fused) -> Fused:
        fresh = replace(part, root=replace(part.root, params=self._arrays(part.root)))
        return fresh if part.norm is None else replace(fresh, norm=replace(part.norm, params=self._arrays(part.norm)))

    def _arrays(self, node: Node) -> dict[str, NDArray[Any]]:
        arrays = {key: array(key, owned.own) for key, owned in self._tensors.get(node.name, {}).items()}
        for key, values in arrays.items():
            if not np.isfinite(values).all():
                raise InputError(f"layer {node.name!r}: its {NAMES[key]} is not finite; lower the learning rate")
        return arrays

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits, integers times their step, in float32."""
        now = Pass(*self._moment())
        form = now.begin(images.numpy(force=True))
        first, last = (now.plan.qnet.nodes[i].name for i in (0, -1))
        edges = {first: Edge(real(now.integers[first], form), _constant(form.step), form)}
        for old in now.plan.qnet.nodes[1:]:
            now.renew(old)
            if torch.is_grad_enabled():
                edges[old.name] = self._differentiable(now, old, [edges[name] for name in old.inputs])
            else:
                now.execute(old.name)
        self.executed = now.network()
        self.outputs.update((block, edges[name].value) for block, name in self.blocks.items() if name in edges)
        return edges[last].value if last in edges else real(now.integers[last], now.form(last))

    def _differentiable(self, now: Pass, old: Node, sources: Sequence[Edge]) -> Edge:
        """Run a node; return what its codes stand for, with its gradient."""
        t, normed = now.centred(old.name), self.training and self._follows(old.name)
        if t is not None and normed:
            t = self._follow(now, old, t)
        now.execute(old.name)
        return self._edge(now, old.name, t, normed, sources)

    def _follows(self, name: str) -> bool:
        """Whether a layer's batch norm takes the statistics of the batch in training: that of an adder layer does."""
        part = self._parts.get(name)
        if part is None or part.norm is None or OPS[part.root.kind].array != "adder" or self.statistics == "fixed":
            return False
        return isinstance(owner(self.module, whole_of(part.norm)), _BatchNorm)  # a bias is imported as one, too

    def _follow(self, now: Pass, old: Node, t: Ints) -> Ints:
        """Move a layer's running mean and variance, give it those or the batch's, and return t less the new bias."""
        norm, bias_k = now.parts[old.name].norm, now.nodes[old.name].params["bias_k"]
        assert norm is not None
        found = dict(zip(("mean_k", "var_k"), now.statistics(old.name, t), strict=True))
        for key, values in found.items():
            own = self._tensors[norm.name][key].own.lerp_(torch.from_numpy(values), MOMENTUM[self.statistics])
            if self.statistics == "running":
                found[key] = own.numpy().copy()
        now.take(old, found)
        return np.asarray(t + (bias_k - now.nodes[old.name].params["bias_k"]))

    def centre(self, images: NDArray[Any]) -> None:
        """Let the batch norms of adder layers hold the statistics on integers, gammas and betas making up for it.

        What the network computes stays the same, and training begins there if ``images`` are such as it will see.
        """
        now = Pass(*self._moment())
        now.begin(images)
        for old in now.plan.qnet.nodes[1:]:
            now.renew(old)
            if self._follows(old.name) and (t := now.centred(old.name)) is not None:
                norm = now.parts[old.name].norm
                assert norm is not None
                for key, value in _moved_statistics(norm, *now.statistics(old.name, t)).items():
                    self._tensors[norm.name][key].own.data.copy_(torch.from_numpy(value))
            now.execute(old.name)

    def _edge(self, now: Pass, name: str, t: Ints | None, normed: bool, sources: Sequence[Edge]) -> Edge:
        """Return what the codes of a node's edge stand for, with its gradient; r where an addition finishes it."""
        node, y, xs = now.nodes[name], now.integers[name], [source.value for source in sources]
        form = now.plan.formats[name]
        if node.stage is None:
            form = now.form(name)  # pooling changes the step
            value: Tensor = Replace.apply(OPS[node.kind].torch_run(node, *xs), real(y, form))  # type: ignore[no-untyped-call]
            return Edge(value, sources[0].step * (form.step / sources[0].form.step), form)
        layer = Layer(node, sources[0].form, form, normed, self.gradient == "sign")
        r = xs[0] + xs[1] if role(node) == "add" else self._before_rounding(now, layer, t, sources[0])
        step = self._steps[name].exp() if name in self._steps else _constant(form.step)
        if node.unrounded:
            return Edge(r, step, form)
        low = form.zero_point if node.stage.relu else form.format.min
        return Edge(Round.apply(r, step, real(y, form), form, low), step, form)  # type: ignore[no-untyped-call]

    def _before_rounding(self, now: Pass, layer: Layer, t: Ints | None, source: Edge) -> Tensor:
        """Return r of a layer or a scale node."""
        part = now.parts.get(layer.node.name)
        if part is None:
            return layer.scaled(source.value)
        gain_k, offset_k = self._stage(part)
        if t is None:
            zero = layer.out.zero_point if part.adds_zero else 0
            y = source.value * channels(gain_k, source.value) + channels(offset_k, source.value)
            return y / layer.out.step + zero
        weight = self._tensors[layer.node.name]["w_krsc"].own
        r: Tensor = Stage.apply(  # type: ignore[no-untyped-call]
            source.value, weight, gain_k, offset_k, source.step, layer.before_rounding(t), layer
        )
        return r

    def _stage(self, part: Fused) -> tuple[Tensor, Tensor]:
        """Return gain and offset of a layer's output stage in real numbers, differentiable."""
        root, norm = part.root, part.batch_norm
        owned = self._tensors[root.name].get("bias_k")
        bias = _constant(0.0) if owned is None else owned.own
        if norm is None:
            return torch.ones(len(root.params["w_krsc"])), bias.expand(len(root.params["w_krsc"]))
        gamma, beta = (self._tensors[norm.name][key].own for key in ("gamma_k", "beta_k"))
        mean, var = (torch.from_numpy(norm.params[key]) for key in ("mean_k", "var_k"))
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


def _network(module: nn.Module, images: Any) -> Network:
    """Return the module's network, traced with a calibration image."""
    try:
        return from_torch(module, images, name=type(module).__name__)
    except InputError as error:
        raise InputError(f"calibration images {tuple(np.shape(images)[1:])}: {error}") from None


def _blocks(module: nn.Module, qnet: QuantizedNetwork) -> dict[str, str]:
    """Return the names of submodules whose output is that of an addition, with those of the edges."""
    names = dict(module.named_modules())
    sums = [node.name for node in qnet.nodes if role(node) == "add"]
    return {block: name for name in sums if (block := name.rpartition(".")[0]) and block in names}


def _moved_statistics(norm: Node, mean_k: NDArray[Any], var_k: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """Return parameters of a batch norm of that mean and variance that computes what ``norm`` computes."""
    p, eps = {key: np.asarray(value, np.float64) for key, value in norm.params.items()}, norm.attrs["eps"]
    gain_k = np.where(p["var_k"] > 0, p["gamma_k"] / np.sqrt(p["var_k"] + eps), 0)
    beta_k = p["beta_k"] + gain_k * (mean_k - p["mean_k"])
    return {"mean_k": mean_k, "var_k": var_k, "gamma_k": gain_k * np.sqrt(var_k + eps), "beta_k": beta_k}


def _constant(value: float) -> Tensor:
    return torch.tensor(value)
