"""What points.csv says, as figures and README.md: python written.py writes both beside this file."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

import addersim
from addersim.files import write_atomically
from addersim.report.exploration_page import write_exploration

HERE = Path(__file__).parent
STUDY = tomllib.loads((HERE / "study.toml").read_text(encoding="utf-8"))
TABLES = STUDY["evaluation"]["tables"]
ENERGY = TABLES[0]
NETWORKS = ("adder", "control")
PERCENT = 91.0
LATENCY_US = 250.0
BITS, ROWS, COLS, FLOW = ("quantization.bits", "hardware.rows", "hardware.cols", "evaluation.dataflow")
INPUTS, WEIGHTS = ("hardware.buffers.inputs.size_bytes", "hardware.buffers.weights.size_bytes")
DRAM = "hardware.dram.bits_per_cycle"
KEYS = (ROWS, COLS, FLOW, BITS, INPUTS, WEIGHTS, DRAM)
WORDS = ("rows", "columns", "dataflow", "bits", "inputs, bytes", "weights, bytes", "DRAM, bits per cycle")
NAMES = dict(zip(KEYS, WORDS, strict=True))
GOALS = {"energy_uj": "min", "elements": "min", "latency_us": "min"}


def load() -> Any:
    """Return the points, with the elements of the array."""
    points = pd.read_csv(HERE / "points.csv")
    return points.assign(elements=points[ROWS] * points[COLS])


def good(points: Any, network: str, latency_us: float = LATENCY_US) -> Any:
    """Return the points of a network that are accurate and fast enough."""
    enough = (points["accuracy_percent"] >= PERCENT) & (points["latency_us"] <= latency_us)
    return points[enough & (points["network"] == network)]


def least(points: Any, table: str = ENERGY) -> Any:
    """Return the point of least energy by a table; of equal ones the fewest elements, then the narrowest DRAM."""
    return points.sort_values([table, "elements", DRAM], kind="stable").iloc[0]


def accurate(points: Any) -> Any:
    """Return the adder network's points that are accurate enough, as the package's figures take them."""
    chosen = good(points, "adder", float("inf")).reset_index(drop=True)
    frame = chosen[[*KEYS, "accuracy_percent", "latency_us", "elements"]].assign(table=ENERGY)
    frame.insert(len(KEYS), "energy_uj", chosen[ENERGY] / 1000)
    return frame


def write() -> None:
    """Write front.csv, the figures, index.html and README.md."""
    points = load()
    write_exploration(accurate(points), STUDY["title"], KEYS, GOALS, HERE)
    write_atomically(HERE / "README.md", page(points))


def machine(point: Any) -> str:
    """Return a point in words."""
    flow, sizes = point[FLOW].replace("_", " "), f"{point[INPUTS] // 1024} and {point[WEIGHTS] // 1024} KB"
    return f"{point[ROWS]} x {point[COLS]}, {flow}, {point[BITS]} bits, {sizes}, DRAM {point[DRAM]} bits"


def span(values: Any, digits: int) -> str:
    """Return ``low to high``."""
    low, high = (f"{value:,.{digits}f}" for value in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def markdown(heads: list[str], rows: list[list[Any]]) -> str:
    """Return a table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def of_tables(points: Any) -> list[list[Any]]:
    """Return, per cost table, the best adder point, its energy, the control's best, and their ratio."""
    adder, control = (good(points, network) for network in NETWORKS)
    rows = []
    for table in TABLES:
        best, other = least(adder, table), least(control, table)
        energies = [point[table] / 1000 for point in (best, other)]
        ratio = f"{energies[1] / energies[0]:.2f}"
        rows.append([table, machine(best), f"{energies[0]:.1f}", machine(other), f"{energies[1]:.1f}", ratio])
    return rows


def swings(points: Any) -> list[list[Any]]:
    """Return what one change of the answer's machine, or of the table, makes of its energy; the widest first."""
    best = least(good(points, "adder"))
    own = points[points["network"] == "adder"]
    found = [("cost table of arithmetic", *_ends({table: best[table] for table in TABLES}))]
    for key in KEYS:
        others = own[(own[[k for k in KEYS if k != key]] == best[[k for k in KEYS if k != key]]).all(axis=1)]
        found.append((NAMES[key], *_ends(dict(zip(others[key], others[ENERGY], strict=True)))))
    found.sort(key=lambda one: -one[3] / one[1])
    return [[name, f"{low / 1000:.1f} ({a})", f"{high / 1000:.1f} ({b})", f"{high / low:.2f}"]
            for name, low, a, high, b in found]  # fmt: skip


