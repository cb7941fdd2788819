"""Batch norm statistics taken anew from given images."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def reestimate_batch_norm(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """Replace, in place, the running means and variances of every batch norm by averages over ``batches``.

    The running statistics of training are moving averages of the past, while the weights of adder layers
    drift: by their learning rate every layer moves by the same amount per weight however flat the loss is.
    Every batch counts the same; weights do not change. No batches: nothing changes.

    Parameters
    ----------
    model
        Left in the mode (training or evaluation) in which it came.
    batches
        Inputs of the model, normalised as for training.
    """
    norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    momenta, was_training = [m.momentum for m in norms], model.training
    model.train()
    for done, batch in enumerate(batches):
        for norm in norms:
            norm.momentum = 1 / (done + 1)  # a plain mean over the batches; the first replaces what was there
        with torch.no_grad():
            model(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.train(was_training)
