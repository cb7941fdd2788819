"""fuse: which float nodes become one integer layer: layer, batch norm and rectifier, up to the rounding."""

from __future__ import annotations

from dataclasses import dataclass

from addersim.network.graph import Network, Node
from addersim.network.ops import OPS


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


def fuse(network: Network) -> tuple[Fused, ...]:
    """Return the fused nodes in order; every float node is in exactly one of them."""
    absorbed: set[str] = set()
    fused = []
    for node in network.nodes:
        if node.name not in absorbed:
            fused.append(_fuse(network, node))
            absorbed |= _names(fused[-1], network)
    return tuple(fused)


def _fuse(network: Network, root: Node) -> Fused:
    is_layer = OPS[root.kind].array is not None
    if not (is_layer or root.kind in ("add", "batch_norm")):
        return Fused(root, None, False, root.name, False)
    end, norm = root.name, None
    follower = _only_reader(network, end)
    if is_layer and follower is not None and follower.kind == "batch_norm":
        end, norm = follower.name, follower
        follower = _only_reader(network, end)
    if follower is not None and follower.kind == "relu":
        return Fused(root, norm, True, follower.name, False)
    partial = root.kind != "add" and follower is not None and follower.kind == "add"
    first = not partial or (follower is not None and follower.inputs[0] == end)
    return Fused(root, norm, False, end, partial, first)


def _only_reader(network: Network, name: str) -> Node | None:
    readers = network.consumers(name)
    return readers[0] if len(readers) == 1 and readers[0].inputs.count(name) == 1 else None


def _names(fused: Fused, network: Network) -> set[str]:
    names = {fused.root.name, fused.end}
    return names | {fused.norm.name} if fused.norm else names


def output_layers(network: Network) -> set[str]:
    """Return the layers between which and the output there is neither a layer nor a rectifier."""
    found, to_visit = set(), [network.nodes[-1].name]
    while to_visit:
        node = network.node(to_visit.pop())
        if OPS[node.kind].array is not None:
            found.add(node.name)
        elif node.kind != "relu":
            to_visit += node.inputs
    return found


def end_layers(network: Network) -> frozenset[str]:
    """Return the first layer and the last ones."""
    layers = [node.name for node in network.nodes if OPS[node.kind].array is not None]
    return frozenset({*layers[:1], *layers[-1:], *output_layers(network)})


def inner_layers(network: Network) -> tuple[str, ...]:
    """Return the layers that are neither first nor last, in order."""
    ends = end_layers(network)
    return tuple(n.name for n in network.nodes if OPS[n.kind].array is not None and n.name not in ends)
