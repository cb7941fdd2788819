"""Toggle counts on the compiled core: the twin of :func:`addersim.kernels.reference.toggles`.

Three loops, by the words that the formats prove wide enough: bytes for distances that no register cuts (output
stationary only), 32-bit words for narrow registers, 64-bit words for everything else. Each runs step by step on
lanes of output channels.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from addersim.arithmetic.datapath import REGISTERS, Datapath, Register, leaf_range
from addersim.arithmetic.fixed import Ints, Overflow, Rounding, fit
from addersim.arithmetic.window import Window
from addersim.errors import InputError
from addersim.kernels import _native
from addersim.kernels.isa import instruction_set

Isa: TypeAlias = tuple[str, int]  # its name, the bytes of a vector
Layer: TypeAlias = tuple[Ints, NDArray[Any], NDArray[np.int32]]  # sizes, padded input, offsets of the steps


def toggles(
    x_nhwc: Ints,
    w_krsc: Ints,
    initial_k: Ints,
    datapath: Datapath,
    window: Window,
    pad_code: int,
    weight_stationary: bool = False,
) -> dict[str, int]:
    """See :func:`addersim.kernels.reference.toggles`, which defines the result."""
    (K, _, _, C), (N, H, W, channels), groups = w_krsc.shape, x_nhwc.shape, window.groups
    if channels != C * groups or K % groups or len(initial_k) != K:
        raise InputError(f"toggles: input of {channels} channels, weights for {C * groups}, {groups} groups, K = {K}")
    pixels, counts = window.out_size(H, W), np.zeros(len(REGISTERS), np.int64)
    if N * K * C and min(pixels) > 0:
        w_kst = _steps(w_krsc, datapath)
        isa, size, word = chosen_loop(datapath, w_kst.shape[1], initial_k, weight_stationary)
        least = _least(datapath) if word == np.uint8 else 0
        x = _padded(x_nhwc, window, pad_code, datapath.tree_inputs, least, word)
        offset = _offsets(x, w_krsc, datapath, window)
        sizes = (*x.shape[:3], x.shape[4], K // groups, *pixels, *window.stride, groups, len(offset), weight_stationary)
        assert len(sizes) == _native.TOGGLES_SHAPE_WORDS
        count = _by_bytes if word == np.uint8 else _by_words
        w = (w_kst.reshape(K, -1) - least).astype(word)
        counts = count((isa, size), (np.array(sizes, np.int64), x, offset), w, initial_k, datapath, groups)
    return dict(zip(REGISTERS, counts.tolist(), strict=True))


def chosen_loop(
    datapath: Datapath, steps: int, initial_k: Ints, weight_stationary: bool = False
) -> tuple[str, int, type[np.integer[Any]]]:
    """Return the set of instructions, the bytes of its vectors, and the word of the loop to run.

    The set is :func:`addersim.kernels.isa.instruction_set`'s, or, where that is beyond these loops, the best they have.
    """
    isa, size = _native.toggles_instruction_set(instruction_set().name) or _native.toggles_instruction_set()
    if not weight_stationary and bytes_suffice(datapath, steps, initial_k):
        return isa, size, np.uint8
    return isa, size, np.int32 if words_suffice(datapath) else np.int64


def words_suffice(datapath: Datapath) -> bool:
    """Whether 32 bits hold every operand, distance and product, and the sum of any two registers."""
    x, (low, high) = datapath.x, _weights(datapath)
    ends = x.min, x.max, low, high, x.min - high, x.max - low, *leaf_range(datapath.kind, x, datapath.w)
    stages = [datapath.difference, datapath.leaf, datapath.cut, datapath.accumulator, *datapath.tree]
    narrow = all(stage.format.bits <= 30 for stage in stages if stage is not None)
    return narrow and min(ends) >= -(1 << 31) and max(ends) < 1 << 31


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


def _panels(v_ks: NDArray[Any], groups: int, lanes: int, share: int = 1) -> NDArray[Any]:
    """Return values per output channel and step in the order of the lanes: group, panel, step, lane.

    ``share`` repeats the channels for as many output pixels.
    """
    K, steps = len(v_ks) // groups, v_ks.shape[1]
    v = np.zeros((groups, -(-K // lanes) * lanes, steps), v_ks.dtype)
    v[:, : share * K] = np.tile(v_ks.reshape(groups, K, steps), (1, share, 1))
    return np.ascontiguousarray(v.reshape(groups, -1, lanes, steps).swapaxes(2, 3))


def _halves(initial: Ints) -> NDArray[np.uint16]:
    """Return 32-bit words as the lower halves of even lanes, of odd lanes, then the upper halves, panel by panel."""
    words = initial.reshape(-1, initial.shape[-1])
    parts = [(half[:, first::2] & 0xFFFF) for half in (words, words >> 16) for first in (0, 1)]
    return np.concatenate(parts, axis=1).astype(np.uint16).reshape(-1)


def _by_bytes(isa: Isa, layer: Layer, w: NDArray[Any], initial_k: Ints, datapath: Datapath, groups: int) -> Ints:
    """Return the counts of the loop of bytes, in the registers' own widths.

    A register that holds every value differs from the lane's word only in how often it repeats the sign: the
    difference's 8 bits include or lack copies of it, and so do the accumulator's 32, whose sign an output
    changes once at most. How many did came in the place of the tree.
    """
    assert datapath.difference is not None
    counts, (name, lanes), (shape, x, offset) = np.zeros(len(REGISTERS), np.int64), isa, layer
    share = max(1, min(_native.TOGGLES_SHARE, lanes * groups // len(w)))
    initial = _halves(_panels(initial_k[:, None], groups, lanes, share))
    panels = _panels(w, groups, lanes, share)
    _native.toggles_bytes(name, shape, x.reshape(-1), panels.reshape(-1), offset, initial, counts)
    difference, sign, leaf, crossings, cut, accumulator = counts
    difference += (datapath.difference.format.bits - 1 - 8) * sign
    accumulator += (datapath.accumulator.format.bits - 32) * crossings
    return np.array([difference, sign, leaf, 0, cut, accumulator])


def _by_words(isa: Isa, layer: Layer, w: NDArray[Any], initial_k: Ints, datapath: Datapath, groups: int) -> Ints:
    """Return the counts of the loops of 32-bit and 64-bit words."""
    counts, (name, size), (shape, x, offset) = np.zeros(len(REGISTERS), np.int64), isa, layer
    lanes, register = size // w.itemsize, datapath.accumulator
    initial = fit(initial_k, register.format, register.overflow).astype(w.dtype)
    panels = [_panels(v, groups, lanes).view(np.uint8).reshape(-1) for v in (w, initial[:, None])]
    words, wide = x.view(np.uint8).reshape(-1), w.itemsize == 8
    _native.toggles_steps(name, wide, shape, _packed(datapath), words, panels[0], offset, panels[1], counts)
    return counts


def _packed(datapath: Datapath) -> NDArray[np.int32]:
    """Return the datapath as the int32 words of ``toggles_datapath`` in ext/toggles.h."""
    cut, unused = datapath.cut, [1, 0, 0]
    head = [datapath.kind == "adder", datapath.sign == "negative", datapath.tree_inputs, len(datapath.tree)]
    head += [cut is not None, cut.shift if cut else 0, list(Rounding).index(cut.rounding) if cut else 0]
    registers = [
        _register(datapath.difference) if datapath.difference else unused,
        _register(datapath.leaf),
        _register(Register(cut.format, cut.overflow)) if cut else unused,
        _register(datapath.accumulator),
    ]
    words = [*head, *(word for register in registers for word in register)]
    assert len(words) == _native.TOGGLES_DATAPATH_WORDS
    return np.array(words + [word for stage in datapath.tree for word in _register(stage)], np.int32)


def _register(stage: Register) -> list[int]:
    return [stage.format.bits, stage.format.signed, stage.overflow == Overflow.SATURATE]
