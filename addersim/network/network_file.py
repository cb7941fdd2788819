"""The file of a network: safetensors with a JSON header that describes the graph."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from numpy.typing import NDArray
from safetensors.numpy import save as safetensors_bytes

from addersim.arithmetic.datapath import from_dict
from addersim.arithmetic.output_stage import stage_from_dict
from addersim.errors import InputError
from addersim.files import check_version
from addersim.network.node import EdgeFormat, Node, Tensor

FORMAT_VERSION = 1


def written(kind: str, name: str, nodes: Iterable[Node], tensors: Mapping[str, Tensor]) -> bytes:
    """Return the bytes of a network's file; the same network gives the same bytes."""
    listed = list(nodes)
    params = {f"{n.name}/{key}": np.ascontiguousarray(value) for n in listed for key, value in n.params.items()}
    graph = json.dumps(_graph(kind, name, listed, tensors), sort_keys=True, separators=(",", ":"))
    return bytes(safetensors_bytes(params, metadata={"addersim": graph}))


def _graph(kind: str, name: str, nodes: list[Node], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    return {
        "type": kind,
        "version": FORMAT_VERSION,
        "name": name,
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
            for n in nodes
        ],
        "tensors": {
            edge: {
                "shape": list(t.shape),
                "format": [t.format.bits, t.format.signed, t.format.step, t.format.zero_point] if t.format else None,
            }
            for edge, t in tensors.items()
        },
    }


def read(path: Path) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return the description in a network's file, and its arrays.

    Raises
    ------
    InputError
        If the file is missing, truncated, of a newer version, or holds something else.
    """
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


def node_of(d: dict[str, Any], params: Mapping[str, NDArray[Any]]) -> Node:
    """Return the node that a description has, with its arrays out of ``params``."""
    own = {key: params[f"{d['name']}/{key}"] for key in d["params"]}
    attrs = {key: tuple(v) if isinstance(v, list) else v for key, v in d["attrs"].items()}
    datapath = from_dict(d["datapath"]) if d["datapath"] else None
    stage = stage_from_dict(d["stage"]) if d["stage"] else None
    return Node(d["name"], d["kind"], tuple(d["inputs"]), attrs, own, datapath, stage)


def tensor_of(d: dict[str, Any]) -> Tensor:
    """Return the edge that a description has."""
    return Tensor(tuple(d["shape"]), EdgeFormat(*d["format"]) if d["format"] else None)
