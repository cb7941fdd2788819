"""What a user's script looks like to a type checker; `make lint` checks it from a folder of its own."""

from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

import addersim
from addersim.hardware import Hardware
from addersim.kernels.plan import LayerPlan, LayerRunner
from addersim.network.quantized import QuantizedNetwork
from addersim.simulation.simulate import Trace
from addersim.train.recipe import Recipe

images: NDArray[np.float32] = np.zeros((1, 1, 28, 28), np.float32)
network = addersim.example_network()
assert_type(network, addersim.Network)
qnet = addersim.quantize(network, images, 4, correction="mean", layer_bits={"conv2": 3})
assert_type(qnet, QuantizedNetwork)
assert_type(addersim.hardware.load_hardware("adder_16x16"), Hardware)
assert_type(addersim.hardware.load_hardware("adder_16x16").rows, int)
assert_type(addersim.evaluate(qnet.on("adder_16x16")).energy_pj, float)
assert_type(addersim.simulate(qnet, images), Trace)
assert_type(addersim.count(qnet).additions, int)
assert_type(addersim.train.read_recipe("recipe.toml"), Recipe)
assert_type(addersim.machines.evaluate_machines(qnet, "adder_16x16", {"rows": [8]}), dict[str, NDArray[Any]])


def run(plan: LayerPlan) -> LayerRunner:
    """Return a layer of the native core."""
    return addersim.kernels.native.layer(plan)
