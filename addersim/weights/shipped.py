"""Weights and networks that come with the package, by name."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from addersim.files import check_version

CARD_VERSION = 1  # one without it is of version 1
WEIGHTS = Path(__file__).resolve().parent


def weights_file(name: str | os.PathLike[str]) -> Path:
    """Return the file of the shipped weights of that name, such as ``lenet5_adder-mnist``, else ``name`` as a path."""
    shipped = WEIGHTS / f"{os.fspath(name)}.safetensors"
    return shipped if shipped.is_file() else Path(name)


def cards() -> dict[str, dict[str, Any]]:
    """Return, by name, what is known of everything shipped: model, data set, accuracy, how it was made."""
    return {file.stem: read_card(file) for file in sorted(WEIGHTS.glob("*.json"))}


def read_card(file: Path) -> dict[str, Any]:
    """Return the card of a network, of this version or an older one."""
    card: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    check_version(file, "card format", card.get("format", 1), CARD_VERSION)
    return card


def card_of_integers(name: str, how: Mapping[str, Any], measured: Mapping[str, Any], command: str) -> str:
    """Return the card, as JSON, of a network ``<weights>-<n>bit`` made from shipped weights: how, what it reached."""
    start = name.rsplit("-", 1)[0]
    kept = {key: cards()[start][key] for key in ("model", "dataset", "mean", "std", "licence")}
    made = {"date": str(datetime.now(UTC).date()), "command": command, "quantization": {"start": start, **how}}
    return json.dumps({"format": CARD_VERSION, **kept, **made, **measured}, indent=2) + "\n"


def integer_networks() -> dict[str, dict[str, Any]]:
    """Return the cards of the shipped networks of integers."""
    return {name: card for name, card in cards().items() if name.endswith("bit")}
