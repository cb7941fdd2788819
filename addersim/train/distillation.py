"""Distillation: a network learns from a teacher's answers beside the labels.

``logits`` is Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", arXiv 1503.02531: a weighted
average of the cross entropy with the labels and, at a temperature T, of that with the teacher's soft targets; the
latter is multiplied by T^2, since its gradients scale as 1/T^2. It is written as a Kullback-Leibler divergence, which
differs by the entropy of the targets: the same gradients. The teacher is trained already, and does not change. An
ensemble's soft targets are the arithmetic mean of its members': what that paper (abstract) compresses into one model.

``blocks`` adds the squared error of every residual block's output, over the variance of the teacher's, for a network
on integers and a teacher of the same architecture: errors of rounding are met where they arise, and each block's
gradient passes two layers instead of all. That answers are compared on mixtures of images (``augmentation.mix``), and
on the same ones, is the advice of Beyer et al., "Knowledge distillation: A good teacher is patient and consistent",
arXiv 2106.05237 (read in a summary by an author).

``pkkd`` follows Xu et al., "Kernel Based Progressive Distillation for Adder Neural Networks", NeurIPS 2020, arXiv
2009.13044. Read there (abstract): a convolutional network of the same architecture is initialised and trained along
as the teacher; features and weights of both networks are mapped to a new space of higher dimension by kernels; the
student learns from the labels and the teacher, progressively. Read in reviews of it: a linear map follows the
kernels, and it is intermediate outputs that are compared (liner.com/review, the paper's title); weights of adder
layers follow a Laplace distribution, those of convolutions a Gaussian one (hwhale.com/article/103192).
The kernels of these names are taken here: ``exp(-||x - w||_1 / 2s)`` for an adder layer, ``exp(-||x - w||_2^2 / 2s)``
for a convolution, x the patch under the filter w.

Not found in a source, and so decided here: the bandwidth s (the layer's standard deviation around the means of its
channels); the mean of a channel, subtracted from the distance before the exponential (a factor per channel, which the
linear map could hold as well, and without which distances of hundreds would all give the same number); the map (one
K x K matrix per layer on the student's side, identity at first, thrown away after training); the squared error
between both, averaged over the layers; all weights of the terms; one learning rate for student and teacher.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from addersim.errors import InputError
from addersim.nn.catalogue import CATALOGUE, model_card
from addersim.nn.checkpoint import load_checkpoint
from addersim.nn.layers import AdderConv2d, AdderLinear
from addersim.nn.models import build_model
from addersim.train.datasets import DatasetCard
from addersim.train.qat import IntegerModule
from addersim.train.recipe import Recipe, Teacher
from addersim.weights.shipped import weights_file

Features = dict[str, Tensor]


class LogitsDistiller(nn.Module):
    """Call it with images, student's logits and labels for the loss; teacher and ``members`` never change."""

    def __init__(self, how: Teacher, teacher: nn.Module, members: Sequence[nn.Module] = ()) -> None:
        super().__init__()
        self.how, self.teacher = how, teacher.eval().requires_grad_(False)
        self.members = nn.ModuleList(members).eval().requires_grad_(False)

    def forward(self, images: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        """Return ``(1 - weight) CE(labels) + weight T^2 KL(teacher, student)``, the mean over the batch."""
        return soft_loss(logits, self.answers(images), labels, self.how)

    def answers(self, images: Tensor) -> Tensor:
        """Return logits (N, K) whose softmax at temperature T is the mean of the teacher's and its members'."""
        own: Tensor = self.teacher(images)
        if not self.members:
            return own
        T = self.how.temperature
        logs = [F.log_softmax(z / T, dim=1) for z in (own, *(member(images) for member in self.members))]
        return T * torch.stack(logs).logsumexp(0)


class BlockDistiller(LogitsDistiller):
    """Logits and the outputs of residual blocks; call it right after the student's pass, whose outputs it reads."""

    def __init__(
        self, how: Teacher, teacher: nn.Module, student: IntegerModule, members: Sequence[nn.Module] = ()
    ) -> None:
        super().__init__(how, teacher, members)
        self.theirs: Features = {}
        self.ours = student.outputs
        for name in student.blocks:
            teacher.get_submodule(name).register_forward_hook(_keep_output(self.theirs, name))

    def forward(self, images: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss on logits, and ``feature_weight`` times the sum of the blocks' relative errors."""
        loss: Tensor = super().forward(images, logits, labels)
        errors = [F.mse_loss(self.ours[name], y) / y.var().clamp_min(1e-12) for name, y in self.theirs.items()]
        return loss + self.how.feature_weight * torch.stack(errors).sum()


class KernelDistiller(nn.Module):
    """PKKD: the teacher is trained by the same backward pass; see the head of this file.

    Hooks on both networks keep the distances of the latest forward pass. The loss takes the student's and drops
    them, so that it is called once after each.
    """

    def __init__(self, how: Teacher, teacher: nn.Module, student: nn.Module) -> None:
        super().__init__()
        self.how, self.teacher = how, teacher.train()
        self.theirs: Features = {}
        self.ours: Features = {}
        layers = _adder_layers(student)
        self.names = tuple(layers)
        self.maps = nn.ParameterList(torch.eye(len(layer.weight)) for layer in layers.values())
        for name, layer in layers.items():
            layer.register_forward_hook(_keep(self.ours, name, _adder_distance))
            teacher.get_submodule(name).register_forward_hook(_keep(self.theirs, name, _squared_distance))

    def forward(self, images: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the student's loss, its features' error, and the teacher's own cross entropy, summed up.

        The teacher's part of the student's loss is constant: the teacher follows the labels only.
        """
        answers: Tensor = self.teacher(images)
        loss = soft_loss(logits, answers.detach(), labels, self.how) + F.cross_entropy(answers, labels.long())
        errors = [
            F.mse_loss(kernel(self.ours[name]) @ matrix, kernel(self.theirs[name]))
            for matrix, name in zip(self.maps, self.names, strict=True)
        ]
        self.ours.clear()
        self.theirs.clear()
        return loss + self.how.feature_weight * torch.stack(errors).mean()


def soft_loss(logits: Tensor, answers: Tensor, labels: Tensor, how: Teacher) -> Tensor:
    """Return the weighted average of the loss on labels and on the teacher's ``answers``, both logits (N, K)."""
    labels = labels.long()
    ours, theirs = (F.log_softmax(z / how.temperature, dim=1) for z in (logits, answers))
    soft = F.kl_div(ours, theirs, reduction="batchmean", log_target=True) * how.temperature**2
    return (1 - how.weight) * F.cross_entropy(logits, labels) + how.weight * soft


def kernel(distance: Tensor) -> Tensor:
    """Return ``exp(-(d - mean_k) / 2s)`` as rows (images and pixels) of K numbers, for distances (N, K, ...).

    mean_k is the mean of channel k, s the root mean square of what is left in the whole layer, both of this batch.
    The gradient flows through them, as in batch norm: without, it would push all distances of a channel one way,
    which changes nothing but the channel's mean, and the running means of the batch norm behind would lag behind.
    """
    rows = distance.movedim(1, -1).flatten(0, -2)
    centred = rows - rows.mean(0)
    spread = centred.square().mean().clamp_min(1e-24).sqrt()
    return torch.exp(-centred / (2 * spread))


def build_distiller(recipe: Recipe, card: DatasetCard, student: nn.Module) -> LogitsDistiller | KernelDistiller | None:
    """Return the recipe's teacher, ready to be asked for a loss; None if there is none.

    Raises
    ------
    InputError
        If the teacher has other classes or another input than the data set, or (``pkkd``) its layers do not pair
        with the student's.
    """
    how = recipe.teacher
    if how is None:
        return None
    name = how.model or _twin(recipe.model)
    teacher = _teacher(how.weights, name, how, card, recipe.seed)
    members = [_teacher(member.weights, member.model, how, card, recipe.seed) for member in how.ensemble]
    if how.method == "logits":
        return LogitsDistiller(how, teacher, members)
    if isinstance(student, IntegerModule):
        check_blocks(student, teacher, f"teacher {name}")
        return BlockDistiller(how, teacher, student, members)
    _check_pairs(student, teacher, card, f"teacher {name}")
    return KernelDistiller(how, teacher, student)


def check_blocks(student: IntegerModule, teacher: nn.Module, who: str) -> None:
    """Refuse a student without residual blocks and a teacher without modules of their names."""
    if not student.blocks:
        raise InputError("teacher: method 'blocks' compares residual blocks, and the model has none")
    modules = dict(teacher.named_modules())
    if missing := [block for block in student.blocks if block not in modules]:
        raise InputError(f"{who}: has no block {missing[0]}; expected the student's architecture")


def _twin(model_name: str) -> str:
    twin = model_name.replace("_adder", "_conv")
    if twin == model_name or twin not in CATALOGUE:
        raise InputError(f"teacher: {model_name} has no convolution twin; expected model = a name of `list models`")
    return twin


def _teacher(weights: str | None, name: str, how: Teacher, card: DatasetCard, seed: int) -> nn.Module:
    """Return a network for the data set with the weights of a file or of the package, or, for ``pkkd``, new ones."""
    if model_card(name).input_shape != card.input_shape:
        raise InputError(f"teacher {name} takes {model_card(name).input_shape}, {card.name} is {card.input_shape}")
    if weights is not None:
        network = load_checkpoint(name, weights_file(weights))
    elif how.method == "pkkd":
        network = _fresh(name, card.classes, seed)
    else:
        raise InputError(f"teacher: expected weights, a file or the name of shipped ones, for method {how.method!r}")
    with torch.no_grad():
        classes = network.eval()(torch.zeros(2, *card.input_shape)).shape[1]
    if classes != card.classes:
        raise InputError(f"teacher {weights or name} has {classes} classes, {card.name} has {card.classes}")
    return network


def _fresh(name: str, classes: int, seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_model(name, classes)


def _adder_layers(model: nn.Module) -> dict[str, AdderConv2d | AdderLinear]:
    return {name: m for name, m in model.named_modules() if isinstance(m, AdderConv2d | AdderLinear)}


def _check_pairs(student: nn.Module, teacher: nn.Module, card: DatasetCard, who: str) -> None:
    """Refuse a teacher without a multiplying layer of the same name and output for each of the adder layers."""
    theirs = {name: m for name, m in teacher.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)}
    if not (wanted := _shapes(student, _adder_layers(student), card)):
        raise InputError("teacher: method 'pkkd' compares adder layers, and the model has none")
    found = _shapes(teacher, {name: theirs[name] for name in wanted if name in theirs}, card)
    for name, shape in wanted.items():
        if found.get(name) != shape:
            has = f"its own gives {found[name]}" if name in found else "it has none"
            raise InputError(f"{who}: expected a convolution {name} that gives {shape} like the adder layer; {has}")


def _shapes(model: nn.Module, layers: Mapping[str, nn.Module], card: DatasetCard) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the layers' outputs for one image, without its axis."""
    shapes: dict[str, tuple[int, ...]] = {}

    def note(name: str) -> Callable[..., None]:
        return lambda _layer, _inputs, output: shapes.update({name: tuple(output.shape[1:])})

    hooks = [layer.register_forward_hook(note(name)) for name, layer in layers.items()]
    mode = model.training
    with torch.no_grad():
        model.eval()(torch.zeros(1, *card.input_shape))
    model.train(mode)
    for hook in hooks:
        hook.remove()
    return {name: shapes[name] for name in layers}


def _keep(features: Features, name: str, distance: Callable[[Any, Tensor, Tensor], Tensor]) -> Callable[..., None]:
    """Return a hook that keeps a layer's distances in training; measurements leave no trace."""

    def keep(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if torch.is_grad_enabled():
            features[name] = distance(layer, inputs[0], output)

    return keep


def _adder_distance(layer: AdderConv2d | AdderLinear, _x: Tensor, y: Tensor) -> Tensor:
    """Return ``||x - w||_1`` from the layer's output, with the gradients of AdderNet."""
    return -y if layer.bias is None else _per_channel(layer.bias, y) - y


def _keep_output(features: Features, name: str) -> Callable[..., None]:
    def keep(_block: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        features[name] = output.detach()

    return keep


@torch.no_grad()
def _squared_distance(layer: nn.Conv2d | nn.Linear, x: Tensor, y: Tensor) -> Tensor:
    """Return ``||x - w||_2^2 = ||x||^2 - 2 x w + ||w||^2`` from input and output of a convolution; no gradient."""
    groups = layer.groups if isinstance(layer, nn.Conv2d) else 1
    ones = torch.ones_like(layer.weight[:groups])
    if isinstance(layer, nn.Conv2d):
        own = F.conv2d(x.square(), ones, None, layer.stride, layer.padding, layer.dilation, groups)
    else:
        own = F.linear(x.square(), ones)
    product = y if layer.bias is None else y - _per_channel(layer.bias, y)
    weights = _per_channel(layer.weight.square().flatten(1).sum(1), y)
    return own.repeat_interleave(y.shape[1] // groups, 1) - 2 * product + weights


def _per_channel(values: Tensor, y: Tensor) -> Tensor:
    """Return K numbers so that they broadcast over y (N, K, ...)."""
    return values.reshape(-1, *(1,) * (y.dim() - 2))
