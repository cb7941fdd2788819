"""The hardware model beside published figures: run.py writes results.csv and README.md beside this file.

No constant is fitted. Eyeriss: processing time and global buffer traffic of the chip (JSSC 52(1), 2017, tables V and
VI, as in cucapra/fodlam), energies of ISCA 2016, figure 10, as nn_dataflow's tests print them, both for AlexNet.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import numpy as np

from addersim.arithmetic.datapath import exact_datapath
from addersim.arithmetic.fixed import IntFormat
from addersim.arithmetic.output_stage import OutputStage
from addersim.costs import load_table
from addersim.costs.bill import Cost
from addersim.costs.evaluate import evaluate
from addersim.files import write_atomically
from addersim.hardware import Hardware, load_hardware
from addersim.mapping.dataflows import DATAFLOWS
from addersim.mapping.scratchpads import scratchpad_words
from addersim.mapping.tiles import Tiles, crossing
from addersim.network.loops import LoopNest
from addersim.network.node import EdgeFormat, Node, Tensor
from addersim.network.quantized import QuantizedNetwork

HERE = Path(__file__).parent
CHIP, ANALYSED = load_hardware("eyeriss"), load_hardware("eyeriss_isca2016")
WORD_BYTES = CHIP.operand_bits // 8
WORD = IntFormat(8 * WORD_BYTES, signed=True)
ALEXNET = {
    "conv1": LoopNest(K=96, C=3, P=55, Q=55, R=11, S=11, H=227, W=227, stride=(4, 4)),
    "conv2": LoopNest(K=256, C=96, P=27, Q=27, R=5, S=5, H=31, W=31, groups=2),
    "conv3": LoopNest(K=384, C=256, P=13, Q=13, R=3, S=3, H=15, W=15),
    "conv4": LoopNest(K=384, C=384, P=13, Q=13, R=3, S=3, H=15, W=15, groups=2),
    "conv5": LoopNest(K=256, C=384, P=13, Q=13, R=3, S=3, H=15, W=15, groups=2),
    "fc1": LoopNest(K=4096, C=256, R=6, S=6, H=6, W=6),
    "fc2": LoopNest(K=4096, C=4096),
    "fc3": LoopNest(K=1000, C=4096),
}  # inputs with their padding, as the chip gets them
TIME_MS = {"conv1": 16.5, "conv2": 39.2, "conv3": 21.8, "conv4": 16.0, "conv5": 10.0}  # batch 4
BUFFER_MB = {"conv1": 18.5, "conv2": 77.6, "conv3": 50.2, "conv4": 37.4, "conv5": 24.9}  # batch 4
ENERGY = {  # multiply-accumulates, scratchpads, DRAM: 10^9 multiply-accumulates' energy, batch 16
    "conv1": (1.69, 6.75, 2.46), "conv2": (3.58, 14.33, 2.27), "conv3": (2.39, 9.57, 2.02),
    "conv4": (1.79, 7.18, 1.57), "conv5": (1.20, 4.78, 1.05),
    "fc1": (0.60, 2.42, 7.78), "fc2": (0.27, 1.07, 3.39), "fc3": (0.07, 0.26, 0.84),
}  # fmt: skip
RESNET18 = [  # H, R, C, K, stride of SCALE-Sim's topologies/conv_nets/Resnet18.csv, which has no padding
    (224, 7, 3, 64, 2), *[(56, 3, 64, 64, 1)] * 4, (56, 3, 64, 128, 2), (28, 3, 128, 128, 1),
    (56, 1, 64, 128, 2), *[(28, 3, 128, 128, 1)] * 2, (28, 3, 128, 256, 2), (14, 3, 256, 256, 1),
    (28, 1, 128, 256, 2), *[(14, 3, 256, 256, 1)] * 2, (14, 3, 256, 512, 2), (7, 3, 512, 512, 1),
    (14, 1, 256, 512, 2), *[(7, 3, 512, 512, 1)] * 2, (1, 1, 512, 1000, 1),
]  # fmt: skip
HEAD = """# The hardware model beside published figures

`run.py` beside this file computes these tables, `results.csv` has them as numbers. No constant is fitted.

