"""One process, or several that `torchrun` started: who we are, and what the others are told."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from energy_plugin_bench.devices import device_of


@dataclass(frozen=True)
class Process:
    """This process among those of the run.

    Attributes:
        rank: Its number.
        world: How many there are.
        device: Where it computes.
    """

    rank: int
    world: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether it is the one that measures, writes and reports."""
        return self.rank == 0

    def told(self, value: Any) -> Any:
        """Return what the first process passes in; the others' argument is thrown away."""
        if self.world == 1:
            return value
        box = [value]
        distributed.broadcast_object_list(box, src=0)
        return box[0]

    def summed(self, value: torch.Tensor) -> torch.Tensor:
        """Sum over all processes."""
        if self.world > 1:
            distributed.all_reduce(value)
        return value

    def wished(self, own: bool) -> bool:
        """Whether any of the processes wishes something; all of them ask at the same place."""
        if self.world == 1:
            return own
        return bool(self.summed(torch.tensor(float(own), device=self.device)))

    def wrapped(self, network: nn.Module) -> nn.Module:
        """Return the network, with gradients averaged over the processes where there are several."""
        if self.world == 1:
            return network
        ids = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(network, device_ids=ids)


@contextlib.contextmanager
def joined(device: str | None) -> Iterator[Process]:
    """Join the processes that `torchrun` started, if it did.

    Args:
        device: `cpu`, `cuda`, ...; None takes a GPU where there is one.

    Raises:
        ValueError: There is no such device.
    """
    where = device_of(device)
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Process(0, 1, where)
        return
    if where.type == "cuda" and where.index is None:
        where = device_of(f"cuda:{os.environ['LOCAL_RANK']}")
    if where.type == "cuda":
        torch.cuda.set_device(where)
    # The others wait while the first one measures a large data set.
    distributed.init_process_group("nccl" if where.type == "cuda" else "gloo", timeout=timedelta(hours=12))
    try:
        yield Process(distributed.get_rank(), world, where)
    finally:
        distributed.destroy_process_group()
