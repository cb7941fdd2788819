"""Loop nests and windows against brute-force walks."""

import itertools

import numpy as np
import pytest
import torch

from addersim.arithmetic.window import Window
from addersim.network.loops import LoopNest


def test_taps_are_the_steps_of_the_loops():
    nest = LoopNest(K=4, C=6, P=3, Q=2, R=3, S=1, H=5, W=2, groups=2)
    steps = itertools.product(range(4), range(6 // 2), range(3), range(2), range(3), range(1))
    assert nest.taps == len(list(steps))
    assert (nest.depth, nest.outputs, nest.weights, nest.inputs) == (9, 24, 36, 60)


@pytest.mark.parametrize("kernel", [1, 2, 3])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("dilation", [1, 2])
def test_window_sizes_are_those_of_torch(kernel, stride, padding, dilation):
    window = Window(kernel, kernel, (stride,) * 2, (padding,) * 2, (dilation,) * 2)
    x, w = torch.zeros(1, 1, 9, 8), torch.zeros(1, 1, kernel, kernel)
    assert window.out_size(9, 8) == tuple(torch.conv2d(x, w, None, stride, padding, dilation).shape[2:])


def test_rows_and_columns_meet_the_right_pixels():
    window = Window(3, 2, stride=(2, 1), dilation=(2, 3))
    P, Q = window.out_size(9, 7)
    image = np.arange(63).reshape(9, 7)
    for r, s in itertools.product(range(3), range(2)):
        walked = [[image[p * 2 + r * 2, q + s * 3] for q in range(Q)] for p in range(P)]
        np.testing.assert_array_equal(image[window.rows(r, P), window.columns(s, Q)], walked)
