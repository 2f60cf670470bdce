"""One pass of a network over a set: in chunks, each kept when it is done, shared among processes.

Chunks and their batches are the same whoever computes them. So several processes give what one gives, and a
pass that was broken off goes on to what it would have given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, distributed, nn

from energy_plugin_bench.apply.processes import Process
from energy_plugin_bench.cache import LogitsCache, key_of
from energy_plugin_bench.computing import Computing
from energy_plugin_bench.reading import batches
from energy_plugin_bench.recipe import Network

Scored = tuple[Tensor, Tensor]
"""Logits (N, C) float32 and labels (N,) int64."""


@dataclass(frozen=True, kw_only=True)
class Pass:
    """What goes through what, and how.

    Attributes:
        network: Its normalisation, and how many threads it is worth.
        model: Gives the network on its device.
        images: Gives the data set.
        steps: Transforms of its images.
        every: Of the images, every so-manyth.
        computing: Device, batches, precision.
        process: Which of the processes that share the work this is.
        cache: Where what is done is kept; None keeps nothing.
        made_of: Gives everything that the logits depend on but for the images.
        identify: Gives what identifies the images of a chunk, or all for None; it may ask for the data set.
            None where nothing can be said of them: then nothing is kept.
        progress: Told how many images are done, and of how many.
    """

    network: Network
    model: Callable[[], nn.Module]
    images: Callable[[], Any]
    steps: Sequence[str]
    every: int
    computing: Computing
    process: Process
    cache: LogitsCache | None
    made_of: Callable[[], Mapping[str, Any]]
    identify: Callable[[Callable[[], Any], range | None], Mapping[str, Any] | None]
    progress: Callable[[int, int], None]

    def run(self) -> tuple[Scored, bool]:
        """Return logits and labels, for the first process alone, and whether they were there already."""
        whole = self._kept(None) if self.process.first else None
        if self.process.told(whole is not None):
            return whole or _nothing(), True
        parts = self._left_behind() if self.process.first else {}
        missing = self.process.told([index for index in range(len(self._chunks)) if index not in parts])
        for start in range(0, len(missing), self.process.world):
            self._turn(missing[start : start + self.process.world], parts)
        self.progress(len(self._positions), len(self._positions))
        if not self.process.first:
            return _nothing(), False
        ordered = [parts[index] for index in range(len(self._chunks))]
        found = torch.cat([logits for logits, _ in ordered]), torch.cat([labels for _, labels in ordered])
        self._keep(found, None)
        if self.cache is not None:
            self.cache.finish(self._parts_of)
        return found, False

    @cached_property
    def _data(self) -> Any:
        return self.images()

    @cached_property
    def _network(self) -> nn.Module:
        return self.model()

    @cached_property
    def _positions(self) -> range:
        return range(0, len(self._data), self.every)

    @cached_property
    def _chunks(self) -> list[range]:
        return [
            self._positions[part.start : part.stop] for part in self.computing.chunks(len(self._positions))
        ]

    @cached_property
    def _base(self) -> Mapping[str, Any] | None:
        """What all parts have in common; None where nothing is kept."""
        return self.made_of() if self.cache is not None and self.every == 1 else None

    def _about(self, chunk: range | None) -> Mapping[str, Any] | None:
        """Everything that the logits of a chunk depend on: an image that is put back changes one chunk."""
        images = None if self._base is None else self.identify(lambda: self._data, chunk)
        return None if images is None else {**(self._base or {}), "images": dict(images)}

    def _kept(self, chunk: range | None, of: str = "") -> Scored | None:
        about = self._about(chunk)
        return None if self.cache is None or about is None else self.cache.read(key_of(about), of)

    def _keep(self, found: Scored, chunk: range | None, of: str = "") -> None:
        about = self._about(chunk)
        if self.cache is not None and about is not None:
            self.cache.write(key_of(about), *found, about, of)

    def _left_behind(self) -> dict[int, Scored]:
        """Chunks of a pass that was broken off."""
        found = {index: self._kept(chunk, self._parts_of) for index, chunk in enumerate(self._chunks)}
        return {index: part for index, part in found.items() if part is not None}

    @property
    def _parts_of(self) -> str:
        """What the parts are called that a pass leaves while it is under way."""
        return key_of(self._base or {})

    def _turn(self, indices: list[int], parts: dict[int, Scored]) -> None:
        """Let every process do one chunk, and hand them to the first, which keeps them."""
        rank = self.process.rank
        mine = self._compute(self._chunks[indices[rank]]) if rank < len(indices) else _nothing()
        for sender, index in enumerate(indices):
            part = _handed_over(mine, sender, len(self._chunks[index]), self.process)
            if part is not None:
                parts[index] = part
                self._keep(part, self._chunks[index], self._parts_of)

    def _compute(self, chunk: range) -> Scored:
        computing = self.computing
        read = batches(self._data, chunk, self.steps, computing.batch_size, workers=computing.workers)
        before, total = chunk.start // self.every, len(self._positions)
        return computing.forward(
            self._network, read, self.network, lambda done: self.progress(before + done, total)
        )


def _handed_over(mine: Scored, sender: int, size: int, process: Process) -> Scored | None:
    """Return what the sender computed, to the first process; None to all others."""
    if sender == 0:
        return mine if process.first else None
    if process.rank == sender:
        for tensor in mine:
            distributed.send(tensor.to(process.device), dst=0)
    if not process.first:
        return None
    shapes = ((size, mine[0].shape[1]), (size,))
    empty = [torch.empty(s, dtype=t.dtype, device=process.device) for s, t in zip(shapes, mine, strict=True)]
    for tensor in empty:
        distributed.recv(tensor, src=sender)
    logits, labels = (tensor.cpu() for tensor in empty)
    return logits, labels


def _nothing() -> Scored:
    return torch.empty(0, 0), torch.empty(0, dtype=torch.int64)
