"""One pass of a network over a set: in chunks, each kept when it is done, shared among processes.

Chunks are the same whoever computes them. So several processes give what one gives, and a pass that was
broken off goes on to what it would have given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import distributed

from energy_plugin_bench.apply.processes import Process
from energy_plugin_bench.passes.cache import PassCache, Tensors, key_of


@dataclass(frozen=True)
class Part:
    """What a chunk gave.

    Attributes:
        tensors: By name, on the CPU.
        kept: Whether they were there from an earlier run.
    """

    tensors: Tensors
    kept: bool


@dataclass(frozen=True, kw_only=True)
class Pass:
    """What is computed, by whom, and where it is kept.

    Attributes:
        chunks: Positions of the images that are computed, kept and handed over together, in order.
        compute: From a chunk to its tensors.
        process: Which of the processes that share the work this is.
        cache: Where what is done is kept; None keeps nothing.
        made_of: Gives everything that the tensors depend on but for the images.
        identify: Gives what identifies the images of a chunk; None where nothing can be said of them: then
            nothing is kept.
    """

    chunks: Sequence[range]
    compute: Callable[[range], Tensors]
    process: Process
    cache: PassCache | None
    made_of: Callable[[], Mapping[str, Any]]
    identify: Callable[[range], Mapping[str, Any] | None]

    def run(self) -> Iterator[Part]:
        """Yield what every chunk gives, in order, in the first process; the others compute for it.

        Every process must go through it to its end; to the others it yields nothing.
        """
        for start in range(0, len(self.chunks), self.process.world):
            yield from self._turn(self.chunks[start : start + self.process.world])
        if self.cache is not None and self.process.first:
            self.cache.tidy(self._key)

    def _turn(self, chunks: Sequence[range]) -> Iterator[Part]:
        """Let every process do one of the chunks that are not kept yet."""
        kept = {i: tensors for i, chunk in enumerate(chunks) if (tensors := self._kept(chunk)) is not None}
        missing: list[int] = self.process.told([i for i in range(len(chunks)) if i not in kept])
        rank = self.process.rank
        mine = self.compute(chunks[missing[rank]]) if rank < len(missing) else {}
        done = {}
        for sender, index in enumerate(missing):
            part = _handed_over(mine, sender, self.process)
            if self.process.first:
                done[index] = part
                self._keep(part, chunks[index])
        for index in range(len(chunks)) if self.process.first else ():
            yield Part(kept[index], True) if index in kept else Part(done[index], False)

    @cached_property
    def _base(self) -> Mapping[str, Any]:
        """What all chunks have in common."""
        return self.made_of()

    @cached_property
    def _key(self) -> str:
        return key_of(self._base)

    def _about(self, chunk: range) -> Mapping[str, Any] | None:
        """Everything that a chunk depends on: an image that is put back changes one chunk."""
        if self.cache is None or not self.process.first:
            return None
        images = self.identify(chunk)
        return None if images is None else {**self._base, "images": dict(images)}

    def _kept(self, chunk: range) -> Tensors | None:
        about = self._about(chunk)
        return None if self.cache is None or about is None else self.cache.read(self._key, key_of(about))

    def _keep(self, tensors: Tensors, chunk: range) -> None:
        about = self._about(chunk)
        if self.cache is not None and about is not None:
            self.cache.write(self._key, key_of(about), tensors, about)


def _handed_over(mine: Tensors, sender: int, process: Process) -> Tensors:
    """Return what the sender computed, to the first process; nothing to all others."""
    if sender == 0:
        return mine if process.first else {}
    box = [{name: (tensor.shape, tensor.dtype) for name, tensor in mine.items()}]
    distributed.broadcast_object_list(box, src=sender)
    if process.rank == sender:
        for tensor in mine.values():
            distributed.send(tensor.to(process.device).contiguous(), dst=0)
    if not process.first:
        return {}
    found = {}
    for name, (shape, dtype) in box[0].items():
        found[name] = torch.empty(shape, dtype=dtype, device=process.device)
        distributed.recv(found[name], src=sender)
    return {name: tensor.cpu() for name, tensor in found.items()}
