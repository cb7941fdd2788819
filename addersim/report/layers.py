"""One row per layer and one for the input, whose way from DRAM is part of the bill."""

from __future__ import annotations

from typing import Any

from addersim.outcome import Side, layer_table


def layers(side: Side, table: str) -> Any:
    """Return the layers of one network, as :func:`addersim.outcome.layer_table` has them, behind the input.

    The columns then sum to the totals of the network's bill.
    """
    import pandas as pd

    rows = layer_table(side, table).to_dict("records")
    known = {row["layer"] for row in rows}
    bill = side.costs[table].by_layer().to_dict("records")
    first = [_input(side, run) for run in bill if run["layer"] not in known]
    frame = pd.DataFrame([*first, *rows])
    return frame.assign(sqnr_db=pd.to_numeric(frame["sqnr_db"]))


def _input(side: Side, run: dict[str, Any]) -> dict[str, Any]:
    node, tensor = side.qnet.node(run["layer"]), side.qnet.tensors[run["layer"]]
    assert tensor.format is not None
    return {
        "layer": node.name,
        "kind": node.kind,
        "shape": "x".join(map(str, tensor.shape)),
        "adder_taps": 0,
        "multiplier_taps": 0,
        "x/w/acc": "",
        "out": str(tensor.format.format),
        "overflows": 0,
        "saturated": side.trace.saturated_inputs,
        "sqnr_db": None,
        **{key: run[key] for key in ("cycles", "utilisation", "arithmetic_pj", "buffers_pj", "dram_pj")},
    }
