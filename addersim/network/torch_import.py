"""from_torch: a PyTorch module to a Network, through torch.export."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain, count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from addersim.errors import InputError, nearest
from addersim.network.graph import Network
from addersim.network.node import Node, Shape, Tensor
from addersim.network.ops import OPS, Edge

IDENTITIES = {
    "aten.dropout.default",
    "aten.clone.default",
    "aten.contiguous.default",
    "aten.detach.default",
    "aten.detach_.default",
    "aten.alias.default",
}


def from_torch(module: Any, example: Any, name: str | None = None) -> Network:
    """Return the network of a PyTorch module.

    Parameters
    ----------
    module
        A ``torch.nn.Module``; it is exported in evaluation mode. Or a ``torch.export.ExportedProgram``.
    example
        One batch of inputs, N C H W; only its shape and type matter.
    name
        Name of the network; by default the module's class.

    Raises
    ------
    InputError
        If a layer is not on the shelf ``addersim.ops`` (its name and place are in the message), a
        parameter holds NaN, or the module has more than one input or output.

    Examples
    --------
    >>> import torch, addersim
    >>> module = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU())
    >>> net = addersim.from_torch(module, torch.zeros(1, 1, 5, 5))
    >>> [node.kind for node in net.nodes]
    ['input', 'conv2d', 'relu']
    """
    import torch

    if isinstance(module, torch.export.ExportedProgram):
        return _from_program(module, name or "network")
    example = torch.as_tensor(np.asarray(example), dtype=torch.float32)[:1]
    was_training = module.training
    try:
        with torch.no_grad():
            program = torch.export.export(module.eval(), (example,), strict=False)
    except Exception as error:
        first = (str(error).strip().splitlines() or [""])[0]
        raise InputError(f"torch.export cannot trace {type(module).__name__}: {first}") from error
    finally:
        module.train(was_training)
    return _from_program(program, name or type(module).__name__)


def _from_program(program: Any, name: str) -> Network:
    """Walk the exported graph once, in order."""
    walk = _Walk(name, _arrays(program))
    calls = Counter(_place(fx) for fx in program.graph.nodes if fx.op == "call_function")
    for fx in program.graph.nodes:
        if fx.op == "placeholder" and fx.name not in walk.arrays:
            walk.take_input(fx)
        elif fx.op == "call_function":
            walk.take_call(fx, calls)
        elif fx.op == "output":
            return walk.finished([walk.edges.get(a.name) for a in _flat(fx.args)])
    raise InputError(f"{name}: the exported graph has no output")


@dataclass
class _Walk:
    """The nodes so far; ``edges`` are by the fx nodes whose values they carry, ``arrays`` by those of constants."""

    name: str
    arrays: dict[str, NDArray[Any]]
    nodes: list[Node] = field(default_factory=list)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    edges: dict[str, Edge] = field(default_factory=dict)

    def take_input(self, fx: Any) -> None:
        if self.nodes:
            raise InputError(f"{self.name}: more than one input ({self.nodes[0].name!r} and {fx.name!r})")
        shape = _shape(fx)
        self._put(fx, Node("input", "input", attrs={"shape": shape}), shape)

    def take_call(self, fx: Any, calls: Mapping[str, int]) -> None:
        """Take an operator's call as a node, as the edge it hands on, or as a constant."""
        arguments = _arguments(fx, self.edges, self.arrays)
        if str(fx.target) in IDENTITIES:
            self.edges[fx.name] = self.edges[fx.args[0].name]
        elif not any(isinstance(leaf, Edge) for leaf in _flat(list(arguments.values()))):
            self.arrays[fx.name] = _constant(fx, arguments)
        else:
            node = _import(fx, arguments, set(self.tensors), calls)
            self._put(fx, node, OPS[node.kind].shape(node, *(self.tensors[i].shape for i in node.inputs)))

    def _put(self, fx: Any, node: Node, shape: Shape) -> None:
        self.nodes.append(node)
        self.tensors[node.name], self.edges[fx.name] = Tensor(shape), Edge(node.name, shape)

    def finished(self, outputs: list[Edge | None]) -> Network:
        """Return the network up to its output, without nodes that nobody reads."""
        output = outputs[0] if len(outputs) == 1 else None
        if output is None or output.name == "input":
            raise InputError(f"{self.name}: expected one output tensor that depends on the input, found {len(outputs)}")
        used = {output.name}
        for node in reversed(self.nodes):
            used.update(node.inputs if node.name in used else ())
        kept = tuple(node for node in self.nodes if node.name in used or not node.inputs)
        return Network(self.name, kept, {node.name: self.tensors[node.name] for node in kept})


