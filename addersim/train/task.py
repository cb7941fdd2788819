"""What differs between the tasks a network is trained for: loss, figure of merit, augmentation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from addersim.train.batches import augment
from addersim.train.iou import areas, mean_of_areas
from addersim.train.recipe import Augmentation


@dataclass(frozen=True)
class Task:
    """One task. Labels come as uint8: one per image, (N,), or one per pixel, (N, H, W).

    Attributes
    ----------
    metric
        Name of the figure of merit in the weights' card, in percent.
    merit
        The same in words.
    meaning
        What so many percent are percent of, for the line per epoch.
    augmented
        Random changes of images and, where they move with the image, labels.
    loss
        Mean loss of logits (N, K) or (N, K, H, W).
    tally
        Counts that add up over batches, from logits and labels.
    percent
        The figure of merit from the sum of the tallies.
    """

    metric: str
    merit: str
    meaning: str
    augmented: Callable[[Tensor, Tensor, Augmentation, torch.Generator], tuple[Tensor, Tensor]]
    loss: Callable[[Tensor, Tensor], Tensor]
    tally: Callable[[Tensor, Tensor], Tensor]
    percent: Callable[[Tensor], float]


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits, labels.long())


def _images_only(
    images: Tensor, labels: Tensor, how: Augmentation, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    return augment(images, how, generator), labels


def _images_and_maps(
    images: Tensor, labels: Tensor, how: Augmentation, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Move and mirror each label map with its image; what a shift uncovers is black, and background (0)."""
    both = augment(torch.cat([images, labels[:, None]], 1), how, generator)
    return both[:, :-1], both[:, -1]


def _hits(logits: Tensor, labels: Tensor) -> Tensor:
    """Return (right, all)."""
    return torch.stack([(logits.argmax(1) == labels).sum(), torch.tensor(labels.numel())])


def _areas(logits: Tensor, labels: Tensor) -> Tensor:
    return torch.from_numpy(areas(logits.argmax(1).numpy(), labels.numpy(), logits.shape[1]))


TASKS = {
    "classification": Task(
        metric="accuracy_percent",
        merit="accuracy",
        meaning="of the {} right",
        augmented=_images_only,
        loss=_cross_entropy,
        tally=_hits,
        percent=lambda tally: 100 * float(tally[0]) / float(tally[1]),
    ),
    "segmentation": Task(
        metric="mean_iou_percent",
        merit="mean IoU",
        meaning="mean IoU on the {}",
        augmented=_images_and_maps,
        loss=_cross_entropy,
        tally=_areas,
        percent=lambda tally: 100 * mean_of_areas(tally.numpy()),
    ),
}
