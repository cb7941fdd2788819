"""The key figures, one card each: both networks, their ratio, and its range over the cost tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from addersim.costs.bill import Cost
from addersim.costs.comparison.compare import Metric
from addersim.report import words
from addersim.report.headline import full_size, integers, range_of, ratio_of
from addersim.report.sources import all_costs
from addersim.study.outcome import Outcome, Side


@dataclass(frozen=True)
class Card:
    """A title, a (network label, value) line per network, and a remark."""

    title: str
    lines: tuple[tuple[str, str], ...]
    remark: str


def cards(outcome: Outcome) -> list[Card]:
    """Return the key figures of an outcome."""
    return [
        Card("Images right", tuple((s.label, _accuracy(s)) for s in outcome.sides), _accuracy_remark(outcome)),
        _card("Energy per image", "energy", outcome, lambda cost: words.energy(cost.energy_pj)),
        _card("Energy of the arithmetic alone", "arithmetic", outcome, _arithmetic),
        _card("Latency per image", "latency", outcome, lambda cost: words.duration(cost.latency_us)),
        _area_card(outcome),
        _multiplications_card(outcome),
    ]


def _accuracy(side: Side) -> str:
    exact = words.percent(side.accuracy, 2)
    return exact if side.float_accuracy is None else f"{words.percent(side.float_accuracy, 2)} → {exact}"


def _accuracy_remark(outcome: Outcome) -> str:
    kind = integers(outcome.sides[0])
    if outcome.sides[0].float_accuracy is None:
        return f"{kind}, {outcome.images:,} images"
    return f"float → {kind}, {outcome.images:,} images"


def _card(title: str, metric: Metric, outcome: Outcome, value: Callable[[Cost], str]) -> Card:
    lines = tuple((side.label, value(side.costs[outcome.table])) for side in outcome.sides)
    return Card(title, lines, _remark(metric, outcome))


def _arithmetic(cost: Cost) -> str:
    return words.energy(cost.energy_by_unit["arithmetic"])


def _remark(metric: Metric, outcome: Outcome) -> str:
    if outcome.comparison is None:
        return ""
    own, over = ratio_of(metric, outcome), range_of(metric, outcome)
    said = f"multiplier / adder {words.ratio(own)}"
    if over is not None and words.ratio(over[0]) != words.ratio(over[1]):
        said += f"; {words.ratios(over)} over {len(outcome.comparison.costs)} cost tables"
    return said + _full_side(metric, outcome)


def _full_side(metric: Metric, outcome: Outcome) -> str:
    """Return the ratio with a side array as large as the array, where that changes it."""
    limits = outcome.full_side.range(metric) if outcome.full_side else None
    if limits is None or words.ratios(limits) == words.ratios(range_of(metric, outcome)):
        return ""
    return f"; {words.ratios(limits)} with a side array of {full_size(outcome)}"


def _area_card(outcome: Outcome) -> Card:
    lines = tuple((side.label, _areas(outcome, side)) for side in outcome.sides)
    limits = range_of("area", outcome) if outcome.comparison else None
    ratio = f"multiplier / adder {words.ratios(limits)}{_full_side('area', outcome)}; " if limits else ""
    return Card("Area of the arrays", lines, f"{ratio}arithmetic only, by the tables that print areas")


def _multiplications_card(outcome: Outcome) -> Card:
    lines = tuple((side.label, f"{side.counts.multiplications:,}") for side in outcome.sides)
    adder = outcome.sides[0].counts
    remark = f"of {adder.taps:,} taps; the adder layers keep none" if adder.adder_taps else f"of {adder.taps:,} taps"
    return Card("Multiplications per image", lines, f"{remark}; output stages not counted")


def _areas(outcome: Outcome, side: Side) -> str:
    """Return the range of one network's array area over all bills."""
    bills = [cost for cost in all_costs(outcome) if cost.hardware == side.machine]
    found = sorted({cost.area_um2 for cost in bills if cost.area_um2 is not None})
    if not found:
        return "not priced"
    low, high = words.area(found[0], 3), words.area(found[-1], 3)
    if low == high:
        return low
    number, _, unit = low.partition(" ")
    return f"{number if high.endswith(unit) else low} to {high}"
