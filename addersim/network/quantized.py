"""QuantizedNetwork: a network of integers, with a datapath per layer."""

from __future__ import annotations

import os

from addersim.hardware import Hardware, load_hardware
from addersim.hardware.fit import fit
from addersim.network.graph import Network
from addersim.network.ops import OPS


class QuantizedNetwork(Network):
    """A network whose edges all have integer formats and whose layers carry datapaths.

    Its logits are ``(codes - zero_point) * step`` of the output edge. It is saved and loaded as every
    :class:`~addersim.network.graph.Network`.

    Examples
    --------
    >>> import addersim
    >>> images, _ = addersim.sample("fashion_sample", limit=4)
    >>> qnet = addersim.quantize(addersim.example_network(), images)
    >>> qnet.on("adder_16x16").node("conv2").datapath.accumulator.format.bits
    24
    """

    def on(self, hardware: Hardware | str | os.PathLike[str]) -> QuantizedNetwork:
        """Return the network with the machine's datapath in every layer.

        Raises
        ------
        InputError
            Names the first layer that does not fit the machine.
        """
        machine = load_hardware(hardware)
        paths = {
            node.name: fit(machine, node.name, array, node.datapath)
            for node in self.nodes
            if (array := OPS[node.kind].array) is not None and node.datapath is not None
        }
        return self.with_datapaths(paths)
