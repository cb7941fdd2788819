"""Read the weights of a bundled model from a file, or from those shipped with the package."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from addersim.errors import InputError
from addersim.nn.catalogue import model_card, shipped_weights
from addersim.nn.models import build_model
from addersim.nn.pickles import read_pickle

LOG = logging.getLogger("addersim")
LAST_LAYERS = ("fc3.weight", "fc.weight", "linear.weight", "head.weight", "class_logits.weight")
OTHER_SHORTCUT = {"resnet20_conv": "resnet20_conv_a", "resnet20_conv_a": "resnet20_conv"}


def load_checkpoint(model_name: str, path: str | Path | None = None, dataset: str | None = None) -> nn.Module:
    """Return a bundled model with trained weights, in evaluation mode.

    Parameters
    ----------
    model_name
        A name of :data:`addersim.nn.MODELS`.
    path
        ``.safetensors``, or a pickled state dict of torch (read with ``weights_only=True``: no code runs).
        The state dict may sit under ``"state_dict"``, keys may start with ``module.``, and adder weights may
        be called ``.adder`` or ``.pat`` (flattened), as in published files. None means the weights shipped
        with this package.
    dataset
        Which of the shipped weights, such as ``"mnist"``; by default those that the model's card names.

    Raises
    ------
    InputError
        If the file is missing, broken, holds code, is another model's by its keys or the card beside it, or its
        keys, shapes or numbers do not fit the model.
    """
    model_card(model_name)
    file = shipped_weights(model_name, dataset) if path is None else Path(path)
    published = read_state_dict(file)
    _check_kind(model_name, published, file)
    state = rename_published(published)
    name = _by_keys(model_name, state, file)
    model = build_model(name, _classes(state))
    _fill(model, state, f"{file}: {name}")
    return model.eval()


def read_state_dict(file: Path) -> dict[str, Tensor]:
    """Return the tensors of a ``.safetensors`` file or of a pickled state dict, as they are named there."""
    content = _read_safetensors(file) if file.suffix == ".safetensors" else read_pickle(file)
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not content:
        raise InputError(f"{file}: holds {type(content).__name__}, expected a state dict (name -> tensor)")
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            found = type(value).__name__
            raise InputError(f"{file}: {key!r} is {found}, expected a tensor; save model.state_dict()")
    return content


def _read_safetensors(file: Path) -> object:
    if not file.is_file():
        raise InputError(f"{file}: no such file")
    try:
        return load_file(file)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise InputError(f"{file}: not a readable safetensors file ({error})") from None


def rename_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors without ``module.`` before, and ``.adder`` or ``.pat`` called ``.weight``."""
    return {re.sub(r"\.(adder|pat)$", ".weight", key.removeprefix("module.")): v for key, v in state.items()}


def _check_kind(model_name: str, state: Mapping[str, Tensor], file: Path) -> None:
    """Refuse the weights of a twin, whose names and shapes may be the same: told by keys, or by their card."""
    adders = next((key for key in state if key.endswith((".adder", ".pat"))), None)
    if adders is not None and "_conv" in model_name:
        raise InputError(f"{file}: {adders!r} is an adder layer's; expected the weights of {model_name}")
    try:
        made_by = json.loads(file.with_suffix(".json").read_text(encoding="utf-8"))["model"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    if made_by not in (model_name, OTHER_SHORTCUT.get(model_name)):
        raise InputError(f"{file}: its card says {made_by}, expected the weights of {model_name}")


def _by_keys(model_name: str, state: Mapping[str, Tensor], file: Path) -> str:
    """Return the option A or B name of a convolutional ResNet-20, whichever the keys are."""
    is_a = "linear.weight" in state
    if model_name in OTHER_SHORTCUT and model_name.endswith("_a") != is_a:
        LOG.info("%s: keys are those of %s, not of %s", file, OTHER_SHORTCUT[model_name], model_name)
        return OTHER_SHORTCUT[model_name]
    return model_name


def _classes(state: Mapping[str, Tensor]) -> int | None:
    """Return the number of outputs, from the shape of the last layer."""
    last = next((state[key] for key in LAST_LAYERS if key in state), None)
    return last.shape[0] if last is not None and last.dim() > 0 and last.shape[0] > 0 else None


def _some(keys: Iterable[str]) -> str:
    names = sorted(keys)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _fill(model: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Copy ``state`` into the model after checking names, shapes and numbers."""
    wanted = model.state_dict()
    needed = {key for key in wanted if not key.endswith("num_batches_tracked")}
    if missing := needed - set(state):
        raise InputError(f"{where}: missing {_some(missing)}")
    if extra := set(state) - set(wanted):
        raise InputError(f"{where}: unexpected {_some(extra)}")
    model.load_state_dict({key: _fitting(key, value, wanted[key], where) for key, value in state.items()}, False)


def _fitting(key: str, value: Tensor, wanted: Tensor, where: str) -> Tensor:
    if value.numel() != wanted.numel() or (value.shape != wanted.shape and value.dim() != 3):
        raise InputError(f"{where}: {key} is {tuple(value.shape)}, expected {tuple(wanted.shape)}")
    if not torch.isfinite(value).all():
        raise InputError(f"{where}: {key} holds NaN or infinity")
    return value.reshape(wanted.shape)
