"""Intersection over union of label maps, the figure of merit of segmentation."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from addersim.errors import InputError


def areas(predicted: NDArray[Any], labels: NDArray[Any], classes: int) -> NDArray[np.int64]:
    """Return pixels (2, classes): in both maps of class k, and in at least one of them. Areas of parts add up."""
    if predicted.shape != labels.shape or max(predicted.max(initial=0), labels.max(initial=0)) >= classes:
        raise InputError(
            f"label maps of shapes {predicted.shape} and {labels.shape}, expected one, and 0 .. {classes - 1}"
        )
    agreed = labels[predicted == labels]
    both, ours, theirs = (np.bincount(np.ravel(maps), minlength=classes) for maps in (agreed, predicted, labels))
    return np.stack([both, ours + theirs - both])


def mean_of_areas(area: NDArray[np.int64]) -> float:
    """Return the mean over the classes of intersection / union, without the classes that no pixel has."""
    intersection, union = area[:, area[1] > 0]
    return float(np.mean(intersection / union))


def mean_iou(predicted: NDArray[Any], labels: NDArray[Any], classes: int) -> float:
    """Return the mean over the classes of intersection / union of two arrays of labels 0 .. classes - 1.

    Intersections and unions are taken over all images together. A class that is in neither array is left out.

    Raises
    ------
    InputError
        If the shapes differ, or a label is not below ``classes``.

    Examples
    --------
    >>> import numpy as np
    >>> mean_iou(np.array([[0, 0, 1]]), np.array([[0, 1, 1]]), classes=3)
    0.5
    """
    return mean_of_areas(areas(predicted, labels, classes))
