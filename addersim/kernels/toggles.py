"""Toggle counts on the compiled core: the twin of :func:`addersim.kernels.reference.toggles`.

Two loops: lanes of bytes with carry-save counters, where the formats prove that words of 8 bits and sums of 32
lose nothing; step by step, register by register, for every other datapath.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from addersim.datapath import REGISTERS, Datapath, Stage, leaf_range
from addersim.errors import InputError
from addersim.fixed import Ints, Overflow, Rounding
from addersim.kernels import _native
from addersim.loops import Window

SHARE = 8  # output pixels that may share a vector: SHARE in ext/toggles.h


def toggles(
    x_nhwc: Ints, w_krsc: Ints, initial_k: Ints, datapath: Datapath, window: Window, pad_code: int
) -> dict[str, int]:
    """See :func:`addersim.kernels.reference.toggles`, which defines the result."""
    (K, _, _, C), (N, H, W, channels), groups = w_krsc.shape, x_nhwc.shape, window.groups
    if channels != C * groups or K % groups or len(initial_k) != K:
        raise InputError(f"toggles: input of {channels} channels, weights for {C * groups}, {groups} groups, K = {K}")
    pixels, counts = window.out_size(H, W), np.zeros(len(REGISTERS), np.int64)
    if N * K * C and min(pixels) > 0:
        w_kst = _steps(w_krsc, datapath)
        isa, lanes = instruction_set()
        fast = lanes > 0 and bytes_suffice(datapath, w_kst.shape[1], initial_k)
        least, word = (_least(datapath), np.uint8) if fast else (0, np.int64)
        x = _padded(x_nhwc, window, pad_code, datapath.tree_inputs, least, word)
        offset = _offsets(x, w_krsc, datapath, window)
        sizes = (*x.shape[:3], x.shape[4], K // groups, *pixels, *window.stride, groups, len(offset))
        layer = np.array(sizes, np.int64), x.reshape(-1), offset
        if fast:
            counts = _by_bytes(
                isa, *layer, _panels((w_kst[..., 0] - least).astype(np.uint8), groups, lanes), initial_k, datapath
            )
        else:
            counts = _by_steps(isa, *layer, w_kst, initial_k, datapath)
    return dict(zip(REGISTERS, counts.tolist(), strict=True))


def instruction_set() -> tuple[str, int]:
    """Return the instructions to use and the lanes of their vectors, 0 to keep to the loop of single steps.

    The environment variable ADDERSIM_ISA names a set that is not the best one; ``none``, or one that is not to be
    had, means single steps.
    """
    wanted = os.environ.get("ADDERSIM_ISA") or None
    found: tuple[str, int] | None = _native.toggles_instruction_set(wanted)
    return found or ("portable", 0)


def bytes_suffice(datapath: Datapath, steps: int, initial_k: Ints) -> bool:
    """Whether the loop of bytes is exact: no register can miss a value, and no word is wider than the lanes."""
    x, low, high = datapath.x, *_weights(datapath)
    reach = leaf_range(datapath.kind, x, datapath.w, datapath.weight_shift)[1]
    first, last = int(initial_k.min()), int(initial_k.max()) + reach * steps
    return (
        datapath.difference is not None
        and datapath.sign == "positive"
        and datapath.tree_inputs == 1
        and datapath.cut is None
        and max(x.max, high) - min(x.min, low) <= 255
        and datapath.difference.format.holds(x.min - high, x.max - low)
        and datapath.leaf.format.holds(0, reach)
        and datapath.accumulator.format.holds(first, last)
        and first >= -(1 << 31)
        and last < 1 << 31
    )


def _weights(datapath: Datapath) -> tuple[int, int]:
    """Return the extremes of the weights in front of the subtractor."""
    return datapath.w.min << datapath.weight_shift, datapath.w.max << datapath.weight_shift


def _least(datapath: Datapath) -> int:
    """Return what both operands of a distance can lose without changing it, so that bytes hold them."""
    return min(datapath.x.min, _weights(datapath)[0])


def _padded(x_nhwc: Ints, window: Window, pad_code: int, T: int, least: int, word: Any) -> NDArray[Any]:
    """Return the padded input as N, H, W, group, channel; channels end with zeros up to a multiple of ``T``."""
    (N, H, W, channels), (py, px), groups = x_nhwc.shape, window.padding, window.groups
    C = channels // groups
    x = np.zeros((N, H + 2 * py, W + 2 * px, groups, C + -C % T), word)
    x[..., :C] = pad_code - least
    inside, words = x[:, py : py + H, px : px + W, :, :C], x_nhwc.reshape(N, H, W, groups, C)
    np.subtract(words, np.int64(least), out=inside, casting="unsafe")
    return x


def _axes(datapath: Datapath) -> list[int]:
    return ["rsc".index(letter) for letter in datapath.order]


def _steps(w_krsc: Ints, datapath: Datapath) -> Ints:
    """Return the weights as the subtractor or multiplier meets them: output channel, step, input of the tree."""
    (K, R, S, C), T = w_krsc.shape, datapath.tree_inputs
    shift = datapath.weight_shift if datapath.kind == "adder" else 0
    w = np.pad(w_krsc.astype(np.int64) << shift, ((0, 0), (0, 0), (0, 0), (0, -C % T)))
    ordered = w.reshape(K, R, S, -1, T).transpose(0, *(1 + axis for axis in _axes(datapath)), 4)
    return np.ascontiguousarray(ordered).reshape(K, -1, T)


def _offsets(x: NDArray[Any], w_krsc: Ints, datapath: Datapath, window: Window) -> NDArray[np.int32]:
    """Return where in ``x`` each step's channels begin, seen from the first pixel of a window."""
    (_, R, S, _), (_, _, W, groups, C) = w_krsc.shape, x.shape
    r, s, c = np.indices((R, S, C // datapath.tree_inputs)).transpose(0, *(1 + axis for axis in _axes(datapath)))
    pixel = r * window.dilation[0] * W + s * window.dilation[1]
    offset: NDArray[np.int32] = (pixel * groups * C + c * datapath.tree_inputs).reshape(-1).astype(np.int32)
    return offset


def _panels(v_ks: NDArray[Any], groups: int, lanes: int) -> NDArray[Any]:
    """Return values per output channel and step in the order of the lanes: group, panel, step, lane."""
    K, steps = len(v_ks) // groups, v_ks.shape[1]
    share, panels = max(1, min(SHARE, lanes // K)), -(-K // lanes)
    v = np.zeros((groups, panels * lanes, steps), v_ks.dtype)
    v[:, : share * K] = np.tile(v_ks.reshape(groups, K, steps), (1, share, 1))
    return np.ascontiguousarray(v.reshape(groups, panels, lanes, steps).swapaxes(2, 3))


def _halves(initial: Ints) -> NDArray[np.uint16]:
    """Return 32-bit words as the lower halves of even lanes, of odd lanes, then the upper halves, panel by panel."""
    words = initial.reshape(-1, initial.shape[-1])
    parts = [(half[:, first::2] & 0xFFFF) for half in (words, words >> 16) for first in (0, 1)]
    return np.concatenate(parts, axis=1).astype(np.uint16).reshape(-1)


def _by_bytes(
    isa: str,
    shape: Ints,
    x: NDArray[np.uint8],
    offset: NDArray[np.int32],
    w: NDArray[np.uint8],
    initial_k: Ints,
    datapath: Datapath,
) -> Ints:
    """Return the counts of the loop of bytes, in the registers' own widths.

    A register that holds every value differs from the lane's word only in how often it repeats the sign: the
    difference's 8 bits include or lack copies of it, and so do the accumulator's 32, whose sign an output
    changes once at most. How many did came in the place of the tree.
    """
    assert datapath.difference is not None
    counts = np.zeros(len(REGISTERS), np.int64)
    initial = _halves(_panels(initial_k[:, None], w.shape[0], w.shape[-1]))
    _native.toggles_bytes(isa, shape, x, w.reshape(-1), offset, initial, counts)
    difference, sign, leaf, crossings, cut, accumulator = counts
    difference += (datapath.difference.format.bits - 1 - 8) * sign
    accumulator += (datapath.accumulator.format.bits - 32) * crossings
    return np.array([difference, sign, leaf, 0, cut, accumulator])


def _by_steps(
    isa: str,
    shape: Ints,
    x: Ints,
    offset: NDArray[np.int32],
    w_kst: Ints,
    initial_k: Ints,
    datapath: Datapath,
) -> Ints:
    """Return the counts of the loop of single steps."""
    counts, initial = np.zeros(len(REGISTERS), np.int64), np.ascontiguousarray(initial_k, np.int64)
    assert len(shape) == _native.TOGGLES_SHAPE_WORDS
    _native.toggles_steps(isa, shape, _packed(datapath), x, w_kst.reshape(-1), offset, initial, counts)
    return counts


def _packed(datapath: Datapath) -> NDArray[np.int32]:
    """Return the datapath as the int32 words of ``toggles_datapath`` in ext/toggles.h."""
    cut, unused = datapath.cut, [1, 0, 0]
    head = [datapath.kind == "adder", datapath.sign == "negative", datapath.tree_inputs, len(datapath.tree)]
    head += [cut is not None, cut.shift if cut else 0, list(Rounding).index(cut.rounding) if cut else 0]
    registers = [
        _register(datapath.difference) if datapath.difference else unused,
        _register(datapath.leaf),
        _register(Stage(cut.format, cut.overflow)) if cut else unused,
        _register(datapath.accumulator),
    ]
    words = [*head, *(word for register in registers for word in register)]
    assert len(words) == _native.TOGGLES_DATAPATH_WORDS
    return np.array(words + [word for stage in datapath.tree for word in _register(stage)], np.int32)


def _register(stage: Stage) -> list[int]:
    return [stage.format.bits, stage.format.signed, stage.overflow == Overflow.SATURATE]
