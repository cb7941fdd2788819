"""Mixed precision: budgets are kept, ends of the path are what they must be, and the path agrees with a brute force."""

import itertools
from functools import partial

import numpy as np
import pytest
import torch

import addersim
from addersim.errors import InputError
from addersim.network.float_run import run_float
from addersim.nn import AdderConv2d
from addersim.quantization.fuse import inner_layers

WIDTHS = (8, 4, 3)


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(3).normal(size=(32, 3, 8, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def network(images):
    """Return a convolution, three adder layers with batch norms that know their inputs, and a classifier."""
    torch.manual_seed(0)
    layers: list[torch.nn.Module] = [torch.nn.Conv2d(3, 6, 3, padding=1)]
    for _ in range(3):
        layers += [torch.nn.ReLU(), AdderConv2d(6, 6, 3, padding=1), torch.nn.BatchNorm2d(6, momentum=1.0)]
    module = torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(6 * 64, 10))
    with torch.no_grad():
        module(torch.from_numpy(images))
    return addersim.from_torch(module.eval(), images[:1])


@pytest.fixture(scope="module")
def every(network, images):
    """Energy and squared logit error of every assignment of two widths, quantised one by one."""
    layers, expected, found = inner_layers(network), run_float(network, images), {}
    for bits in itertools.product((8, 3), repeat=len(layers)):
        qnet = addersim.quantize(network, images, layer_bits=dict(zip(layers, bits, strict=True)))
        error = float(np.mean((addersim.simulate(qnet, images).logits - expected) ** 2))
        found[bits] = addersim.evaluate(qnet.on("adder_16x16")).energy_pj, error
    return found


@pytest.fixture(scope="module")
def choose(network, images):
    return partial(addersim.choose_widths, network, images)


def test_inner_layers_are_all_but_the_ends(network):
    arrays = [node.name for node in network.nodes if "w_krsc" in node.params]
    assert list(inner_layers(network)) == arrays[1:-1]


def test_budgets_that_bind_nothing_give_the_ends_of_the_path(choose):
    narrowest = choose(least_agreement=0.0, widths=WIDTHS)
    assert set(narrowest.layer_bits.values()) == {3}
    widest = choose(most_energy_pj=1e12, widths=WIDTHS)
    assert set(widest.layer_bits.values()) == {8}
    assert narrowest.energy_pj < widest.energy_pj


def test_an_energy_budget_is_kept_by_the_assignment_that_is_best_within_it(choose, every):
    """One step below everything wide, the greedy step is the best price of all single ones; the rest keep 8 bits."""
    wide = every[8, 8, 8]
    single = {bits: every[bits] for bits in every if bits.count(3) == 1}
    best = min(single, key=lambda bits: (single[bits][1] - wide[1]) / (wide[0] - single[bits][0]))
    chosen = choose(most_energy_pj=single[best][0], widths=(8, 3))
    assert tuple(chosen.layer_bits.values()) == best
    assert chosen.energy_pj == pytest.approx(single[best][0])
    tight = choose(most_energy_pj=0.5 * (min(every.values())[0] + wide[0]), widths=(8, 3))
    assert tight.energy_pj <= 0.5 * (min(every.values())[0] + wide[0])


def test_an_accuracy_budget_is_kept_and_saves_energy(choose, network, images):
    chosen = choose(least_agreement=0.9, widths=WIDTHS)
    expected = run_float(network, images).argmax(1)
    assert chosen.agreement == np.mean(addersim.simulate(chosen.qnet, images).logits_int.argmax(1) == expected) >= 0.9
    assert chosen.energy_pj < choose(most_energy_pj=1e12, widths=(8, 4)).energy_pj


def test_a_budget_of_labels_counts_what_is_right(choose, network, images):
    """The float network's classes as labels are the agreement; other labels are another budget."""
    expected = run_float(network, images).argmax(1)
    same = choose(expected, least_accuracy=0.9, widths=WIDTHS)
    assert same.layer_bits == choose(least_agreement=0.9, widths=WIDTHS).layer_bits and same.accuracy == same.agreement
    shifted = np.where(np.arange(len(images)) < 8, (expected + 1) % 10, expected)  # a quarter is wrong
    chosen = choose(shifted, least_accuracy=0.6, widths=WIDTHS)
    right = addersim.simulate(chosen.qnet, images).logits_int.argmax(1) == shifted
    assert chosen.accuracy == np.mean(right) >= 0.6 and chosen.accuracy != chosen.agreement
    with pytest.raises(InputError, match="no widths keep the budget: at the widest the accuracy is 0"):
        choose(shifted, least_accuracy=0.9, widths=WIDTHS)
    assert np.isnan(choose(least_agreement=0.0, widths=WIDTHS).accuracy)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "exactly one of least_agreement, least_accuracy and most_energy_pj"),
        ({"least_accuracy": 0.9}, "least_accuracy needs labels, one per calibration image"),
        ({"least_accuracy": 0.9, "labels": [1, 2]}, r"labels have shape \(2,\), expected \(32,\)"),
        ({"least_agreement": 0.9, "most_energy_pj": 1e6}, "exactly one"),
        ({"least_agreement": 0.9, "widths": (4, 8)}, "expected two or more, the widest first"),
        ({"least_agreement": 0.9, "widths": (8,)}, "expected two or more"),
        ({"least_agreement": 0.9, "bits": 4}, "bits is what choose_widths chooses"),
        ({"least_agreement": 1.1, "widths": (8, 4)}, "no widths keep the budget: at the widest the agreement is"),
        ({"most_energy_pj": 1.0, "widths": (8, 4)}, "no widths keep the budget: at the narrowest an image takes"),
    ],
)
def test_wrong_budgets_are_refused_in_one_line(choose, arguments, message):
    with pytest.raises(InputError, match=message):
        choose(**arguments)
