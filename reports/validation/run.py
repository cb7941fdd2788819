"""The hardware model beside published figures: run.py writes results.csv and README.md beside this file.

No constant is fitted. Eyeriss: processing time and global buffer traffic of the chip (JSSC 52(1), 2017, tables V and
VI, as in cucapra/fodlam), energies of ISCA 2016, figure 10, as nn_dataflow's tests print them, both for AlexNet.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from addersim.dataflows import DATAFLOWS
from addersim.hardware import load_hardware
from addersim.loops import LoopNest
from addersim.network import write_atomically
from addersim.scratchpads import with_scratchpads
from addersim.tiling import Tiles, crossing, one_group, room

HERE = Path(__file__).parent
EYERISS = load_hardware("eyeriss")
WORD_BYTES = EYERISS.operand_bits // 8
DRAM_COST = 200  # of a word, in multiplications; an access of a scratchpad costs 1 (ISCA 2016)
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
ENERGY = {  # multiplications, scratchpads, DRAM: 10^9 multiplications' energy, batch 16
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

## Eyeriss, AlexNet: processing time and global buffer

The machine `eyeriss`, dataflow row stationary, batch 4, against the chip (JSSC 52(1), 2017). Loading the elements is
not counted, so the model is faster than the chip throughout. Filters do not pass the global buffer. Two rules of the
mapping were chosen in view of this traffic: places for sets are split evenly between channels and filters, and one word
of the input scratchpad stays free for the next input. Times do not depend on them.

{chip}

## Eyeriss, AlexNet: energies

Batch 16, in 10^9 multiplications' energy, against ISCA 2016, figure 10: a scratchpad access costs 1, a word from DRAM
{dram_cost}. Scratchpads include filling them. DRAM words are the least over output channels, rows and images whose sums
stay in the machine's global buffer of {buffer} words beside the input rows of one channel. The paper's analysis is said
to have had 64 K words (nn_dataflow's tests); with those the tiling that is least here takes 10 to 18 % less than
printed in the convolutions.

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


def chip() -> list[Row]:
    """Return time and global buffer traffic, layer by layer and in total."""
    flow = with_scratchpads(DATAFLOWS["row_stationary"], EYERISS)
    rows = []
    for layer in TIME_MS:
        run = flow(replace(ALEXNET[layer], N=4), EYERISS.rows, EYERISS.cols)
        words = run.input_reads + run.output_reads + run.output_writes
        rows.append(Row("Eyeriss chip", layer, "ms", TIME_MS[layer], run.cycles / EYERISS.clock_mhz / 1000))
        rows.append(Row("Eyeriss chip", layer, "MB", BUFFER_MB[layer], words * WORD_BYTES / 1e6))
    for figure in ("ms", "MB"):
        own = [row for row in rows if row.figure == figure]
        rows.append(Row("Eyeriss chip", "all", figure, sum(r.published for r in own), sum(r.model for r in own)))
    return rows


def energies() -> list[Row]:
    """Return the energies of multiplications, scratchpads and DRAM, layer by layer."""
    flow = with_scratchpads(DATAFLOWS["row_stationary"], EYERISS)
    rows = []
    for layer, published in ENERGY.items():
        nest = replace(ALEXNET[layer], N=16)
        run = flow(nest, EYERISS.rows, EYERISS.cols)
        pads = sum(
            getattr(run, f"{pad}_pad_{way}") for pad in ("input", "weight", "sum") for way in ("reads", "writes")
        )
        model = (nest.taps, pads, DRAM_COST * dram_words(nest, EYERISS.buffer("inputs").size_bytes // WORD_BYTES))
        for figure, a, b in zip(("multiplications", "scratchpads", "DRAM"), published, model, strict=True):
            rows.append(Row("Eyeriss energy", layer, figure, a, b / 1e9))
    return rows


def dram_words(nest: LoopNest, buffer_words: int) -> int:
    """Return the least DRAM words of a batch whose partial sums stay in the buffer.

    Over all numbers of output channels, output rows and images. Weights come once per tile of rows and images, inputs
    once per tile of output channels.
    """
    one = replace(one_group(nest), N=1)
    channels, rows, images = np.ix_(*(np.arange(1, size + 1) for size in (one.K, one.P, nest.N)))
    tiles = Tiles(K=channels, C=1, P=rows, Q=one.Q)
    moved, needed = crossing(one, tiles), room(one, tiles)
    words = nest.groups * (nest.N * (moved.inputs + moved.outputs) - (-nest.N // images) * moved.weights)
    fits = images * needed["outputs"] + needed["inputs"] <= buffer_words
    return int(words[np.broadcast_to(fits, words.shape)].min())


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
        dram_cost=DRAM_COST,
        buffer=f"{EYERISS.buffer('inputs').size_bytes // WORD_BYTES:,}",
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
