"""fuse: which float nodes become one integer layer: layer, batch norm and rectifier, up to the rounding."""

from __future__ import annotations

from dataclasses import dataclass

from addersim.network.graph import Network
from addersim.network.node import Node
from addersim.network.ops import OPS, Role


@dataclass(frozen=True)
class Fused:
    """Float nodes that become one quantised node.

    Attributes
    ----------
    root
        The layer, addition, lone batch norm, or any other node.
    norm
        The batch norm behind a layer, or ``None``.
    relu
        Whether a rectifier ends it.
    end
        Name of the float edge it ends at.
    partial
        Whether it stops before the rounding since a residual addition reads it alone.
    adds_zero
        Whether its offset brings in the output's zero point; of an addition's branches only the first does.
    """

    root: Node
    norm: Node | None
    relu: bool
    end: str
    partial: bool
    adds_zero: bool = True

    @property
    def batch_norm(self) -> Node | None:
        """The batch norm behind a layer, or the root if it is one."""
        return self.root if role(self.root) == "norm" else self.norm


def fuse(network: Network) -> tuple[Fused, ...]:
    """Return the fused nodes in order; every float node is in exactly one of them."""
    absorbed: set[str] = set()
    fused = []
    for node in network.nodes:
        if node.name not in absorbed:
            fused.append(_fuse(network, node))
            absorbed |= _names(fused[-1])
    return tuple(fused)


def role(node: Node) -> Role:
    """Return what the node's operation is to quantisation."""
    return OPS[node.kind].role


def _fuse(network: Network, root: Node) -> Fused:
    if role(root) not in ("layer", "add", "norm"):
        return Fused(root, None, False, root.name, False)
    end = root.name
    norm = _only_reader(network, end, "norm") if role(root) == "layer" else None
    end = norm.name if norm else end
    rectifier = _only_reader(network, end, "rectifier")
    if rectifier is not None:
        return Fused(root, norm, True, rectifier.name, False)
    addition = _only_reader(network, end, "add") if role(root) != "add" else None
    first = addition is None or addition.inputs[0] == end
    return Fused(root, norm, False, end, addition is not None, first)


def _only_reader(network: Network, name: str, wanted: Role) -> Node | None:
    """Return the node that alone reads an edge, once, if it has that role."""
    readers = network.consumers(name)
    alone = len(readers) == 1 and readers[0].inputs.count(name) == 1
    return readers[0] if alone and role(readers[0]) == wanted else None


def _names(fused: Fused) -> set[str]:
    names = {fused.root.name, fused.end}
    return names | {fused.norm.name} if fused.norm else names


def output_layers(network: Network) -> set[str]:
    """Return the layers between which and the output there is neither a layer nor a rectifier."""
    found, to_visit = set(), [network.nodes[-1].name]
    while to_visit:
        node = network.node(to_visit.pop())
        if role(node) == "layer":
            found.add(node.name)
        elif role(node) != "rectifier":
            to_visit += node.inputs
    return found


def end_layers(network: Network) -> frozenset[str]:
    """Return the first layer and the last ones."""
    layers = [node.name for node in network.nodes if role(node) == "layer"]
    return frozenset({*layers[:1], *layers[-1:], *output_layers(network)})


def inner_layers(network: Network) -> tuple[str, ...]:
    """Return the layers that are neither first nor last, in order."""
    ends = end_layers(network)
    return tuple(n.name for n in network.nodes if role(n) == "layer" and n.name not in ends)
