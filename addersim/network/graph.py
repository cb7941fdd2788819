"""Tensor, Node, Network: an ordered graph of layers, stored as safetensors with a JSON header.

A node's name is also the name of the tensor it makes. Shapes leave out the image axis N and are
``(C, H, W)`` or ``(C,)``; arrays on edges are N H W C inside the simulator and N C H W in public.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
import safetensors
from numpy.typing import NDArray
from safetensors.numpy import save as safetensors_bytes

from addersim.arithmetic.datapath import Datapath, from_dict
from addersim.arithmetic.fixed import IntFormat
from addersim.arithmetic.output_stage import OutputStage, stage_from_dict
from addersim.errors import InputError
from addersim.files import check_version, write_atomically
from addersim.tabular import Tabular
from addersim.weights.shipped import weights_file

Shape = tuple[int, ...]
N = TypeVar("N", bound="Network")
FORMAT_VERSION = 1


@dataclass(frozen=True)
class EdgeFormat:
    """The integers of one edge: real value = ``(code - zero_point) * step``.

    Examples
    --------
    >>> EdgeFormat(8, signed=False, step=0.5, zero_point=0).range
    (0.0, 127.5)
    """

    bits: int
    signed: bool
    step: float
    zero_point: int = 0

    def __post_init__(self) -> None:
        if not (self.step > 0 and np.isfinite(self.step)):
            raise InputError(f"step = {self.step} is not a positive number")
        if not self.format.holds(self.zero_point, self.zero_point):
            raise InputError(f"zero_point = {self.zero_point} has no code in {self.format}")

    @property
    def format(self) -> IntFormat:
        """The word that carries a code."""
        return IntFormat(self.bits, self.signed)

    @property
    def range(self) -> tuple[float, float]:
        """The real values of the least and the largest code."""
        low, high = self.format.min, self.format.max
        return (low - self.zero_point) * self.step, (high - self.zero_point) * self.step

    def quantise(self, values: NDArray[Any]) -> NDArray[np.int64]:
        """Return ``clamp(rint(values / step) + zero_point)``; ties to even, in float64."""
        codes = np.array(values, np.float64)
        codes /= self.step
        np.rint(codes, out=codes)
        codes += self.zero_point
        return np.asarray(np.clip(codes, self.format.min, self.format.max, out=codes), np.int64)

    def real(self, codes: NDArray[Any]) -> NDArray[np.float64]:
        """Return ``(codes - zero_point) * step``."""
        return (np.asarray(codes, np.float64) - self.zero_point) * self.step


@dataclass(frozen=True)
class Tensor:
    """One edge: its shape without N, and its format once the network is quantised."""

    shape: Shape
    format: EdgeFormat | None = None

    @property
    def integers(self) -> EdgeFormat:
        """The format of an edge that carries integers.

        Raises
        ------
        InputError
            If it carries floats.
        """
        if self.format is None:
            raise InputError("an edge has no integer format: quantise the network first")
        return self.format


@dataclass(frozen=True, eq=False)
class Node:
    """One layer: ``kind`` names the operation on the shelf ``addersim.ops``."""

    name: str
    kind: str
    inputs: tuple[str, ...] = ()
    attrs: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    datapath: Datapath | None = None
    stage: OutputStage | None = None

    @property
    def path(self) -> Datapath:
        """The datapath of a layer on integers; InputError if it has none."""
        if self.datapath is None:
            raise InputError(f"layer {self.name!r} has no datapath: quantise the network first")
        return self.datapath

    @property
    def output_stage(self) -> OutputStage:
        """The output stage of a layer on integers; InputError if it has none."""
        if self.stage is None:
            raise InputError(f"layer {self.name!r} has no output stage: quantise the network first")
        return self.stage

    @property
    def unrounded(self) -> bool:
        """Whether the edge carries the product p of the output stage, which a residual addition rounds."""
        return self.stage is not None and not self.stage.finish

    @property
    def codes_per_step_k(self) -> NDArray[np.float64]:
        """How much finer than a step the edge's codes are: an unrounded product p is ``p / 2**n_k`` steps."""
        return 2.0 ** self.params["shift_k"] if self.unrounded else np.ones(1)


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
        params = {f"{n.name}/{key}": np.ascontiguousarray(value) for n in self.nodes for key, value in n.params.items()}
        graph = json.dumps(_graph(self), sort_keys=True, separators=(",", ":"))
        return bytes(safetensors_bytes(params, metadata={"addersim": graph}))

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
    graph, params = _read(weights_file(path))
    named = {kind.__name__: kind for kind in kinds}
    if graph.get("type") not in named:
        raise InputError(f"{path}: holds a {graph.get('type')}, expected a {' or a '.join(named)}")
    try:
        nodes = tuple(_node(d, params) for d in graph["nodes"])
        tensors = {name: _tensor(d) for name, d in graph["tensors"].items()}
        return named[graph["type"]](graph["name"], nodes, tensors)
    except (KeyError, TypeError, IndexError) as error:
        raise InputError(f"{path}: the network's description lacks or garbles {error}") from error


def _graph(net: Network) -> dict[str, Any]:
    return {
        "type": type(net).__name__,
        "version": FORMAT_VERSION,
        "name": net.name,
        "nodes": [
            {
                "name": n.name,
                "kind": n.kind,
                "inputs": list(n.inputs),
                "attrs": dict(n.attrs),
                "params": sorted(n.params),
                "datapath": n.datapath.to_dict() if n.datapath else None,
                "stage": n.stage.to_dict() if n.stage else None,
            }
            for n in net.nodes
        ],
        "tensors": {
            name: {
                "shape": list(t.shape),
                "format": [t.format.bits, t.format.signed, t.format.step, t.format.zero_point] if t.format else None,
            }
            for name, t in net.tensors.items()
        },
    }


def _read(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    try:
        with safetensors.safe_open(path, framework="numpy") as stream:
            metadata = stream.metadata() or {}
            params = {key: stream.get_tensor(key) for key in stream.keys()}  # noqa: SIM118
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (safetensors.SafetensorError, OSError) as error:
        raise InputError(f"{path}: not a readable safetensors file ({error})") from error
    if "addersim" not in metadata:
        raise InputError(f"{path}: a safetensors file without a network's description (key 'addersim')")
    try:
        graph = json.loads(metadata["addersim"])
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: the network's description is not JSON") from error
    check_version(path, "network format", graph.get("version") if isinstance(graph, dict) else None, FORMAT_VERSION)
    for key, value in params.items():
        if not np.all(np.isfinite(value)):
            raise InputError(f"{path}: {key} holds NaN or infinity")
    return graph, params


def _node(d: dict[str, Any], params: Mapping[str, NDArray[Any]]) -> Node:
    own = {key: params[f"{d['name']}/{key}"] for key in d["params"]}
    attrs = {key: tuple(v) if isinstance(v, list) else v for key, v in d["attrs"].items()}
    datapath = from_dict(d["datapath"]) if d["datapath"] else None
    stage = stage_from_dict(d["stage"]) if d["stage"] else None
    return Node(d["name"], d["kind"], tuple(d["inputs"]), attrs, own, datapath, stage)


def _tensor(d: dict[str, Any]) -> Tensor:
    return Tensor(tuple(d["shape"]), EdgeFormat(*d["format"]) if d["format"] else None)
