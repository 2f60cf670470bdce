"""The training loop: cross-entropy and energy hinge on mixed batches, resumable to the same weights."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from energy_plugin.loss import EnergyRegularizedLoss
from energy_plugin_bench.apply.draws import Draws, mixed
from energy_plugin_bench.apply.images import Array, Images
from energy_plugin_bench.apply.preprocess import Augment, DataConfig, augmented
from energy_plugin_bench.apply.processes import Process
from energy_plugin_bench.training import OUTLIER, Schedule

Amp = Literal["off", "bf16", "fp16"]
AMP_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class DivergedError(ValueError):
    """The loss is no number any more."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """Everything a step needs besides the network.

    Attributes:
        known: ID images with classes.
        outliers: Auxiliary outliers; None trains the loss's criterion alone.
        draws: Which of them a step sees.
        schedule: Learning rates and optimiser.
        data: What images the network takes.
        augment: How training images are moved at random.
        accumulate: Micro-batches a step.
        amp: Half precision of the forward pass.
        process: This process among all.
        workers: Threads that read images.
    """

    known: Images
    outliers: Images | None
    draws: Draws
    schedule: Schedule
    data: DataConfig
    augment: Augment = "none"
    accumulate: int = 1
    amp: Amp = "off"
    process: Process
    workers: int = 4

    def scaler(self) -> torch.amp.GradScaler:
        """Scales losses where float16 gradients would vanish."""
        return torch.amp.GradScaler(self.process.device.type, enabled=self.amp == "fp16")

    def autocast(self) -> contextlib.AbstractContextManager[None]:
        """Half precision, where it is asked for."""
        if self.amp == "off":
            return contextlib.nullcontext()
        return torch.autocast(self.process.device.type, AMP_DTYPES[self.amp])

    def micro_batches(
        self, step: int, pool: ThreadPoolExecutor | None = None
    ) -> list[tuple[list[Array], Tensor]]:
        """This process's part of a step, in micro-batches that each hold their share of both kinds.

        Returns:
            Pairs of prepared images and int64 targets; images that cannot be read are missing from both.
        """
        own, others = slice(self.process.rank, None, self.process.world), self.draws.at(step)
        chosen, drawn = others[0][own], others[1][own]
        parts = []
        for turn in range(self.accumulate):
            images, targets = self._read(self.known, chosen[turn :: self.accumulate], step, 0, pool)
            labels = self.known.labels[targets].tolist()
            if self.outliers is not None:
                more, found = self._read(self.outliers, drawn[turn :: self.accumulate], step, 1, pool)
                images, labels = images + more, labels + [OUTLIER] * len(found)
            if images:
                parts.append((images, torch.tensor(labels, dtype=torch.int64)))
        if not parts:
            raise ValueError(f"not one image of step {step + 1} could be read: {self.known.unreadable}")
        return parts

    def _read(
        self, images: Images, positions: Sequence[int], step: int, side: int, pool: ThreadPoolExecutor | None
    ) -> tuple[list[Array], list[int]]:
        def prepare(image: Image.Image, place: int) -> Array:
            random = np.random.default_rng((self.draws.seed, step, side, positions[place]))
            return augmented(self.data.prepare(image), self.augment, random)

        kept, arrays = images.read(positions, prepare, pool)
        return arrays, [positions[place] for place in kept]

    def ahead(self, start: int) -> Iterator[tuple[int, list[tuple[list[Array], Tensor]]]]:
        """Steps from `start` on with their micro-batches; the next one is read while one is computed."""
        with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(self.workers) as pool:
            steps = iter(range(start, self.schedule.steps))
            waiting: Future[list[tuple[list[Array], Tensor]]] | None = None
            for step in steps:
                now = waiting or reader.submit(self.micro_batches, step, pool)
                waiting = None
                if step + 1 < self.schedule.steps:
                    waiting = reader.submit(self.micro_batches, step + 1, pool)
                yield step, now.result()


def train(
    network: nn.Module,
    loss: EnergyRegularizedLoss,
    training: Training,
    optimiser: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    *,
    start: int = 0,
    on_step: Callable[[int, float, float], None],
) -> None:
    """Train in place, and leave the network in evaluation mode.

    Args:
        network: Gives logits B x C; on the device of `training.process`.
        loss: With the reduction `group_mean` or `mean`; its means are taken over all processes here.
        training: Images, schedule and the rest.
        optimiser: Of the network's parameters.
        scaler: Of `training.scaler()`.
        start: Steps that are done.
        on_step: Told the number of steps done, the loss and the learning rate of the last.

    Raises:
        DivergedError: The loss is no number any more; nothing was told of that step.
    """
    wrapped = training.process.wrapped(network).train()
    for step, parts in training.ahead(start):
        # Dropout and the like must not depend on where the run was broken off.
        torch.manual_seed(mixed(training.draws.seed, 2, step, training.process.rank))
        for group in optimiser.param_groups:
            group["lr"] = training.schedule.lr_at(step)
        optimiser.zero_grad()
        value = _gradients(wrapped, loss, training, scaler, parts)
        if not math.isfinite(value):
            raise DivergedError(
                f"the loss of step {step + 1} is {value}: the training diverged. A smaller --lr, or margins "
                "nearer to the measured energies, may hold it."
            )
        scaler.step(optimiser)
        scaler.update()
        on_step(step + 1, value, training.schedule.lr_at(step))
    network.eval()


def _gradients(
    network: nn.Module,
    loss: EnergyRegularizedLoss,
    training: Training,
    scaler: torch.amp.GradScaler,
    parts: list[tuple[list[Array], Tensor]],
) -> float:
    """Add up the gradients of the micro-batches and return the loss of the whole step.

    The counts of the whole step, over all processes, divide every part, so the sum of the parts is the loss
    of the step in one piece. They are summed once, here: processes may have different numbers of parts.
    """
    device, world = training.process.device, training.process.world
    targets = [labels.to(device) for _, labels in parts]
    counts = training.process.summed(loss.group_counts(torch.cat(targets)))
    total = torch.zeros((), device=device)
    for number, (images, _) in enumerate(parts):
        last = number == len(parts) - 1
        with _alone(network) if not last else contextlib.nullcontext():
            with training.autocast():
                logits = network(training.data.batch(images, device))
            value = loss(logits, targets[number], counts=counts)
            scaler.scale(
                value * world
            ).backward()  # the processes' gradients are averaged, and we want their sum
        total += value.detach()
    return float(training.process.summed(total))


def _alone(network: nn.Module) -> contextlib.AbstractContextManager[None]:
    """Keep gradients in this process for a while: they travel once a step, after the last part."""
    if isinstance(network, DistributedDataParallel):
        return network.no_sync()
    return contextlib.nullcontext()
