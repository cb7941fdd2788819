"""requantise makes what quantize makes, byte for byte; absorbed batch norms make what the correction found."""

from dataclasses import replace

import numpy as np
import pytest
from training import NETWORKS, lenet

import addersim
from addersim.quantization.fuse import fuse
from addersim.quantization.requantize import absorbed, layout, requantise
from addersim.quantization.settings import settings_of
from addersim.simulation.simulate import simulate

CASES = [
    {"bits": 4},
    {"bits": 3, "range": "max", "residual_bits": 6},
    {"bits": 6, "weight_bits": 4, "output_stage": "shift_add"},
    {"bits": 8, "output_stage": "shift_only", "multiplier_bits": 6},
]


@pytest.mark.parametrize("settings", CASES, ids=str)
@pytest.mark.parametrize("name", NETWORKS)
def test_the_same_parameters_make_the_same_bytes(name, settings, tmp_path):
    module, images = NETWORKS[name]()
    network = addersim.from_torch(module, images[:1])
    qnet = addersim.quantize(network, images, **settings)
    again = requantise(layout(qnet, settings_of(settings)), {part.root.name: part for part in fuse(network)})
    qnet.save(tmp_path / "a")
    again.save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("settings", CASES, ids=str)
@pytest.mark.parametrize("name", NETWORKS)
def test_absorbed_batch_norms_make_the_corrected_integers(name, settings):
    module, images = NETWORKS[name]()
    network = addersim.from_torch(module, images[:1])
    corrected = addersim.quantize(network, images, correction="least_squares", **settings)
    plan = layout(corrected, settings_of(settings))
    parts = {part.root.name: part for part in fuse(network)}
    made = requantise(plan, absorbed(plan, parts))
    plain = requantise(plan, parts)
    for node in corrected.nodes:
        part = parts.get(node.name)
        if node.stage is None or part is None or (part.norm is None and part.root.kind != "batch_norm"):
            continue
        ours, theirs = made.node(node.name).params, node.params
        assert np.array_equal(ours["multiplier_k"], theirs["multiplier_k"])
        assert np.array_equal(ours["shift_k"], theirs["shift_k"])
        assert np.array_equal(ours["bias_k"], theirs["bias_k"])
        np.testing.assert_allclose(ours["offset_k"], theirs["offset_k"], rtol=1e-5, atol=2)  # beta is a float32
        assert not np.array_equal(plain.node(node.name).params["offset_k"], theirs["offset_k"])


def test_other_steps_change_what_computes_with_them():
    """Twice the step: half the weights' codes and half the gain in front of it."""
    module, images = lenet()
    network = addersim.from_torch(module, images[:1])
    settings = {"bits": 6}
    plan = layout(addersim.quantize(network, images, **settings), settings_of(settings))
    parts = {part.root.name: part for part in fuse(network)}
    (edge,) = [name for name in plan.formats if plan.qnet.node("conv2").inputs == (name,)]
    source = plan.qnet.node(edge).inputs[0]
    formats = {**plan.formats, source: replace(plan.formats[source], step=2 * plan.formats[source].step)}
    old, new = (requantise(p, parts) for p in (plan, plan._replace(formats=formats)))
    assert new.tensors[edge].format.step == 2 * old.tensors[edge].format.step
    gains = [q.node(source).params["multiplier_k"] / 2.0 ** q.node(source).params["shift_k"] for q in (old, new)]
    np.testing.assert_array_equal(gains[0], 2 * gains[1])
    inside = old.node("conv2").params["w_krsc"] < 63
    codes = [q.node("conv2").params["w_krsc"][inside] for q in (old, new)]
    assert np.abs(codes[0] / 2 - codes[1]).max() <= 1
    assert simulate(new, images[:2]).logits.shape == (2, 10)