def _ends(energies: dict[Any, float]) -> tuple[float, Any, float, Any]:
    low, high = min(energies, key=lambda k: energies[k]), max(energies, key=lambda k: energies[k])
    return energies[low], low, energies[high], high


def page(points: Any) -> str:
    """Return README.md."""
    return "\n".join(_lines(points)) + "\n"


def _lines(points: Any) -> Iterator[str]:
    yield "# ResNet-20 on CIFAR-10: which array and which width take least energy at 91 %\n"
    yield from _answer(points)
    front = addersim.pareto(accurate(points), GOALS).sort_values(list(GOALS), kind="stable")
    yield FIGURES.format(command=COMMAND, front=len(front), points=len(accurate(points)), limit=f"{LATENCY_US:g}")
    shown = front[front["latency_us"] <= LATENCY_US]
    yield FRONT.format(shown=len(shown), limit=f"{LATENCY_US:g}")
    heads = [*NAMES.values(), "accuracy, %", "energy, uJ", "latency, us", "elements"]
    yield markdown(heads, [_cells(row) for _, row in shown.iterrows()])
    yield "\n## By cost table\n"
    yield markdown(["cost table", "adders", "uJ", "multipliers", "uJ", "multiplier / adder"], of_tables(points))
    yield SWINGS
    yield markdown(["changed alone", "least, uJ", "most, uJ", "most / least"], swings(points))
    yield METHOD.format(first=ENERGY)


def _cells(row: Any) -> list[str]:
    keys = [str(row[key]).replace("_", " ") for key in KEYS]
    return [*keys, f"{row['accuracy_percent']:.2f}", f"{row['energy_uj']:.1f}", f"{row['latency_us']:.0f}",
            f"{row['elements']:,}"]  # fmt: skip


def _answer(points: Any) -> Iterator[str]:
    """Yield the answer, as plain as it is."""
    adder, control = (good(points, network) for network in NETWORKS)
    best, other, free = least(adder), least(control), least(good(points, "adder", float("inf")))
    small = least(adder[adder["elements"] == adder["elements"].min()])
    tables, wide = of_tables(points), swings(points)
    machines = [row[1] for row in tables]
    own = points[points["network"] == "adder"]
    yield ANSWER.format(
        machine=machine(best), **_figures(best), points=f"{len(own):,}", good=f"{len(adder):,}",
        limit=f"{LATENCY_US:g}", rate=f"{1e6 / LATENCY_US:,.0f}", first=ENERGY, shares=shares(best),
        usual=f"{usual(own)['latency_us']:.0f}",
        bound="that bound changes nothing: it is the least without it too" if free.equals(best)
        else f"without the bound it would be {machine(free)}: {_said(free)}",
    )  # fmt: skip
    eight = least(adder[adder[BITS] == 8])
    yield f"- At 8 bits the best is {machine(eight)}: {_said(eight)}; {shares(eight)}."
    yield (
        f"- **Multipliers (the control):** {machine(other)}: {_said(other)}. Multiplier / adder is "
        f"{other[ENERGY] / best[ENERGY]:.2f} for the whole, {other['arithmetic_nj'] / best['arithmetic_nj']:.2f} for "
        f"arithmetic; {span([float(row[5]) for row in tables], 2)} for the whole over the {len(tables)} cost tables."
    )
    tight = points[points[INPUTS] == points[INPUTS].min()]
    pairs = [[least(good(tight, network), table)[table] for network in NETWORKS] for table in TABLES]
    yield (
        f"- **That hangs on the buffers.** With {points[INPUTS].min():,} bytes for inputs, which the control chooses "
        f"and the adder network's shortcut does not fit, "
        f"multiplier / adder is {pairs[0][1] / pairs[0][0]:.2f}, by "
        f"the tables {span([b / a for a, b in pairs], 2)}: below 1 the multipliers take less. The "
        f"larger buffer was put into the "
        "space after a first sweep with 8,192 and 16,384 bytes had shown this."
    )
    yield (
        f"- **Over the {len(tables)} cost tables** the least is {span([float(row[2]) for row in tables], 1)} uJ, and "
        f"{machines.count(machines[0])} of them choose that machine."
    )
    times = f"{small[ENERGY] / best[ENERGY]:.2f} x"
    yield f"- The smallest array that does it is {machine(small)}: {_said(small)}, {times}."
    yield (
        f"- **What moves the answer most** is the {wide[0][0]}: alone, it makes {wide[0][1]} to {wide[0][2]} uJ of it; "
        f"next come {wide[1][0]} ({wide[1][3]} x) and {wide[2][0]} ({wide[2][3]} x)."
    )


