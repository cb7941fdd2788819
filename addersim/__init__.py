"""addersim: bit-exact simulation, cost and comparison of multiplication-free neural networks.

Values flow through plain functions: ``from_torch`` or ``Network.load`` -> ``quantize`` -> ``simulate``,
``count``, ``activity``, ``evaluate``, ``compare``, ``validate``, ``dump``, ``sweep``. Names and sub-packages are loaded
when they are first used, so that ``import addersim`` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from addersim.shelf import lazy
from addersim.version import VERSION

if TYPE_CHECKING:  # what a type checker reads; the table below is what happens
    from addersim import costs as costs
    from addersim import hardware as hardware
    from addersim import interchange as interchange
    from addersim import kernels as kernels
    from addersim import machines as machines
    from addersim import nn as nn
    from addersim import rtl as rtl
    from addersim import topology as topology
    from addersim import train as train
    from addersim.costs.bill import Cost as Cost
    from addersim.costs.comparison.array_kinds import ArrayComparison as ArrayComparison
    from addersim.costs.comparison.array_kinds import compare_arrays as compare_arrays
    from addersim.costs.comparison.compare import Comparison as Comparison
    from addersim.costs.comparison.compare import compare as compare
    from addersim.costs.comparison.tornado import Tornado as Tornado
    from addersim.costs.comparison.tornado import tornado as tornado
    from addersim.costs.evaluate import evaluate as evaluate
    from addersim.costs.evaluate_machines import evaluate_machines as evaluate_machines
    from addersim.errors import InputError as InputError
    from addersim.interchange.golden_vectors import dump as dump
    from addersim.interchange.scalesim import read_topology as read_topology
    from addersim.interchange.scalesim import schedule_topology as schedule_topology
    from addersim.network.counts import OpCounts as OpCounts
    from addersim.network.counts import count as count
    from addersim.network.example import example_network as example_network
    from addersim.network.graph import Network as Network
    from addersim.network.quantized import QuantizedNetwork as QuantizedNetwork
    from addersim.network.torch_import import from_torch as from_torch
    from addersim.nn import load_checkpoint as load_checkpoint
    from addersim.quantization.quantize import quantize as quantize
    from addersim.shelf import load_plugin as load_plugin
    from addersim.simulation.accumulators import Accumulators as Accumulators
    from addersim.simulation.accumulators import accumulators as accumulators
    from addersim.simulation.accumulators import narrowed as narrowed
    from addersim.simulation.activity import Activity as Activity
    from addersim.simulation.activity import activity as activity
    from addersim.simulation.simulate import Trace as Trace
    from addersim.simulation.simulate import simulate as simulate
    from addersim.simulation.validate import Validation as Validation
    from addersim.simulation.validate import validate as validate
    from addersim.study.explore.pareto import pareto as pareto
    from addersim.study.explore.search import search as search
    from addersim.study.explore.sweep import sweep as sweep
    from addersim.study.images import sample as sample
    from addersim.study.study import Study as Study
    from addersim.study.widths import choose_widths as choose_widths

__version__ = VERSION
_NAMES = {  # by where they live; "" for the sub-packages themselves
    "": "costs hardware interchange kernels machines nn rtl topology train",
    "costs.bill": "Cost",
    "costs.comparison.array_kinds": "ArrayComparison compare_arrays",
    "costs.comparison.compare": "Comparison compare",
    "costs.comparison.tornado": "Tornado tornado",
    "costs.evaluate": "evaluate",
    "costs.evaluate_machines": "evaluate_machines",
    "errors": "InputError",
    "interchange.golden_vectors": "dump",
    "interchange.scalesim": "read_topology schedule_topology",
    "network.counts": "OpCounts count",
    "network.example": "example_network",
    "network.graph": "Network",
    "network.quantized": "QuantizedNetwork",
    "network.torch_import": "from_torch",
    "nn": "load_checkpoint",
    "quantization.quantize": "quantize",
    "shelf": "load_plugin",
    "simulation.accumulators": "Accumulators accumulators narrowed",
    "simulation.activity": "Activity activity",
    "simulation.simulate": "Trace simulate",
    "simulation.validate": "Validation validate",
    "study.explore.pareto": "pareto",
    "study.explore.search": "search",
    "study.explore.sweep": "sweep",
    "study.images": "sample",
    "study.study": "Study",
    "study.widths": "choose_widths",
}
__all__ = sorted(name for names in _NAMES.values() for name in names.split())
if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy(__name__, _NAMES)
