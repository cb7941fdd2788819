"""The figures of an outcome as tables and JSON-ready values, units in the names."""

from __future__ import annotations

import json
from math import isfinite
from pathlib import Path
from typing import Any

from addersim.costs.comparison.array_kinds import ArrayComparison
from addersim.costs.comparison.compare import METRICS, Comparison, Metric
from addersim.costs.comparison.tornado import Tornado
from addersim.hardware import Hardware
from addersim.network.node import Node
from addersim.simulation.simulate import LayerTrace
from addersim.simulation.validate import Validation
from addersim.study.outcome import Outcome, Side, what_moves

FIT = ("sqnr_db", "saturated_inputs", "saturated_weights", "range_use")
BILLED = ("cycles", "utilisation", "arithmetic_pj", "buffers_pj", "dram_pj", "leakage_pj")


def layer_table(side: Side, table: str) -> Any:
    """Return a DataFrame with one row per layer, the input first: shape, taps, widths, overflows, fit, array, costs.

    Energy columns are in pJ per image and sum to the network's bill. SQNR is in dB, on the layer's edge
    behind its output stage; saturated inputs and weights and range use are the fractions of
    :class:`~addersim.simulation.validate.LayerError`, NaN without a float model. ``accumulator_bits_needed`` is what
    the images made of the accumulator, missing where it overflowed.
    """
    import pandas as pd

    bill = {row["layer"]: row for row in side.costs[table].by_layer().to_dict("records")}
    layers = {layer.name: layer for layer in side.trace.layers}
    errors = {layer.name: layer for layer in side.validation.layers} if side.validation else {}
    rows = []
    for node in side.qnet.nodes:
        row = _described(side, node, layers.get(node.name))
        row |= {key: getattr(errors.get(node.name), key, float("nan")) for key in FIT}
        row["array"] = _array(side.machine, bill[node.name]["array"])
        rows.append(row | {key: bill[node.name][key] for key in BILLED})
    return pd.DataFrame(rows).astype({"accumulator_bits_needed": "Int64"})


def _array(machine: Hardware, kind: Any) -> str:
    """Return size and kind of the elements that ran a layer, nothing for a layer on no array."""
    return f"{'x'.join(map(str, machine.array(kind)))} {kind}" if kind else ""


def _described(side: Side, node: Node, layer: LayerTrace | None) -> dict[str, Any]:
    shape, path, form = side.qnet.tensors[node.name].shape, node.datapath, side.qnet.format(node.name)
    return {
        "layer": node.name,
        "kind": node.kind,
        "shape": "x".join(map(str, shape)),
        "adder_taps": side.counts.adder_taps.get(node.name, 0),
        "multiplier_taps": side.counts.multiplier_taps.get(node.name, 0),
        "x/w/acc": f"{path.x}/{path.w}/{path.accumulator.format}" if path else "",
        "out": str(form.format),
        "step": form.step,
        "overflows": layer.overflows if layer else 0,
        "saturated": layer.facts.saturated if layer else side.trace.saturated_inputs,
        "accumulator_bits_needed": layer.accumulator_bits if layer else None,
    }


def summary(outcome: Outcome) -> dict[str, Any]:
    """Return every headline figure as JSON-ready values, units in the keys."""
    sides = {side.label: _side_summary(side, outcome.table) for side in outcome.sides}
    result: dict[str, Any] = {
        "study": Path(outcome.study.path).name,
        "images": outcome.images,
        "table": outcome.table,
        **sides,
    }
    if outcome.comparison is not None:
        for metric in METRICS:
            ratios = {"by_table": outcome.comparison.ratio(metric), "range": _range(outcome.comparison, metric)}
            if outcome.full_side is not None:
                ratios["range_with_full_side_array"] = _range(outcome.full_side, metric)
            result[f"{metric}_multiplier_over_adder"] = ratios
    return result


def with_layers(outcome: Outcome) -> dict[str, Any]:
    """Return the summary with a row per layer of each network: its bill, the loop that ran it and why that is exact."""
    figures = summary(outcome)
    for side in outcome.sides:
        layers = json.loads(layer_table(side, outcome.table).to_json(orient="records"))
        traced = {layer.name: layer for layer in side.trace.layers}
        figures[side.label]["layers"] = [{**row, **_traced(traced.get(row["layer"]))} for row in layers]
    return figures


def _traced(layer: LayerTrace | None) -> dict[str, Any]:
    """Return which loop ran a layer; the input has no trace."""
    return {"path": layer.facts.path} if layer else {}


def with_tables(outcome: Outcome) -> dict[str, Any]:
    """Return the summary with both networks' figures by every cost table compared, and what they rest on."""
    assert outcome.comparison is not None
    tables: dict[str, Any] = {}
    for row in json.loads(outcome.comparison.to_pandas().to_json(orient="records")):
        tables.setdefault(row.pop("table"), {})[row.pop("metric")] = row
    found = outcome.comparison.own_clock()
    clocks = {table: clock._asdict() if clock else None for table, clock in found.items()}
    moved = {one.metric: _moved(one) for one in what_moves(outcome)}
    return {
        **summary(outcome),
        "tables": tables,
        "own_clock": clocks,
        "tornado": moved,
        "assumptions": outcome.comparison.assumptions,
    }


def array_rows(found: ArrayComparison) -> dict[str, Any]:
    """Return one row per table, kind of array and thing held equal, and what they rest on."""
    rows = json.loads(found.to_pandas().to_json(orient="records", double_precision=15))
    return {"rows": rows, "assumptions": list(found.assumptions)}


def _moved(one: Tornado) -> dict[str, Any]:
    """Return the ratio, and from where to where each assumption moves it, the widest first."""
    return {"ratio": one.ratio, "table": one.table, "assumptions": one.to_pandas().to_dict("records")}


def _range(comparison: Comparison, metric: Metric) -> list[float] | None:
    limits = comparison.range(metric)
    return list(limits) if limits else None


def _validated(validation: Validation) -> dict[str, Any]:
    """Return on how many images the classes differ from the float model's, and where the networks part."""
    worst, parting = validation.worst, validation.parting
    return {
        "images_of_another_class": len(validation.disagreements),
        "worst_layer": worst.name,
        "worst_layer_sqnr_db": worst.sqnr_db if isfinite(worst.sqnr_db) else None,
        "parting_layer": parting.name if parting else None,
    }


def _side_summary(side: Side, table: str) -> dict[str, Any]:
    cost = side.costs[table]
    return {
        "network": side.qnet.name,
        "machine": side.machine.name,
        "float_accuracy": side.float_accuracy,
        "accuracy": side.accuracy,
        "adder_taps": sum(side.counts.adder_taps.values()),
        "multiplier_taps": sum(side.counts.multiplier_taps.values()),
        "overflows": sum(layer.overflows for layer in side.trace.layers),
        "saturated_inputs": side.trace.saturated_inputs,
        **(_validated(side.validation) if side.validation else {}),
        "energy_pj": cost.energy_pj,
        **{f"{unit}_pj": energy for unit, energy in cost.energy_by_unit.items()},
        "cycles": cost.cycles,
        "latency_us": cost.latency_us,
        "area_um2": {one.table: one.area_um2 for one in side.costs.values()},
    }
