"""addersim: bit-exact simulation, cost and comparison of multiplication-free neural networks.

Values flow through plain functions: ``from_torch`` or ``Network.load`` -> ``quantize`` -> ``simulate``,
``count``, ``activity``, ``evaluate``, ``compare``, ``validate``, ``dump``, ``sweep``. Names and sub-packages are loaded
when they are first used, so that ``import addersim`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from addersim.version import VERSION

__version__ = VERSION
_HOMES = {
    "Accumulators": "simulation.accumulators",
    "Activity": "simulation.activity",
    "ArrayComparison": "costs.comparison.array_kinds",
    "Comparison": "costs.comparison.compare",
    "Cost": "costs.bill",
    "InputError": "errors",
    "Network": "network.graph",
    "OpCounts": "network.counts",
    "QuantizedNetwork": "network.quantized",
    "Study": "study.study",
    "Tornado": "costs.comparison.tornado",
    "Trace": "simulation.simulate",
    "Validation": "simulation.validate",
    "accumulators": "simulation.accumulators",
    "activity": "simulation.activity",
    "choose_widths": "study.widths",
    "compare": "costs.comparison.compare",
    "compare_arrays": "costs.comparison.array_kinds",
    "count": "network.counts",
    "dump": "interchange.golden_vectors",
    "evaluate": "costs.evaluate",
    "evaluate_machines": "costs.evaluate_machines",
    "example_network": "network.example",
    "from_torch": "network.torch_import",
    "load_checkpoint": "nn",
    "narrowed": "simulation.accumulators",
    "pareto": "study.explore.pareto",
    "quantize": "quantization.quantize",
    "read_topology": "interchange.scalesim",
    "sample": "study.images",
    "schedule_topology": "interchange.scalesim",
    "search": "study.explore.search",
    "simulate": "simulation.simulate",
    "sweep": "study.explore.sweep",
    "tornado": "costs.comparison.tornado",
    "validate": "simulation.validate",
}
_PACKAGES = ("costs", "hardware", "interchange", "kernels", "machines", "nn", "rtl", "topology", "train")
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
    "costs",
    "count",
    "dump",
    "evaluate",
    "evaluate_machines",
    "example_network",
    "from_torch",
    "hardware",
    "interchange",
    "kernels",
    "load_checkpoint",
    "machines",
    "narrowed",
    "nn",
    "pareto",
    "quantize",
    "read_topology",
    "rtl",
    "sample",
    "schedule_topology",
    "search",
    "simulate",
    "sweep",
    "topology",
    "tornado",
    "train",
    "validate",
]

if TYPE_CHECKING:
    from addersim import costs, hardware, interchange, kernels, machines, nn, rtl, topology, train
    from addersim.costs.bill import Cost
    from addersim.costs.comparison.array_kinds import ArrayComparison, compare_arrays
    from addersim.costs.comparison.compare import Comparison, compare
    from addersim.costs.comparison.tornado import Tornado, tornado
    from addersim.costs.evaluate import evaluate
    from addersim.costs.evaluate_machines import evaluate_machines
    from addersim.errors import InputError
    from addersim.interchange.golden_vectors import dump
    from addersim.interchange.scalesim import read_topology, schedule_topology
    from addersim.network.counts import OpCounts, count
    from addersim.network.example import example_network
    from addersim.network.graph import Network
    from addersim.network.quantized import QuantizedNetwork
    from addersim.network.torch_import import from_torch
    from addersim.nn import load_checkpoint
    from addersim.quantization.quantize import quantize
    from addersim.simulation.accumulators import Accumulators, accumulators, narrowed
    from addersim.simulation.activity import Activity, activity
    from addersim.simulation.simulate import Trace, simulate
    from addersim.simulation.validate import Validation, validate
    from addersim.study.explore.pareto import pareto
    from addersim.study.explore.search import search
    from addersim.study.explore.sweep import sweep
    from addersim.study.images import sample
    from addersim.study.study import Study
    from addersim.study.widths import choose_widths


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return import_module(f"addersim.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'addersim' has no attribute {name!r}")
    value = getattr(import_module(f"addersim.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
