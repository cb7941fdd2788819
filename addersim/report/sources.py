"""Footnotes: one per publication, with every derivation that a charge rests on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote

from addersim.costs import COSTS, CostTable, load_table
from addersim.costs.bill import Cost
from addersim.study.outcome import Outcome

UNPRICED = "Without a price"
KINDS = {"published": "published figures", "fit": "a published fit", "synthesised": "synthesis results"}


@dataclass(frozen=True)
class Footnote:
    """One numbered source.

    Attributes
    ----------
    cite
        Who says it.
    details
        Kind, technology node, voltage, where it was read, remarks.
    link
        An address, or nothing.
    derivations
        Every source of a charge or area that belongs here, as the bill words it.
    """

    number: int
    table: str
    cite: str
    details: str
    link: str
    derivations: tuple[str, ...]


def all_costs(outcome: Outcome) -> list[Cost]:
    """Return every bill of an outcome, the study's first table first."""
    chosen = [cost for table in outcome.sides[0].costs for cost in (side.costs[table] for side in outcome.sides)]
    compared = outcome.comparison.costs.values() if outcome.comparison else ()
    return [*chosen, *(cost for pair in compared for cost in pair)]


def footnotes(outcome: Outcome) -> list[Footnote]:
    """Return one footnote per publication that a price comes from, and one for what has no price."""
    costs = all_costs(outcome)
    tables = _tables(outcome, costs)
    owned: dict[str, list[str]] = {name: [] for name in tables}
    for source in dict.fromkeys(source for cost in costs for source in cost.sources):
        owned.setdefault(_owner(source, tables), []).append(source)
    notes = [_footnote(i, table, owned[name]) for i, (name, table) in enumerate(tables.items(), 1)]
    if UNPRICED in owned:
        notes.append(Footnote(len(notes) + 1, "", UNPRICED, "", "", tuple(owned[UNPRICED])))
    return notes


def assumptions(outcome: Outcome) -> list[str]:
    """Return every assumption, the comparison's first, each once."""
    found = list(outcome.comparison.assumptions) if outcome.comparison else []
    return list(dict.fromkeys([*found, *(text for cost in all_costs(outcome) for text in cost.assumptions)]))


def _tables(outcome: Outcome, costs: Iterable[Cost]) -> dict[str, CostTable]:
    """Return the tables of the bills by name, and the tables that their memory and gates come from."""
    own = {table.name: table for table in map(load_table, outcome.study.evaluation.tables)}
    tables: dict[str, CostTable] = {}
    for cost in costs:
        tables.setdefault(cost.table, own.get(cost.table) or load_table(cost.table))
    for table in list(tables.values()):
        if table.memory_from:
            tables.setdefault(table.memory_from, COSTS[table.memory_from])
        if table.gates_from and not table.has("bitwise"):
            tables.setdefault(table.gates_from, COSTS[table.gates_from])
    return tables


def _owner(source: str, tables: dict[str, CostTable]) -> str:
    """Return the table whose short name a source begins with."""
    fitting = [name for name, table in tables.items() if source.startswith(f"{table.source.short}:")]
    return max(fitting, key=lambda name: len(tables[name].source.short), default=UNPRICED)


def _footnote(number: int, table: CostTable, derivations: list[str]) -> Footnote:
    source = table.source
    details = [f"{KINDS[source.kind]}, {source.node_nm:g} nm"]
    if source.vdd_v:
        details.append(f"{source.vdd_v:g} V")
    said = f"{', '.join(details)}; read from: {source.read_from}"
    link = f"https://doi.org/{quote(source.doi)}" if source.doi else source.url
    safe = link if link.startswith(("https://", "http://")) else ""
    return Footnote(number, table.name, source.cite, said, safe, tuple(derivations))