def usual(own: Any) -> Any:
    """Return the 16 x 16 array at 8 bits that fetches its weights over the wide port."""
    array = {ROWS: 16, COLS: 16, BITS: 8, FLOW: "output_stationary"}
    at = {**array, INPUTS: 32768, WEIGHTS: 65536, DRAM: 128}
    return own[(own[list(at)] == pd.Series(at)).all(axis=1)].iloc[0]


def shares(point: Any) -> str:
    """Return where the energy goes, by the first table."""
    parts = {unit: point[f"{unit}_nj"] / point[ENERGY] for unit in ("arithmetic", "buffers", "dram")}
    return ", ".join(f"{100 * share:.0f} % {unit.replace('dram', 'DRAM')}" for unit, share in parts.items())


def _figures(point: Any) -> dict[str, str]:
    return {
        "energy": f"{point[ENERGY] / 1000:.1f}",
        "latency": f"{point['latency_us']:.0f}",
        "accuracy": f"{point['accuracy_percent']:.2f}",
    }


def _said(point: Any) -> str:
    return "{energy} uJ, {latency} us, {accuracy} %".format(**_figures(point))


COMMAND = "python reports/explore-resnet20/run.py ADDER.pth CONV.th DATA"
ANSWER = """**{machine}: {energy} uJ and {latency} us an image at {accuracy} %**, all 10,000 test images,
integers from input to logits (array, dataflow, width of adder layers, buffers of inputs and weights, DRAM bits
per cycle). That is the least by `{first}` of the {good} points of {points} that reach 91 % within {limit} us, which
is {rate} images a second and about half of what a 16 x 16 array takes ({usual} us at 8 bits, output stationary, weights
from DRAM); {bound}. Its energy: {shares}.
"""
FIGURES = """
![Elements against energy, the front in blue](scatter.svg)

The {points} points of the adder network at 91 % or more; in blue the {front} that no other beats in energy, latency and
number of elements, `{limit}` us being the bound above. Numbers are rows of [front.csv](front.csv).

![Least energy over rows and columns](heat-map.svg)

![All keys and goals, the front in blue](parallel.svg)

All three, `front.csv` and `index.html` are made by `{command}` from `points.csv`, which it writes first;
`python reports/explore-resnet20/written.py` makes them again from `points.csv`.
"""
FRONT = """## The front within {limit} us

{shown} points, by energy:
"""
SWINGS = """
Each the best by its own table, at 91 % and within the bound.

## What moves the answer

The answer's energy when one thing changes and all others stay, whether or not accuracy and bound are still met:
"""
METHOD = """
## How

`study.toml` holds the space; `run.py` sweeps it with `addersim.sweep(..., accuracy=True)` for the published ResNet-20
AdderNet and for its control, the convolutional ResNet-20 of akamaster/pytorch_resnet_cifar10 with its own
normalisation; it runs on the same machine with a multiplier in every element and no side array. Both are quantised
after training (`correction = "least_squares"`, 200 training images); first and last layer and residual edges keep 8
bits. Energies are those of one image, in uJ, by `{first}` where no table is named.

- The weights buffer of 524,288 bytes holds all weights from image to image, that of 65,536 fetches them for every
  image: a device that sees one image an hour has the latter's bill.
- Clock tree, control and wires are not priced, so a larger array only ever saves reads of the buffers: the model
  favours large arrays, and what does not fill them costs nothing but time (and leakage, by Aladdin's tables).
- With 32,768 bytes for inputs and for outputs every activation edge stays on chip. With 16,384 one edge of the adder
  network does not, the unrounded product of an adder layer on a shortcut, which the control, whose shortcuts have no
  layers, lacks. Ports are as wide as the tallest array needs, and energy goes by the bit.
- Channel parallel is priced without an adder tree: sums over the rows are charged as accumulations.
- All machines run at 500 MHz whatever their size.
- Tilings let the fewest bits cross (`evaluation.tiling = "traffic"`), whose tiles do not always fill the array. On the
  adders' best machine those of least energy (`"energy"`) make it 10.0 uJ and 153 us.
"""


if __name__ == "__main__":
    write()
