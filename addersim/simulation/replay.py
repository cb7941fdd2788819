"""A network on images of one shape as one call of the core: no Python, and no waiting for its lock, between layers.

It serves where the core alone runs every layer and the activations are small; elsewhere layers are called one by one,
with the same bits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from addersim.arithmetic.datapath import EVENTS
from addersim.arithmetic.fixed import Ints
from addersim.kernels import _native, finishing
from addersim.kernels.tape import Tape, Unrecordable, recording
from addersim.network.graph import Network
from addersim.network.node import Node
from addersim.network.ops import Facts, Runner

MOST_BYTES = 1 << 25  # of activations that stay in memory as long as the network does; larger layers gain nothing
MOST_IDLE = 64  # of one shape
NONE_YET: deque[Any] = deque()
Numbers = NDArray[np.int64]  # a row per step: saturated, overflows, least and largest accumulator, events


@dataclass(frozen=True, eq=False)
class Replay:
    """A network laid out for images of one shape, with the memory of its edges: one batch at a time.

    Attributes
    ----------
    facts
        What each layer says of itself whatever the images: which loop runs it, whether it has an accumulator.
    rows
        Which row of the numbers belongs to a layer; a layer that only renames words has none.
    """

    program: _native.Program
    codes: NDArray[Any]
    output: NDArray[Any]
    steps: int
    facts: Mapping[str, Facts]
    rows: Mapping[str, int]

    def __call__(self, codes: Ints) -> tuple[Ints, Numbers]:
        """Return the output edge for the codes of the input edge, and what the steps went through."""
        np.copyto(self.codes, codes, casting="unsafe")
        numbers = np.empty((self.steps, _native.FACTS_WORDS), np.int64)
        self.program.run(numbers)
        return self.output.copy(), numbers

    def merged(self, numbers: Sequence[Numbers]) -> dict[str, Facts]:
        """Return every layer's facts over all batches."""
        table = np.stack(numbers)
        sums, least, most = table.sum(0).tolist(), table[:, :, 2].min(0).tolist(), table[:, :, 3].max(0).tolist()
        found = dict(self.facts)
        for name, i in self.rows.items():
            saturated, overflows, _, _, *events = sums[i]
            ends = None if found[name].accumulator is None else (least[i], most[i])
            named = dict(zip(EVENTS, events, strict=True)) if ends is not None else found[name].events
            found[name] = Facts(named, overflows, saturated, ends, found[name].path)
        return found


def record(network: Network, runners: Mapping[str, Runner], shape: tuple[int, ...]) -> Replay | None:
    """Return the network for input codes of ``shape``, N H W C; ``None`` where one call cannot run it."""
    try:
        with recording() as tape:
            found = _recorded(network, runners, shape, tape)
    except Unrecordable:
        return None
    return found if tape.size_bytes <= MOST_BYTES and tape.steps else None


def _recorded(network: Network, runners: Mapping[str, Runner], shape: tuple[int, ...], tape: Tape) -> Replay:
    form, (first, *nodes) = network.input.integers, network.nodes
    codes = tape.empty(shape, finishing.word_for(form.format.min, form.format.max))
    edges: dict[str, NDArray[Any]] = {first.name: codes}
    facts: dict[str, Facts] = {}
    rows: dict[str, int] = {}
    for i, node in enumerate(nodes):
        before = len(tape.steps)
        edges[node.name], facts[node.name] = runners[node.name](*(edges[name] for name in node.inputs))
        made = len(tape.steps) - before
        if made > 1 or not tape.owns(edges[node.name]):
            raise Unrecordable
        rows |= {node.name: before} if made else {}
        edges = _needed(edges, nodes[i + 1 :], node)
        tape.keep(edges.values())
    program, count = _native.Program(tape.steps), len(tape.steps)
    return Replay(program, codes, edges[nodes[-1].name], count, facts, rows)


def _needed(edges: Mapping[str, NDArray[Any]], later: Sequence[Node], newest: Node) -> dict[str, NDArray[Any]]:
    """Return the edges that later nodes read, and the newest, which may be the output."""
    read = {name for node in later for name in node.inputs} | {newest.name}
    return {name: edge for name, edge in edges.items() if name in read}


@dataclass(frozen=True, eq=False)
class Prepared:
    """The layers of a network ready to run, and its idle replays by shape; a shape without replay has ``None``.

    It does not hold the network itself, with which it is to go.
    """

    runners: Mapping[str, Runner]
    idle: dict[tuple[int, ...], deque[Replay] | None] = field(default_factory=dict)

    def take(self, network: Network, shape: tuple[int, ...]) -> Replay | None:
        """Return a replay of the network for input codes of ``shape`` that nobody else uses until :meth:`give`."""
        idle = self.idle.get(shape, NONE_YET)
        try:
            return None if idle is None else idle.pop()
        except IndexError:
            replay = record(network, self.runners, shape)
            if replay is None:
                self.idle[shape] = None
            return replay

    def give(self, replay: Replay) -> None:
        """Let the next caller have it."""
        idle = self.idle.setdefault(replay.codes.shape, deque(maxlen=MOST_IDLE))
        if idle is not None:
            idle.append(replay)
