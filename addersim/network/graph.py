"""Network: an ordered graph of layers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self, TypeVar

from addersim.arithmetic.datapath import Datapath
from addersim.errors import InputError
from addersim.files import write_atomically
from addersim.network import network_file
from addersim.network.node import EdgeFormat, Node, Shape, Tensor
from addersim.tabular import Tabular
from addersim.weights.shipped import weights_file

N = TypeVar("N", bound="Network")


@dataclass(frozen=True, eq=False, repr=False)
class Network(Tabular):
    """Nodes in execution order; the first has kind ``"input"``, the last one makes the output.

    Examples
    --------
    >>> import addersim, tempfile, pathlib
    >>> net = addersim.example_network()
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "net.safetensors"
    >>> net.save(path)
    >>> addersim.Network.load(path).nodes[0].kind
    'input'
    """

    name: str
    nodes: tuple[Node, ...]
    tensors: Mapping[str, Tensor]

    def __post_init__(self) -> None:
        known: set[str] = set()
        for node in self.nodes:
            missing = [name for name in node.inputs if name not in known]
            if missing:
                raise InputError(f"network {self.name!r}: node {node.name!r} reads {missing[0]!r} before it is made")
            if node.name in known:
                raise InputError(f"network {self.name!r}: two nodes are called {node.name!r}")
            known.add(node.name)

    @property
    def input(self) -> Tensor:
        """The input edge."""
        return self.tensors[self.nodes[0].name]

    @property
    def output(self) -> Tensor:
        """The output edge: the logits of a classifier."""
        return self.tensors[self.nodes[-1].name]

    def node(self, name: str) -> Node:
        """Return the node called ``name``."""
        return next(node for node in self.nodes if node.name == name)

    def format(self, edge: str) -> EdgeFormat:
        """Return the format of an edge's integers.

        Raises
        ------
        InputError
            If the network is not quantised.
        """
        form = self.tensors[edge].format
        if form is None:
            raise InputError(f"edge {edge!r} has no integer format: quantise the network first")
        return form

    def in_shapes(self, node: Node) -> tuple[Shape, ...]:
        """Return the shapes of the edges that ``node`` reads."""
        return tuple(self.tensors[name].shape for name in node.inputs)

    def consumers(self, name: str) -> tuple[Node, ...]:
        """Return the nodes that read edge ``name``."""
        return tuple(node for node in self.nodes if name in node.inputs)

    def with_datapaths(self, datapaths: Mapping[str, Datapath]) -> Self:
        """Return the network with the datapaths of the named nodes exchanged."""
        nodes = tuple(replace(n, datapath=datapaths.get(n.name, n.datapath)) for n in self.nodes)
        return replace(self, nodes=nodes)

    def to_pandas(self) -> Any:
        """Return one row per node: name, kind, inputs, shape, format, parameters."""
        import pandas as pd

        rows = [
            {
                "name": node.name,
                "kind": node.kind,
                "inputs": ", ".join(node.inputs),
                "shape": "x".join(map(str, self.tensors[node.name].shape)),
                "format": str(form.format) if (form := self.tensors[node.name].format) else "float",
                "parameters": sum(value.size for value in node.params.values()),
            }
            for node in self.nodes
        ]
        return pd.DataFrame(rows)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the network as safetensors, first under a temporary name; same network, same bytes."""
        write_atomically(Path(path), self.to_bytes())

    def to_bytes(self) -> bytes:
        """Return what :meth:`save` writes."""
        return network_file.written(type(self).__name__, self.name, self.nodes, self.tensors)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a network that :meth:`save` wrote, or a shipped one by its name (``addersim list networks``).

        Raises
        ------
        InputError
            If the file is missing, truncated, or holds something else; the message names it.
        """
        return read_network(path, cls)


def read_network(path: str | os.PathLike[str], *kinds: type[N]) -> N:
    """Return the network in a file, of that one of ``kinds`` which its header names.

    Raises
    ------
    InputError
        As :meth:`Network.load`.
    """
    graph, params = network_file.read(weights_file(path))
    named = {kind.__name__: kind for kind in kinds}
    if graph.get("type") not in named:
        raise InputError(f"{path}: holds a {graph.get('type')}, expected a {' or a '.join(named)}")
    try:
        nodes = tuple(network_file.node_of(d, params) for d in graph["nodes"])
        tensors = {name: network_file.tensor_of(d) for name, d in graph["tensors"].items()}
        return named[graph["type"]](graph["name"], nodes, tensors)
    except (KeyError, TypeError, IndexError) as error:
        raise InputError(f"{path}: the network's description lacks or garbles {error}") from error
