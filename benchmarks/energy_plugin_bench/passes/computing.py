"""How networks are run: device, batches, precision; and which images go together, whoever computes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from energy_plugin.outputs import logits_of
from energy_plugin_bench.devices import device_of
from energy_plugin_bench.inputs.reading import Batch
from energy_plugin_bench.options import AMP, BATCH
from energy_plugin_bench.passes.threads import one_thread
from energy_plugin_bench.values.networks import Network

CHUNK = 1000
"""Images that are computed, kept and sent together, about."""


@dataclass(frozen=True, kw_only=True)
class Computing:
    """How networks are run.

    Attributes:
        device: `cpu`, `cuda`, `cuda:1`, ...
        batch_size: Images a batch. Figures may move in the last bit with it, so it is part of a cache's key.
        workers: Threads that read image files ahead.
        amp: Dtype of automatic mixed precision, a name of `AMP`; empty: float32.
    """

    device: str = "cpu"
    batch_size: int = BATCH
    workers: int = 0
    amp: str = ""

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.workers < 0:
            raise ValueError(
                f"batch size {self.batch_size}, workers {self.workers}: expected at least 1 and at least 0."
            )
        if self.amp and self.amp not in AMP:
            raise ValueError(f"amp is {self.amp!r}; expected {' or '.join(AMP)}.")
        device_of(self.device)

    @property
    def dtype(self) -> str:
        """Of the arithmetic."""
        return self.amp or "float32"

    def made_on(self) -> dict[str, Any]:
        """What logits depend on, as plain data; not how their images were read."""
        device = torch.device(self.device)
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
        tf32 = device.type == "cuda" and torch.backends.cudnn.allow_tf32
        return {"device": name, "dtype": self.dtype, "tf32": tf32, "batch_size": self.batch_size}

    def chunks(self, total: int) -> list[range]:
        """Split images 0 to `total`, whole batches each, the same for any number of processes."""
        size = max(1, CHUNK // self.batch_size) * self.batch_size
        return [range(start, min(start + size, total)) for start in range(0, total, size)]

    def autocast(self) -> AbstractContextManager[Any]:
        """Mixed precision within the block, if it is wished."""
        if not self.amp:
            return nullcontext()
        return torch.autocast(torch.device(self.device).type, getattr(torch, self.amp))

    def forward(
        self, model: nn.Module, read: Iterable[Batch], chosen: Network, told: Callable[[int], None]
    ) -> tuple[Tensor, Tensor]:
        """Send batches through a network.

        Args:
            model: On the device already.
            read: Batches.
            chosen: Its normalisation, and whether it is worth more than one thread.
            told: Given the number of images before each batch.

        Returns:
            Logits (N, C) float32 and labels (N,) int64, on the CPU.
        """
        mean = torch.tensor(chosen.mean or (0.0,), device=self.device).view(-1, 1, 1)
        std = torch.tensor(chosen.std or (1.0,), device=self.device).view(-1, 1, 1)
        logits, labels, done = [], [], 0
        with torch.inference_mode(), self.autocast(), nullcontext() if chosen.slow else one_thread():
            for images, known in read:
                told(done)
                images = (images.to(self.device) - mean) / std
                logits.append(logits_of(model(images)).float().cpu())
                labels.append(known)
                done += len(known)
        return torch.cat(logits), torch.cat(labels)