def _import(fx: Any, arguments: Mapping[str, Any], taken: set[str], calls: Mapping[str, int]) -> Node:
    """Return the node of one call; a module that makes one call lends its name, others qualify theirs."""
    target, place = str(fx.target), _place(fx)
    where = f"{place or fx.name} ({target})"
    importers = {aten: op for op in OPS.values() for aten in op.aten}
    if target not in importers:
        raise InputError(f"unsupported layer {where}{nearest(target, importers)}")
    op = importers[target]
    try:
        imported = op.from_aten(arguments)
    except InputError as error:
        raise InputError(f"unsupported layer {where}: {error}") from error
    call = target.split(".")[1].rstrip("_")
    base = place if place and calls[place] == 1 else f"{place}.{call}".lstrip(".")
    params = {key: np.asarray(value, np.float32) for key, value in imported.params.items()}
    return Node(_free(base, taken), imported.kind or op.kind, imported.inputs, imported.attrs, params)


def _free(base: str, taken: set[str]) -> str:
    """Return a name that is not taken: ``base``, or ``base`` with the first number from 2 on that is free."""
    return next(name for name in chain([base], (f"{base}{i}" for i in count(2))) if name not in taken)


def _constant(fx: Any, arguments: Mapping[str, Any]) -> NDArray[Any]:
    """Return what an operator makes of parameters alone, such as a reshaped bias."""
    import torch

    tensors = {key: torch.as_tensor(v) if isinstance(v, np.ndarray) else v for key, v in arguments.items()}
    return np.asarray(fx.target(**tensors))


def _place(fx: Any) -> str:
    """Return the dotted name of the module in which an fx node was traced, or ``""``."""
    stack = list((fx.meta.get("nn_module_stack") or {}).values())
    path = stack[-1][0] if stack else ""
    return str(path).removeprefix("L['self'].").removeprefix("L['self']").lstrip(".")


def _shape(fx: Any) -> Shape:
    value = fx.meta["val"]
    return tuple(int(n) for n in value.shape[1:])


def _arrays(program: Any) -> dict[str, NDArray[Any]]:
    """Return the parameters, buffers and constants of an exported program by placeholder name."""
    signature = program.graph_signature
    sources = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    found: dict[str, NDArray[Any]] = {}
    constants = dict(program.constants)
    for placeholder, target in {**sources, **signature.inputs_to_lifted_tensor_constants}.items():
        tensor = program.state_dict[target] if target in program.state_dict else constants[target]
        found[placeholder] = tensor.detach().cpu().numpy()
        if not np.all(np.isfinite(found[placeholder])):
            raise InputError(f"parameter {target} holds NaN or infinity")
    return found


def _arguments(fx: Any, edges: Mapping[str, Edge], arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """Return the operator's arguments by the names of its schema, with edges and arrays in place of fx nodes."""

    def resolve(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [resolve(v) for v in value]
        if not hasattr(value, "op"):
            return value
        found = edges.get(value.name, arrays.get(value.name))
        if found is None:
            raise InputError(f"{fx.name} reads {value.name!r}, which is neither a layer's output nor a parameter")
        return found

    schema = getattr(fx.target, "_schema", None)
    if schema is None:
        raise InputError(f"unsupported layer {_place(fx) or fx.name} ({fx.target})")
    named = {argument.name: argument.default_value for argument in schema.arguments if argument.has_default_value()}
    named |= {argument.name: value for argument, value in zip(schema.arguments, fx.args, strict=False)}
    return {key: resolve(value) for key, value in {**named, **fx.kwargs}.items()}


def _flat(value: Any) -> list[Any]:
    if isinstance(value, list | tuple):
        return [leaf for item in value for leaf in _flat(item)]
    return [value]
