"""Several processes that train one model, started by ``torchrun``: who is who, averages, threads.

Every process keeps a model of its own and draws the same random numbers. Of each batch it takes every n-th image;
gradients are averaged over the processes *before* the adder layers' are rescaled, because the rescaling needs the
norm of the whole batch's gradient. Averages are explicit, not those of DistributedDataParallel, which would do the
same in more steps: the models are small, one message per batch holds all.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Processes:
    """The place of this process among ``count`` of them; rank 0 alone writes and talks."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and talks."""
        return self.rank == 0

    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace, in place, floating tensors by their means over the processes; every process gets the same bits."""
        if self.count == 1 or not tensors:
            return
        flat = torch.cat([t.detach().flatten() for t in tensors])
        dist.all_reduce(flat)
        flat /= self.count
        for tensor, mean in zip(tensors, torch.split(flat, [t.numel() for t in tensors]), strict=True):
            tensor.detach().copy_(mean.view_as(tensor))

    @contextmanager
    def first_alone(self) -> Iterator[None]:
        """Let rank 0 go before the others: they then find the files that it has fetched."""
        if self.count > 1 and not self.first:
            dist.barrier()
        yield
        if self.count > 1 and self.first:
            dist.barrier()


def is_first() -> bool:
    """Return whether this process is the one that talks, before, while and after it has joined others."""
    return not dist.is_torchelastic_launched() or os.environ.get("RANK", "0") == "0"


@contextmanager
def joined() -> Iterator[Processes]:
    """Join the processes that ``torchrun`` has started (gloo, so that no GPU is needed); else be the only one."""
    if not dist.is_torchelastic_launched():
        yield Processes()
        return
    dist.init_process_group("gloo")
    try:
        yield Processes(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch use so many threads in this process."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
