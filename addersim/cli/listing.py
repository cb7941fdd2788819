"""What is on each shelf, with its source, as plain values."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

from addersim.costs import COSTS, load_table
from addersim.errors import InputError, nearest
from addersim.hardware import HARDWARE, load_hardware
from addersim.hardware.diagram import diagram
from addersim.mapping.dataflows import DATAFLOWS
from addersim.network.ops import OPS
from addersim.nn.catalogue import CATALOGUE, model_card, weights_by_dataset
from addersim.study.study import shipped_studies
from addersim.weights.shipped import integer_networks

Entry = dict[str, Any]
SHELVES = {
    "costs": "cost tables: what published circuits and memories take in energy and area",
    "hardware": "machines: array, widths, buffers, clock",
    "dataflows": "mappings of a layer onto the array",
    "ops": "layer kinds",
    "models": "bundled networks; they need torch. weights: the data set of the trained weights shipped with addersim",
    "networks": "networks of integers, for QuantizedNetwork.load and [network] file; what the simulator measured",
    "studies": "shipped study files",
    "recipes": "shipped training recipes; they need torch",
}


def entries(shelf: str) -> list[Entry]:
    """Return name, description and source of everything on a shelf."""
    return _shelf(shelf)[0]()


def entry(shelf: str, name: str) -> Entry:
    """Return everything about one thing on a shelf."""
    return _shelf(shelf)[1](name)


def shipped_recipes() -> dict[str, Path]:
    """Return name and path of the training recipes in the package."""
    folder = Path(str(files("addersim"))) / "train" / "recipes"
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def shelves() -> list[Entry]:
    """Return name and description of the shelves."""
    return [{"name": name, "description": SHELVES[name]} for name in SHELVES]


def _shelf(shelf: str) -> tuple[Callable[[], list[Entry]], Callable[[str], Entry]]:
    if shelf not in SHELVES:
        raise InputError(f"no shelf {shelf!r}{nearest(shelf, SHELVES)}")
    found: dict[str, tuple[Callable[[], list[Entry]], Callable[[str], Entry]]] = {
        "costs": (_costs, _cost),
        "hardware": (_machines, _machine),
        "dataflows": (_dataflows, lambda name: {"name": name, "text": _text(DATAFLOWS[name])}),
        "ops": (_ops, _op),
        "models": (_models, _model),
        "networks": (_networks, _network),
        "studies": (lambda: _files(shipped_studies()), lambda name: _file(shipped_studies(), name)),
        "recipes": (lambda: _files(shipped_recipes()), lambda name: _file(shipped_recipes(), name)),
    }
    return found[shelf]


def _costs() -> list[Entry]:
    return [
        {"name": name, "description": f"{table.source.node_nm:g} nm", "source": table.source.cite}
        for name, table in COSTS.items()
    ]


def _cost(name: str) -> Entry:
    table = load_table(name)
    return {"name": table.name, **_plain(table)}


def _plain(value: Any) -> Entry:
    return dict(value.model_dump(mode="json")) if hasattr(value, "model_dump") else {"table": repr(value)}


def _machines() -> list[Entry]:
    return [{"name": n, "description": m.description, "source": m.source} for n, m in HARDWARE.items()]


def _machine(name: str) -> Entry:
    machine = load_hardware(name)
    return {**machine.model_dump(mode="json"), "text": diagram(machine)}


def _text(thing: Any) -> str:
    return inspect.getdoc(inspect.getmodule(thing) or thing) or ""


def _dataflows() -> list[Entry]:
    return [
        {"name": n, "description": _text(f).split("\n")[0], "source": "closed form in its file"}
        for n, f in DATAFLOWS.items()
    ]


def _ops() -> list[Entry]:
    return [
        {
            "name": name,
            "description": _text(type(op)).split("\n")[0],
            "source": ", ".join(op.aten) or "made by quantize",
        }
        for name, op in OPS.items()
    ]


def _op(name: str) -> Entry:
    op = OPS[name]
    return {"name": name, "aten": list(op.aten), "array": op.array, "text": _text(type(op))}


def _models() -> list[Entry]:
    return [
        {"name": name, "description": card.description, "source": card.source, "weights": _weights(name)}
        for name, card in CATALOGUE.items()
    ]


def _model(name: str) -> Entry:
    return {**vars(model_card(name)), "weights": _weights(name)}


def _weights(model: str) -> str:
    return ", ".join(weights_by_dataset(model)) or "none"


def _networks() -> list[Entry]:
    return [
        {"name": name, "description": _measured(card), "source": card["command"]}
        for name, card in integer_networks().items()
    ]


def _measured(card: Entry) -> str:
    key = next(key for key in ("accuracy_percent", "mean_iou_percent") if key in card)
    return f"{key.removesuffix('_percent').replace('_', ' ')} {card[key]:.2f} %, {card['measured_on']}"


def _network(name: str) -> Entry:
    found = integer_networks()
    if name not in found:
        raise InputError(f"nothing called {name!r} is shipped{nearest(name, found)}")
    return {"name": name, **found[name]}


def _files(shipped: dict[str, Path]) -> list[Entry]:
    texts = {name: path.read_text(encoding="utf-8") for name, path in shipped.items()}
    return [{"name": n, "description": t.split("\n")[0].lstrip("# "), "source": "shipped"} for n, t in texts.items()]


def _file(shipped: dict[str, Path], name: str) -> Entry:
    if name not in shipped:
        raise InputError(f"nothing called {name!r} is shipped{nearest(name, shipped)}")
    return {"name": name, "text": shipped[name].read_text(encoding="utf-8")}