Eyeriss' layers are evaluated one by one, as networks of one layer: `addersim.evaluate(..., "row_stationary",
"eyeriss_65nm", tiling="energy", batch=...)`. Inputs have their padding, as the chip gets them.

## Eyeriss, AlexNet: processing time and global buffer

The machine `eyeriss`, batch 4, against the chip (JSSC 52(1), 2017). Time is that of the array, tile by tile; loading
the elements is not counted, so the model is faster than the chip throughout. Two rules of the mapping were chosen in
view of the chip's global buffer traffic: places for sets are split evenly between channels and filters, and one word of
the input scratchpad stays free for the next input. Times do not depend on them. Filters do not pass the global buffer.
Its traffic is that of the dataflow on the whole layer, "MB", and tile by tile, "MB in tiles": the model wants all
filters of a tile in their buffer of 8 KB, through which the chip streams them, so that conv1 is cut into more tiles
than on the chip and reads its inputs more often.

{chip}

## Eyeriss, AlexNet: energies

The machine `eyeriss_isca2016`, batch 16, in 10^9 multiply-accumulates' energy, against ISCA 2016, figure 10, with the
paper's ratios (table `eyeriss_65nm`): an access of a scratchpad costs 1, a hop 2, a word of the global buffer 6, of
DRAM 200. Scratchpads include filling them. The tiling is that of least energy of everything that moves; global buffer
and hops take part in that, but we have no printed figures to compare them with.

All figures are within 10 %, but for DRAM in conv1. There the search finds a better tiling than the paper's, whose
tiles we do not know: {conv1}. All filters stay in the buffer beside few output
rows and their inputs, so that {least:.2f} times the distinct words cross; {printed:.2f} times as many do in the paper.
A tile of 48 K x 1 C x 14 P x 55 Q, which fits as well, would take {given:.2f}, {given_off:+.1f} % from the printed
figure. It was chosen because it does: strips of 14 rows are nn_dataflow's, 48 and 1 our guess.

{energies}

## SCALE-Sim 3, ResNet-18, 32 x 32, weight stationary

Cycles per layer as SCALE-Sim counts them, from 0. It computes an output row and column too many where the stride does
not divide, `ceil((H - R + stride) / stride)` instead of `floor((H - R) / stride) + 1`: with its sizes the cycles are
its own in every layer (a test), with the right ones they are 1.3 % fewer.

{scale_sim}
"""


@dataclass(frozen=True)
class Row:
    """One figure: what it is, what was published, what the model says."""

    study: str
    layer: str
    figure: str
    published: float
    model: float

    @property
    def deviation(self) -> float:
        """``model / published - 1``."""
        return self.model / self.published - 1


def alone(layer: str) -> QuantizedNetwork:
    """Return a network of one layer of AlexNet on words of 16 bits; its weights are zeros, no price depends on them."""
    nest = ALEXNET[layer]
    weights = np.broadcast_to(np.int64(0), (nest.K, nest.R, nest.S, nest.C // nest.groups))
    params = {
        "w_krsc": weights,
        **{f"{name}_k": np.zeros(nest.K, np.int64) for name in ("bias", "multiplier", "offset")},
    }
    window = {"stride": nest.stride, "padding": (0, 0), "dilation": (1, 1), "groups": nest.groups}
    stage = OutputStage(WORD, WORD, style="shift_only")
    path = exact_datapath("multiplier", WORD, WORD, nest.depth)
    node = Node(layer, "conv2d", ("x",), window, {**params, "shift_k": np.ones(nest.K, np.int64)}, path, stage)
    form = EdgeFormat(WORD.bits, signed=True, step=1.0)
    shapes = {"x": (nest.C, nest.H, nest.W), layer: (nest.K, nest.P, nest.Q)}
    tensors = {name: Tensor(shape, form) for name, shape in shapes.items()}
    return QuantizedNetwork("AlexNet", (Node("x", "input"), node), tensors)


@cache
def bill(layer: str, machine: Hardware, batch: int) -> Cost:
    """Return what a layer costs by the paper's ratios, with the tiling of least energy."""
    return evaluate(alone(layer).on(machine), machine, "row_stationary", "eyeriss_65nm", tiling="energy", batch=batch)


def chip() -> list[Row]:
    """Return time and global buffer traffic, layer by layer and in total."""
    row_stationary = DATAFLOWS["row_stationary"]
    flow = partial(row_stationary, **scratchpad_words(row_stationary, CHIP))
    rows = []
    for layer in TIME_MS:
        cost, run = bill(layer, CHIP, 4), flow(replace(ALEXNET[layer], N=4), CHIP.rows, CHIP.cols)
        words = run.input_reads + run.output_reads + run.output_writes
        tiles = sum(c.times for c in cost.charges if c.action.startswith(("global: read", "global: write")))
        cycles = sum(layer.array_cycles for layer in cost.layers)
        rows.append(Row("Eyeriss chip", layer, "ms", TIME_MS[layer], cycles / CHIP.clock_mhz / 1000))
        rows.append(Row("Eyeriss chip", layer, "MB", BUFFER_MB[layer], words * WORD_BYTES / 1e6))
        rows.append(Row("Eyeriss chip", layer, "MB in tiles", BUFFER_MB[layer], tiles * WORD_BYTES / 1e6))
    for figure in ("ms", "MB", "MB in tiles"):
        own = [row for row in rows if row.figure == figure]
        rows.append(Row("Eyeriss chip", "all", figure, sum(r.published for r in own), sum(r.model for r in own)))
    return rows


def energies() -> list[Row]:
    """Return the energies of multiply-accumulates, scratchpads and DRAM, and their sum, layer by layer."""
    rows = []
    for layer, published in ENERGY.items():
        cost = bill(layer, ANALYSED, 16)
        pads = sum(charge.energy_pj for charge in cost.charges if "_pad: " in charge.action)
        found = cost.energy_by_unit["arithmetic"] / 1e9, pads / 1e9, cost.energy_by_unit["dram"] / 1e9
        figures = ("ALU", "scratchpads", "DRAM", "together")
        pairs = zip(figures, (*published, sum(published)), (*found, sum(found)), strict=True)
        rows += [Row("Eyeriss energy", layer, *figure) for figure in pairs]
    return rows


def conv1() -> dict[str, object]:
    """Return what to say of the first layer: its tiles, how often distinct words cross, what others would take."""
    nest, ours, printed = replace(ALEXNET["conv1"], N=16), bill("conv1", ANALYSED, 16), ENERGY["conv1"][2]
    word = load_table("eyeriss_65nm").dram(WORD.bits).energy_pj / 1e9
    distinct = word * (nest.inputs + nest.weights + nest.outputs)
    moved = crossing(nest, Tiles(K=48, C=1, P=14, Q=55))
    given = word * (moved.inputs + moved.weights + moved.outputs + 2 * moved.sums)
    return {
        "conv1": ours.layers[-1].tiles.partition(": ")[2],
        "least": ours.energy_by_unit["dram"] / 1e9 / distinct,
        "printed": printed / distinct,
        "given": given,
        "given_off": 100 * (given / printed - 1),
    }


def scale_sim() -> list[Row]:
    """Return cycles with SCALE-Sim's output sizes, as "published", and with the right ones."""
    flow, rows = DATAFLOWS["weight_stationary"], []
    for number, (H, R, C, K, stride) in enumerate(RESNET18):
        sizes = -(-(H - R + stride) // stride), (H - R) // stride + 1
        theirs, ours = (flow(LoopNest(K=K, C=C, P=P, Q=P, R=R, S=R), 32, 32).cycles - 1 for P in sizes)
        rows.append(Row("SCALE-Sim", str(number), "cycles", theirs, ours))
    return [*rows, Row("SCALE-Sim", "all", "cycles", sum(r.published for r in rows), sum(r.model for r in rows))]


def table(rows: list[Row], heads: tuple[str, str], form: str) -> str:
    """Return rows as a Markdown table, one line per layer, three columns per figure."""
    figures = list(dict.fromkeys(row.figure for row in rows))
    head = [f"{figure}, {side}" for figure in figures for side in (*heads, "deviation")]
    lines = ["| layer | " + " | ".join(head) + " |", "|---" * (len(head) + 1) + "|"]
    for layer in dict.fromkeys(row.layer for row in rows):
        own = [row for row in rows if row.layer == layer]
        cells = [f"{row.published:{form}} | {row.model:{form}} | {100 * row.deviation:+.1f} %" for row in own]
        lines.append(f"| {layer} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def page() -> str:
    """Return README.md."""
    return HEAD.format(
        chip=table(chip(), ("chip", "model"), ".1f"),
        energies=table(energies(), ("paper", "model"), ".2f"),
        scale_sim=table(scale_sim(), ("its sizes", "right sizes"), ",.0f"),
        **conv1(),
    )


def main() -> None:
    """Write the tables."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["study", "layer", "figure", "published", "model", "deviation_percent"])
    for row in (*chip(), *energies(), *scale_sim()):
        numbers = (f"{row.published:.7g}", f"{row.model:.7g}", f"{100 * row.deviation:.2f}")
        writer.writerow([row.study, row.layer, row.figure, *numbers])
    write_atomically(HERE / "results.csv", stream.getvalue().encode())
    write_atomically(HERE / "README.md", page().encode())


if __name__ == "__main__":
    main()
