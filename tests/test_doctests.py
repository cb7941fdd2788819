"""Every example in a docstring runs and prints what it says."""

import doctest
import importlib
import pkgutil
from types import ModuleType

import pytest

import addersim

MODULES = [
    info.name
    for info in pkgutil.walk_packages(addersim.__path__, "addersim.")
    if not info.name.endswith(("__main__", "_native"))
]


@pytest.mark.parametrize("name", MODULES)
def test_examples(name, shelves):
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0


def test_public_functions_have_runnable_examples():
    finder = doctest.DocTestFinder(recurse=False)
    for name in addersim.__all__:
        thing = getattr(addersim, name)
        assert thing.__doc__, name
        if isinstance(thing, ModuleType):
            continue
        if name[0].islower() and name not in {"load_checkpoint"}:
            assert any(test.examples for test in finder.find(thing, name)), name
