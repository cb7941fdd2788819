"""Shelves: look-up, order, errors; and the error's suggestion."""

import pytest

from addersim.errors import InputError, nearest
from addersim.shelf import Shelf


def test_names_are_sorted_and_unique():
    shelf = Shelf[int]("number")
    shelf.add("two", 2)
    assert shelf.add("one", 1) == 1
    assert list(shelf) == ["one", "two"] and len(shelf) == 2 and shelf["two"] == 2
    with pytest.raises(ValueError, match="two numbers are called 'one'"):
        shelf.add("one", 3)


def test_unknown_names_suggest_the_nearest():
    shelf = Shelf[int]("number")
    shelf.add("seven", 7)
    with pytest.raises(InputError, match="unknown number 'sevn'; did you mean 'seven'"):
        shelf["sevn"]
    assert nearest("zzz", ["a", "b"]) == "; known: a, b"


def test_a_package_fills_its_shelf():
    from addersim.network.ops import OPS

    assert {"adder_conv2d", "conv2d", "add", "max_pool"} <= set(OPS)
