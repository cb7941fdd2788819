"""addersim: bit-exact simulation, cost and comparison of multiplication-free neural networks.

Values flow through plain functions: ``from_torch`` or ``Network.load`` -> ``quantize`` -> ``simulate``,
``count``, ``activity``, ``evaluate``, ``compare``, ``validate``, ``dump``, ``sweep``. Names are loaded
when they are first used, so that ``import addersim`` costs nothing.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "Accumulators": "accumulators",
    "Activity": "activity",
    "ArrayComparison": "arrays",
    "Comparison": "compare",
    "Cost": "evaluate",
    "InputError": "errors",
    "Network": "network",
    "OpCounts": "counts",
    "QuantizedNetwork": "quantized",
    "Study": "study",
    "Tornado": "tornado",
    "Trace": "simulate",
    "Validation": "validate",
    "accumulators": "accumulators",
    "activity": "activity",
    "choose_widths": "widths",
    "compare": "compare",
    "compare_arrays": "arrays",
    "count": "counts",
    "dump": "dump",
    "evaluate": "evaluate",
    "example_network": "example",
    "from_torch": "importer",
    "load_checkpoint": "nn",
    "narrowed": "accumulators",
    "pareto": "explore",
    "quantize": "quantize",
    "sample": "images",
    "search": "explore",
    "simulate": "simulate",
    "sweep": "explore",
    "tornado": "tornado",
    "validate": "validate",
}
__all__ = [
    "Accumulators",
    "Activity",
    "ArrayComparison",
    "Comparison",
    "Cost",
    "InputError",
    "Network",
    "OpCounts",
    "QuantizedNetwork",
    "Study",
    "Tornado",
    "Trace",
    "Validation",
    "accumulators",
    "activity",
    "choose_widths",
    "compare",
    "compare_arrays",
    "count",
    "dump",
    "evaluate",
    "example_network",
    "from_torch",
    "load_checkpoint",
    "narrowed",
    "pareto",
    "quantize",
    "sample",
    "search",
    "simulate",
    "sweep",
    "tornado",
    "validate",
]

if TYPE_CHECKING:
    from addersim.accumulators import Accumulators, accumulators, narrowed
    from addersim.activity import Activity, activity
    from addersim.arrays import ArrayComparison, compare_arrays
    from addersim.compare import Comparison, compare
    from addersim.counts import OpCounts, count
    from addersim.dump import dump
    from addersim.errors import InputError
    from addersim.evaluate import Cost, evaluate
    from addersim.example import example_network
    from addersim.explore import pareto, search, sweep
    from addersim.images import sample
    from addersim.importer import from_torch
    from addersim.network import Network
    from addersim.nn import load_checkpoint
    from addersim.quantize import quantize
    from addersim.quantized import QuantizedNetwork
    from addersim.simulate import Trace, simulate
    from addersim.study import Study
    from addersim.tornado import Tornado, tornado
    from addersim.validate import Validation, validate
    from addersim.widths import choose_widths


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'addersim' has no attribute {name!r}")
    value = getattr(import_module(f"addersim.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__


class _Package(ModuleType):
    """Keeps ``addersim.simulate`` the function: importing the module of that name does not hide it."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
