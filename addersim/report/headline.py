"""The main finding in one sentence, made from the figures, whichever way they point."""

from __future__ import annotations

from addersim.costs import load_table
from addersim.costs.bill import Cost
from addersim.costs.comparison.compare import Comparison, Metric
from addersim.network.ops import OPS
from addersim.report import words
from addersim.study.outcome import Outcome, Side

BY_SIDE_ARRAY: dict[Metric, str] = {"energy": "energy", "latency": "latency", "area": "array area"}


def headline(outcome: Outcome) -> str:
    """Return one sentence: accuracy on integers, energy against the twin, and what decides it."""
    side = outcome.sides[0]
    places = 2 if outcome.images > 1000 else 1
    share = words.percent(side.accuracy, places)
    right = f"At {integers(side)} {side.qnet.name} gets {share} of {outcome.images:,} images right"
    said = [] if side.float_accuracy is None else [f"float {words.percent(side.float_accuracy, places)}"]
    if len(outcome.sides) > 1:
        said.append(f"multiplier twin {words.percent(outcome.sides[1].accuracy, places)}")
    told = f"{right} ({', '.join(said)})" if said else right
    if outcome.comparison is None:
        return f"{told}; an image costs {_price(side.costs[outcome.table])}."
    return f"{told} and {_against_twin(outcome, outcome.comparison)}."


def second_line(outcome: Outcome) -> str:
    """Return the findings beside the main one: what integers cost, latency, area."""
    side, said = outcome.sides[0], []
    if side.float_accuracy is not None:
        said.append(_against_float(side.accuracy - side.float_accuracy))
    error = words.standard_error(side.accuracy, outcome.images)
    if outcome.comparison is None:
        return " ".join([*said, f"The accuracy's standard error is {error} points."])
    twin = outcome.sides[1]
    said.append(_against_accuracy(side.accuracy - twin.accuracy))
    said.append(f"The standard error of an accuracy is {error} points.")
    latency = ratio_of("latency", outcome)
    assert latency is not None
    time = _compared(words.change(latency), "time", "than on multipliers")
    said.append(f"An image takes {time}{_area(outcome.comparison)}.")
    return " ".join([*said, *side_array(outcome)])


def side_array(outcome: Outcome) -> list[str]:
    """Return what the side array's size decides, in one sentence; nothing where it is as large as the array."""
    if outcome.full_side is None:
        return []
    machine, full = outcome.sides[0].machine, full_size(outcome)
    found = {what: outcome.full_side.range(metric) for metric, what in BY_SIDE_ARRAY.items()}
    ratios = ", ".join(f"{words.ratios(limits)} in {what}" for what, limits in found.items() if limits)
    return [
        f"Layers that stayed multiplications have {machine.multiplier_rows} × {machine.multiplier_cols} "
        f"multipliers on the adder machine, {full} on the twin's: with {full} on both, multiplier / adder is {ratios}."
    ]


def full_size(outcome: Outcome) -> str:
    """Return the size of the whole array."""
    machine = outcome.sides[0].machine
    return f"{machine.rows} × {machine.cols}"


def integers(side: Side) -> str:
    """Return the width of the operands in the network's layers: ``int8``."""
    paths = [node.datapath for node in side.qnet.nodes if OPS[node.kind].array == side.label and node.datapath]
    bits = sorted({path.x.bits for path in paths})
    return f"int{bits[0]}" if len(bits) == 1 else f"int{bits[0]} to int{bits[-1]}" if bits else "integers"


def ratio_of(metric: Metric, outcome: Outcome) -> float | None:
    """Return multiplier / adder by the study's first table, at its own node."""
    assert outcome.comparison is not None
    return outcome.comparison.ratio(metric)[load_table(outcome.table).as_printed.name]


def range_of(metric: Metric, outcome: Outcome) -> tuple[float, float] | None:
    """Return the range of multiplier / adder over the tables compared and the study's first."""
    assert outcome.comparison is not None
    found = [r for r in (*outcome.comparison.ratio(metric).values(), ratio_of(metric, outcome)) if r]
    return (min(found), max(found)) if found else None


def memory_share(cost: Cost) -> float:
    """Return the share of buffers and DRAM in the energy of one image."""
    return (cost.energy_by_unit["buffers"] + cost.energy_by_unit["dram"]) / cost.energy_pj


def _against_float(difference: float) -> str:
    if words.points(difference) == "0.00":
        return "Integers change nothing in its accuracy on these images."
    return f"Integers change its accuracy by {words.points(difference)} points."


def _against_accuracy(difference: float) -> str:
    size = words.points(abs(difference)).lstrip("+")
    if size == "0.00":
        return "On integers it is as accurate as its twin."
    return f"On integers it is {size} points {'more' if difference > 0 else 'less'} accurate than its twin."


def _price(cost: Cost) -> str:
    share = words.percent(memory_share(cost), 0)
    time = words.duration(cost.latency_us)
    return f"{words.energy(cost.energy_pj)}, {share} of it in buffers and DRAM, and {time} on {cost.hardware.name}"


def _against_twin(outcome: Outcome, comparison: Comparison) -> str:
    arithmetic, total = (_change(metric, outcome) for metric in ("arithmetic", "energy"))
    first = f"spends {_compared(arithmetic, 'energy on arithmetic', 'than the twin')}"
    part = _over("arithmetic", outcome).removesuffix(f" {_less(arithmetic)}")
    first += _bracketed(f"{part} over {len(comparison.costs)} cost tables" if part else "")
    share = memory_share(outcome.sides[0].costs[outcome.table])
    joint = _joint(arithmetic, total)
    why = f", since buffers and DRAM are {words.percent(share, 0)} of its bill" if share > 0.5 else ""
    whole = _over("energy", outcome).removesuffix(f" {_less(total)}")
    return f"{first}, {joint} {words.less_or_more(total)} in total{_bracketed(whole)}{why}"


def _change(metric: Metric, outcome: Outcome) -> float:
    ratio = ratio_of(metric, outcome)
    return words.change(ratio) if ratio else 0.0


def _compared(change: float, what: str, whom: str) -> str:
    """Return ``"34 % less energy than the twin"`` or ``"the same energy as the twin"``."""
    said = words.less_or_more(change)
    return f"{said} {what} {whom.replace('than', 'as', 1) if said.startswith('the') else whom}"


def _joint(arithmetic: float, total: float) -> str:
    """Return how the whole follows on its part: ``but`` where it does not keep what the part promises."""
    if words.less_or_more(total).startswith("the") or (arithmetic < 0) != (total < 0):
        return "but"
    return "and" if abs(total) > abs(arithmetic) / 2 else "but only"


def _less(change: float) -> str:
    return "less" if change < 0 else "more"


def _over(metric: Metric, outcome: Outcome) -> str:
    """Return the range of a change over the cost tables, or nothing if there is none."""
    limits = range_of(metric, outcome)
    return words.spread(*map(words.change, limits)) if limits else ""


def _bracketed(text: str) -> str:
    return f" ({text})" if text else ""


def _area(comparison: Comparison) -> str:
    limits = comparison.range("area")
    if limits is None:
        return ""
    low, high = sorted(map(words.change, limits))
    priced = sum(value is not None for value in comparison.ratio("area").values())
    said = words.spread(low, high) or words.less_or_more(low)
    return f"; the arrays' arithmetic takes {said} area, by the {priced} table{'s' * (priced > 1)} that print areas"
