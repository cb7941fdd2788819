"""Charges of arithmetic: counts times prices, circuits and registers of the taps, and activity in place of chance."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from addersim.arithmetic.primitives import Count, Primitive
from addersim.costs import CostTable
from addersim.costs.charges import Charge
from addersim.errors import InputError
from addersim.hardware import Hardware
from addersim.hardware.elements import circuits, tap_registers
from addersim.mapping.steps import OnArray, Step
from addersim.simulation.activity import Activity

RANDOM_RATE = 0.5  # of the bits of independent, uniform words change from one to the next
LAW = (
    "dynamic power is proportional to the activity ratio (Schrom, dissertation, TU Wien, "
    "iue.tuwien.ac.at/phd/schrom/node42.html)"
)


def taps_of(steps: Iterable[Step]) -> dict[str, OnArray]:
    """Return the layers on arrays by name."""
    return {step.node.name: step.on for step in steps if step.on is not None}


@dataclass
class _Prices:
    """Prices of a table, each looked up once."""

    table: CostTable
    known: dict[Primitive, tuple[float, str]] = field(default_factory=dict)

    def __call__(self, primitive: Primitive) -> tuple[float, str]:
        if primitive not in self.known:
            price = self.table.price(primitive)
            self.known[primitive] = price.energy_pj, price.source
        return self.known[primitive]


def arithmetic(
    counts: tuple[Count, ...],
    layers: Mapping[str, OnArray],
    machine: Hardware,
    table: CostTable,
    activity: Activity | None = None,
) -> list[Charge]:
    """Return one charge per counted operation, or per circuit it is made of, and per register of the taps.

    Parameters
    ----------
    counts
        What :func:`addersim.network.counts.count` found.
    layers
        The layers on arrays, by name.
    activity
        Rates of the datapath's registers; ``None``: every price as printed, whatever the data.

    Raises
    ------
    InputError
        If the activity is not that of these layers.
    """
    prices, rates = _Prices(table), _rates(activity, layers)
    charges = []
    for row, register in _located(counts):
        on = layers.get(row.layer) if row.part == "tap" else None
        parts = circuits(row.primitive, on.element, on.path) if on else (row.primitive,)
        rate = rates.get((row.layer, _register(register, rates, row.layer))) if on else None
        charges += [_charge(row.layer, f"{row.part} {part}", row.times, prices(part), rate) for part in parts]
    if table.has("register"):
        for layer, on in layers.items():
            charges += _registers(layer, on, machine, prices, rates)
    return charges


def _charge(layer: str, action: str, times: int, price: tuple[float, str], rate: float | None) -> Charge:
    energy_pj, source = price
    if rate is not None:
        energy_pj *= rate / RANDOM_RATE
        source += f"; x {rate / RANDOM_RATE:.3g}: {100 * rate:.3g} % of the bits behind it change per cycle, of random "
        source += f"words {100 * RANDOM_RATE:g} %; {LAW}"
    return Charge(layer, "arithmetic", action, times, times * energy_pj, source)


def _located(counts: tuple[Count, ...]) -> Iterator[tuple[Count, str]]:
    """Yield every count with the register behind the operation; a layer's last addition in taps accumulates."""
    last = {row.layer: row for row in counts if row.part == "tap" and row.primitive.name == "add"}
    names = {"subtract": "difference", "absolute": "leaf", "multiply": "leaf", "add": "tree", "shift": "requantise"}
    for row in counts:
        accumulates = row is last.get(row.layer)
        yield row, "accumulator" if accumulates else names.get(row.primitive.name, "")


def _register(register: str, rates: Mapping[tuple[str, str], float], layer: str) -> str:
    """Return the register, or the leaf where a layer does not have it: an exact datapath may lack a difference."""
    return register if (layer, register) in rates else "leaf"


def _registers(
    layer: str, on: OnArray, machine: Hardware, prices: _Prices, rates: Mapping[tuple[str, str], float]
) -> Iterator[Charge]:
    for part in tap_registers(on.path, machine):
        rate = rates.get((layer, "leaf")) if part.role == "pipeline" else None
        action = f"tap {part.role} {part.primitive}"
        yield _charge(layer, action, on.nest.taps * part.count, prices(part.primitive), rate)
    latch = Primitive("register", on.path.accumulator.format.bits)
    yield _charge(layer, f"tap accumulator {latch}", on.accumulations, prices(latch), rates.get((layer, "accumulator")))


def _rates(activity: Activity | None, layers: Mapping[str, OnArray]) -> dict[tuple[str, str], float]:
    """Return changes per bit and cycle by layer and register; a sign belongs to its difference."""
    if activity is None:
        return {}
    bits: dict[tuple[str, str], float] = {}
    toggles: dict[tuple[str, str], int] = {}
    for row in activity.rows:
        key = row.layer, "difference" if row.register == "sign" else row.register
        bits[key] = bits.get(key, 0) + row.bits * row.cycles
        toggles[key] = toggles.get(key, 0) + row.toggles
    _check_layers(activity, layers)
    return {key: toggles[key] / bits[key] for key in bits if bits[key]}


def _check_layers(activity: Activity, layers: Mapping[str, OnArray]) -> None:
    """Raise InputError unless the activity was counted with the accumulators of these layers."""
    counted = {row.layer: row.bits for row in activity.rows if row.register == "accumulator"}
    for layer, on in layers.items():
        if layer not in counted:
            raise InputError(f"activity: has no layer {layer!r}; count it on this network")
        if counted[layer] != on.path.accumulator.format.bits:
            raise InputError(
                f"activity: layer {layer!r} was counted with an accumulator of {counted[layer]} bits, it has "
                f"{on.path.accumulator.format.bits}; count it on the network that .on(hardware) returns"
            )
