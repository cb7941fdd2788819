"""The figures of a report for other programs: CSV and JSON, units in the names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from addersim.costs.comparison.compare import Comparison
from addersim.report.charts import energy_layers
from addersim.report.figures import layer_table, summary
from addersim.study.outcome import Outcome

RENAMED = {
    "x/w/acc": "x_w_acc_bits",
    "out": "out_bits",
    "utilisation": "utilisation_fraction",
    "saturated_inputs": "saturated_inputs_fraction",
    "saturated_weights": "saturated_weights_fraction",
    "range_use": "range_use_fraction",
}


def layers_csv(outcome: Outcome) -> str:
    """Return one row per layer of each network, by the study's first cost table."""
    import pandas as pd

    frames = []
    for side in outcome.sides:
        frame = layer_table(side, outcome.table)
        frame.insert(0, "network", side.qnet.name)
        frame.insert(1, "arithmetic", side.label)
        frame.insert(2, "table", side.costs[outcome.table].table)
        frames.append(frame.rename(columns=RENAMED))
    return str(pd.concat(frames, ignore_index=True).to_csv(index=False, lineterminator="\n"))


def comparison_csv(comparison: Comparison) -> str:
    """Return one row per cost table and metric: adder, multiplier, their ratio, the unit."""
    return str(comparison.to_pandas().to_csv(index=False, lineterminator="\n"))


def summary_json(outcome: Outcome) -> str:
    """Return the headline figures; the study and its cost tables by name, not by place."""
    names = {key: cost.table for key, cost in outcome.sides[0].costs.items()}
    names[outcome.study.path] = Path(outcome.study.path).name
    return json.dumps(_named(summary(outcome), names), indent=2, allow_nan=False) + "\n"


def _named(value: Any, names: Mapping[str, str]) -> Any:
    """Return ``value`` with every key and text that ``names`` holds replaced."""
    if isinstance(value, dict):
        return {names.get(key, key): _named(inner, names) for key, inner in value.items()}
    return names.get(value, value) if isinstance(value, str) else value


def picture(outcome: Outcome) -> str:
    """Return where the energy goes, layer by layer, as an SVG file that stands alone on white."""
    drawn = str(energy_layers(outcome))
    return drawn.replace("<svg ", '<svg width="700" style="background:white" ', 1) + "\n"
