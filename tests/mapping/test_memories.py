"""Ports: packed accesses equal filling words one by one; latency is the longest beside the array plus what it waits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from addersim.mapping.memories import accesses
from addersim.mapping.transfers import layer_cycles


def filled(count: int, bits: int, word_bits: int) -> int:
    """Return the accesses that ``count`` words take, one after the other."""
    if bits > word_bits:
        return sum(1 for _ in range(count) for _ in range(0, bits, word_bits))
    used, free = 0, 0
    for _ in range(count):
        if free < bits:
            used, free = used + 1, word_bits
        free -= bits
    return used


@given(st.integers(1, 64), st.integers(1, 256), st.integers(1, 9))
def test_accesses_equal_filling_words_one_by_one(bits: int, word_bits: int, groups: int) -> None:
    count = groups * max(word_bits // bits, 1)
    assert count * float(accesses(bits, word_bits)) == pytest.approx(filled(count, bits, word_bits))


def test_accesses_broadcast() -> None:
    bits, word_bits = np.array([1, 6, 8, 24])[:, None], np.array([8, 64, 128])
    table = accesses(bits, word_bits)
    assert table.shape == (4, 3)
    assert all(table[i, j] == accesses(int(bits[i, 0]), int(word_bits[j])) for i, j in np.ndindex(4, 3))


times = st.integers(0, 1000)


@given(times, st.lists(times, max_size=4), st.lists(times, max_size=4), st.floats(0.01, 1))
def test_laws_of_latency(busy: int, hidden: list[int], waiting: list[int], speed: float) -> None:
    """Never shorter than any part; a slower port never speeds up; waiting costs at least as much as hiding."""
    cycles = layer_cycles(busy, hidden, waiting)
    assert cycles >= max([busy, *hidden]) and cycles >= sum(waiting)
    for slow in range(len(hidden)):
        slower = [t / speed if i == slow else t for i, t in enumerate(hidden)]
        assert layer_cycles(busy, slower, waiting) >= cycles
    assert layer_cycles(busy, [*hidden, *waiting], []) <= cycles
