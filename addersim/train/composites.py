"""Composites: canvases with a few small images on them and the class of every pixel, from one seed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from addersim.errors import InputError
from addersim.train.readers import Bytes

SIZE = 64  # pixels along a side of a canvas
MOST_ITEMS = 4
THRESHOLD = 32  # a pixel brighter than this belongs to its item


def composites(images_nhw: Bytes, labels_n: Bytes, count: int, seed: int) -> tuple[Bytes, Bytes]:
    """Return canvases (count, 1, 64, 64) and label maps (count, 64, 64), both uint8.

    Every canvas gets 1 to 4 items, drawn with replacement, each wholly on the canvas at a random place; all choices
    are uniform. A pixel of an item that is brighter than 32 covers what is there and takes the item's class + 1;
    0 is the background. A darker pixel shows only where the canvas is darker still, and leaves the label.

    Parameters
    ----------
    images_nhw, labels_n
        The items, uint8, at most 64 pixels high and wide, and their classes 0 .. 254. Their order does not matter.
    count
        How many canvases.
    seed
        The same seed and items give the same bits: raw words of PCG64 modulo the number of choices, without any of
        NumPy's distributions, whose streams may change from version to version (NEP 19).

    Raises
    ------
    InputError
        If there is no item, or an item is larger than the canvas.
    """
    H, W = images_nhw.shape[1:]
    if not len(images_nhw) or max(H, W) > SIZE:
        raise InputError(
            f"composites: {len(images_nhw)} items of {H} x {W} pixels, expected some up to {SIZE} x {SIZE}"
        )
    order = _canonical_order(images_nhw, labels_n)
    words = np.random.PCG64(seed).random_raw(count * (1 + 3 * MOST_ITEMS)).reshape(count, -1)
    items = 1 + words[:, 0] % np.uint64(MOST_ITEMS)
    canvases, maps = np.zeros((2, count, SIZE, SIZE), np.uint8)
    for layer, (item, top, left) in enumerate(words[:, 1:].reshape(count, MOST_ITEMS, 3).transpose(1, 2, 0)):
        on = np.flatnonzero(items > layer)
        chosen = order[item[on] % np.uint64(len(order))]
        corner = top[on] % np.uint64(SIZE - H + 1), left[on] % np.uint64(SIZE - W + 1)
        _paint(canvases, maps, on, images_nhw[chosen], labels_n[chosen], corner)
    return canvases[:, None], maps


def _canonical_order(images: Bytes, labels: Bytes) -> NDArray[np.int64]:
    """Return the items' indices sorted by their bytes, label first."""
    rows = np.concatenate([labels[:, None], images.reshape(len(images), -1)], axis=1)
    return np.argsort(np.ascontiguousarray(rows).view(f"S{rows.shape[1]}")[:, 0], kind="stable")


def _paint(
    canvases: Bytes, maps: Bytes, on: NDArray[np.int64], images: Bytes, labels: Bytes, corner: tuple[Bytes, Bytes]
) -> None:
    """Put one image with its upper left ``corner`` on each of the canvases ``on``, in place."""
    H, W = images.shape[1:]
    rows, columns = (c.astype(np.int64)[:, None] + np.arange(n) for c, n in zip(corner, (H, W), strict=True))
    place = on[:, None, None], rows[:, :, None], columns[:, None, :]
    covers = images > THRESHOLD
    canvases[place] = np.where(covers, images, np.maximum(images, canvases[place]))
    maps[place] = np.where(covers, labels[:, None, None] + np.uint8(1), maps[place])
