"""Residency: which edges stay, at the byte; what concatenation, upsampling and slicing stand for."""

from __future__ import annotations

import pytest
from builders import CONCAT, machine, network, pointwise, shared

from addersim.hardware import Hardware, load_hardware
from addersim.mapping.residency import Residency, residency, share_bits
from addersim.network.counts import count
from addersim.network.node import Node
from addersim.network.quantized import QuantizedNetwork


def found(qnet: QuantizedNetwork, on: Hardware) -> Residency:
    return residency(qnet, on, {row.layer for row in count(qnet).rows})


CHAIN = network(pointwise("a", "x", 3, 2), pointwise("b", "a", 5, 3), pointwise("c", "b", 2, 5))


@pytest.mark.parametrize(
    ("inputs", "outputs", "kept"),
    [
        (80, 80, {"x", "a", "b"}),
        (79, 80, {"x", "a"}),
        (80, 79, {"x", "a"}),
        (47, 80, {"x"}),
        (32, 1, {"x"}),
        (31, 80, set()),
    ],
)
def test_an_edge_stays_if_it_fits_the_buffers_of_inputs_and_outputs(inputs: int, outputs: int, kept: set[str]) -> None:
    """The image has 32 bytes, a 48, b 80; the output goes to DRAM whatever fits."""
    assert found(CHAIN, machine(inputs, outputs)).kept == kept


@pytest.mark.parametrize(
    ("size_bytes", "double", "kept"), [(240, False, 3), (239, False, 2), (480, True, 3), (479, True, 2)]
)
def test_a_shared_buffer_gives_each_operand_its_share(size_bytes: int, double: bool, kept: int) -> None:
    on = shared(size_bytes, double)
    assert len(found(CHAIN, on).kept) == kept
    assert share_bits(on, "inputs") == 8 * (size_bytes // (1 + double)) // 3


def test_without_a_buffer_nothing_stays() -> None:
    on = load_hardware("adder_16x16", buffers=[])
    never = dict.fromkeys(("x", "a", "b"), False)
    assert found(CHAIN, on) == Residency(found(CHAIN, on).sources, never, frozenset(), 0)
    assert found(CHAIN, on).kept == set()


@pytest.mark.parametrize(("size_bytes", "stays"), [(24, True), (23, False)])
def test_weights_stay_if_those_of_all_layers_fit(size_bytes: int, stays: bool) -> None:
    """6 + 15 + 10 words of 6 bits are 186 bits."""
    assert found(CHAIN, machine(80, 80, size_bytes)).weight_bits == (186 if stays else 0)


def test_a_concatenation_is_made_of_its_parts_which_stay_together_or_not_at_all() -> None:
    """48 bytes each; a is read alone as well, so where both do not fit it is fetched there too."""
    roomy, tight = found(CONCAT, machine(96, 96)), found(CONCAT, machine(95, 96))
    assert roomy.sources["both"] == ("a", "b")
    assert roomy.kept == {"x", "a", "b", "c"}
    assert tight.kept == {"x", "c"}


def test_spilling_spreads_over_edges_that_are_read_together() -> None:
    qnet = network(
        pointwise("a", "x", 3, 2),
        pointwise("b", "x", 3, 2),
        pointwise("c", "x", 1, 2),
        Node("ab", "concat", ("a", "b")),
        Node("bc", "concat", ("b", "c")),
        pointwise("d", "ab", 1, 6),
        pointwise("e", "bc", 1, 4),
        Node("de", "concat", ("d", "e")),
        pointwise("f", "de", 2, 2),
    )
    assert found(qnet, machine(96)).kept == {"x", "a", "b", "c", "d", "e"}
    assert found(qnet, machine(80)).kept == {"x", "d", "e"}  # a + b do not fit, and c waits with b


def test_an_output_of_renamed_words_goes_to_dram() -> None:
    qnet = network(pointwise("a", "x", 3, 2), Node("flat", "flatten", ("a",)))
    assert found(qnet, machine(4096)).kept == {"x"}
