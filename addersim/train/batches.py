"""Batches of images for one epoch: order, augmentation and normalisation, all decided by one generator."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from addersim.train.datasets import DatasetCard
from addersim.train.recipe import Augmentation


def normalise(images: Tensor, card: DatasetCard) -> Tensor:
    """Return float32 (pixel / 255 - mean) / std per channel, for uint8 (N, C, H, W)."""
    mean, std = (torch.tensor(v)[:, None, None] for v in (card.mean, card.std))
    return (images.to(torch.float32) / 255 - mean) / std


def augment(images: Tensor, how: Augmentation, generator: torch.Generator) -> Tensor:
    """Return the images mirrored, shifted and mixed at random; what a shift uncovers is black (0)."""
    if how.flip:
        mirrored = torch.rand(len(images), generator=generator) < 0.5
        images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
    images = _shift(images, how.shift_pixels, generator) if how.shift_pixels else images
    return _mix(images, generator) if how.mix else images


def _mix(images: Tensor, generator: torch.Generator) -> Tensor:
    """Return each image mixed with another, share * image + (1 - share) * other, the share uniform in [0, 1)."""
    share = torch.rand(len(images), 1, 1, 1, generator=generator)
    others = images[torch.randperm(len(images), generator=generator)]
    return torch.lerp(others.float(), images.float(), share).round_().to(images.dtype)


def _shift(images: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """Return each image moved by its own -most .. most pixels down and right."""
    n, c, h, w = images.shape
    padded = F.pad(images, (most,) * 4)
    down, right = torch.randint(0, 2 * most + 1, (2, n, 1), generator=generator)
    rows, columns = down + torch.arange(h), right + torch.arange(w)
    picked = padded.gather(2, rows[:, None, :, None].expand(n, c, h, w + 2 * most))
    return picked.gather(3, columns[:, None, None, :].expand(n, c, h, w))


def batches(
    images: Tensor,
    labels: Tensor,
    size: int,
    how: Augmentation,
    card: DatasetCard,
    generator: torch.Generator,
    augmented: Callable[[Tensor, Tensor, Augmentation, torch.Generator], tuple[Tensor, Tensor]],
    part: tuple[int, int] = (0, 1),
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield normalised images and labels in a random order; an incomplete last batch is left out.

    ``augmented`` is the task's: it changes images at random, and labels that lie on them alike. ``part`` = (i, n)
    takes images i, i + n, ... of every batch: the n parts are the batches of ``part`` = (0, 1).
    """
    size = min(size, len(images))
    order = torch.randperm(len(images), generator=generator)
    for picked in torch.split(order[: len(order) // size * size], size):
        changed, theirs = augmented(images[picked], labels[picked], how, generator)  # all: every part draws the same
        yield normalise(changed[part[0] :: part[1]], card), theirs[part[0] :: part[1]]
