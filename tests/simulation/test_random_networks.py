"""Random networks of every operation: both kernels, disk, prices, and no register that overflows."""

import numpy as np
import pytest
from builders import grown

import addersim
from addersim.kernels import native, reference
from addersim.network.float_run import run_float
from addersim.simulation.simulate import simulate


@pytest.mark.parametrize("seed", [*range(60), 11964])  # the last: a batch norm that feeds an addition
def test_any_network(seed, tmp_path):
    _, x, qnet = grown(seed)
    if qnet is None:
        return
    ours, theirs = (simulate(qnet, x, keep="*", kernels=kernels) for kernels in (reference, native))
    for name, edge in ours.edges.items():
        np.testing.assert_array_equal(edge, theirs.edges[name])
    for a, b in zip(ours.layers, theirs.layers, strict=True):
        assert (a.facts.events, a.facts.saturated, a.facts.accumulator) == (
            b.facts.events,
            b.facts.saturated,
            b.facts.accumulator,
        )
        assert a.overflows == b.overflows == 0
    qnet.save(tmp_path / "q.safetensors")
    again = simulate(addersim.QuantizedNetwork.load(tmp_path / "q.safetensors"), x)
    np.testing.assert_array_equal(again.logits_int, ours.logits_int)
    assert all(row.times > 0 for row in addersim.count(qnet).rows)


@pytest.mark.parametrize("seed", range(60, 90))
def test_sixteen_bits_follow_the_floats_to_the_end(seed):
    """Inputs, first and last layer keep 8 bits and M_k has 12; where the output varies, little of it is lost."""
    network, x, qnet = grown(seed, bits=16, residual_bits=16, range="max", multiplier_bits=12)
    if qnet is None:
        return
    expected = run_float(network, x)
    spread = np.abs(expected).max()
    error = np.abs(addersim.simulate(qnet, x).logits - expected).max()
    assert error < 0.08 * spread
