"""Area, leakage and clock of a machine by component, as far as a cost table prints them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from addersim.arithmetic.primitives import Primitive
from addersim.costs import CostTable, Price
from addersim.costs.accesses import memory_area
from addersim.costs.charges import Area, Charge, Clock
from addersim.errors import InputError
from addersim.hardware import Hardware
from addersim.hardware.elements import Part, array_parts, arrays
from addersim.mapping.latency import LayerRun

GATES = ("xor", "select")  # a gate's delay counts as 0 where the table does not print it


def areas(machine: Hardware, table: CostTable) -> tuple[Area, ...]:
    """Return every component with its area, ``None`` where the table does not print it."""
    found = [
        _area(f"{name}: {part.role} {part.primitive}", part, table)
        for name, element, elements in arrays(machine)
        for part in array_parts(element, elements, machine)
    ]
    found += [Area(f"{one.name} buffer, bytes", one.size_bytes, *memory_area(one, table)) for one in machine.buffers]
    for pad in machine.scratchpads:
        size = pad.size_bytes * machine.rows * machine.cols
        found.append(
            Area(f"{pad.name} scratchpads, bytes", size, None, f"{table.source.short}: no areas of scratchpads")
        )
    remark = "not priced: widths differ from layer to layer"
    return (*found, Area("output stages and vector lanes", machine.vector.lanes, None, remark))


def _area(component: str, part: Part, table: CostTable) -> Area:
    price = _price(part.primitive, table)
    if price is None or price.area_um2 is None:
        return Area(component, part.count, None, f"{table.source.short}: no area of {part.primitive.name}")
    source = f"{price.source}; {price.area_um2:.4g} um2 each"
    return Area(component, part.count, part.count * price.area_um2, source)


def _price(primitive: Primitive, table: CostTable) -> Price | None:
    """Return the price, ``None`` for registers in a table that has none."""
    return None if primitive.name == "register" and not table.has("register") else table.price(primitive)


def leakage_uw(machine: Hardware, table: CostTable) -> tuple[float, ...]:
    """Return the leakage of each array, of those components whose leakage the table prints."""
    return tuple(
        sum(_leakage_uw(part, table) for part in array_parts(element, elements, machine))
        for _, element, elements in arrays(machine)
    )


def _leakage_uw(part: Part, table: CostTable) -> float:
    price = _price(part.primitive, table)
    return part.count * (price.leakage_uw or 0.0) if price else 0.0


def leakage(machine: Hardware, table: CostTable, runs: Iterable[LayerRun]) -> Iterator[Charge]:
    """Yield leakage x time of every layer; both arrays leak all the time. Nothing where the table has no leakage."""
    power_uw = sum(leakage_uw(machine, table))
    source = (
        f"{table.source.short}: leakage of all components of the arrays, {power_uw:.4g} uW x "
        f"{1 / machine.clock_mhz:g} us per cycle"
    )
    for run in runs:
        if power_uw and run.cycles:
            yield Charge(run.layer, "leakage", "arrays", run.cycles, power_uw * run.cycles / machine.clock_mhz, source)


def clock(machine: Hardware, table: CostTable) -> Clock:
    """Return the clock that the array's critical path allows.

    The path runs through leaf, tree and accumulator, one component after the other; where a circuit has two
    subtractors or two multiplexers side by side, one counts. ``pipeline_stages`` cut it where it suits them best:
    a cycle takes the path's share of a stage, and no less than the slowest component. Set-up times and wires are
    not in it. A side array is taken to have pipeline stages enough.
    """
    name, chain = next(arrays(machine))[0], _critical_path(machine)
    delays = [_delay_ns(primitive, table) for primitive in chain]
    known = [delay for delay in delays if delay is not None]
    if len(known) < len(chain):
        unknown = dict.fromkeys(str(one) for one, delay in zip(chain, delays, strict=True) if delay is None)
        return Clock(name, None, f"{table.source.short}: no delay of {', '.join(unknown)}")
    cycle_ns = max(sum(known) / machine.pipeline_stages, max(known))
    said = " + ".join(f"{primitive} {delay:.4g}" for primitive, delay in zip(chain, known, strict=True))
    cut = f", in {machine.pipeline_stages} stages" if machine.pipeline_stages > 1 else ""
    return Clock(name, 1000 / cycle_ns, f"{table.source.short}: {said} ns{cut} -> {cycle_ns:.4g} ns")


def _critical_path(machine: Hardware) -> list[Primitive]:
    """Return what a word passes from an element's operands to its sum; of equal parts of a leaf, one."""
    _, element, elements = next(arrays(machine))
    parts = [part for part in array_parts(element, elements, machine) if part.primitive.name != "register"]
    side_by_side = dict.fromkeys(part.primitive for part in parts if part.role == "leaf")
    return [*side_by_side, *(part.primitive for part in parts if part.role != "leaf")]


def _delay_ns(primitive: Primitive, table: CostTable) -> float | None:
    delay_ns = table.price(primitive).delay_ns
    return 0.0 if delay_ns is None and primitive.name in GATES else delay_ns


def array_area_um2(machine: Hardware, table: CostTable) -> float:
    """Return the area of the array without its side array.

    Raises
    ------
    InputError
        If the table does not print areas.
    """
    _, element, elements = next(arrays(machine))
    parts = list(array_parts(element, elements, machine))
    found = [_area("", part, table).area_um2 for part in parts if _price(part.primitive, table) is not None]
    if None in found:
        raise InputError(f"{table.name}: prints no areas")
    return sum(area for area in found if area is not None)
