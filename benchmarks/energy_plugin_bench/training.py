"""Fine-tuning with a loss on labelled batches, as the published recipes do it: one loop for all of them.

A batch holds in-distribution samples (label >= 0) and auxiliary outliers (label < 0) together, and goes
through the network as one, so batch norm sees both.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from energy_plugin.energy import energy

OUTLIER = -1
"""The label of an auxiliary outlier in the batches made here."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Stochastic gradient descent with momentum, as in wetliu/energy_ood CIFAR/train.py.

    Args:
        steps: number of updates.
        lr: learning rate at the first one.
        final_lr: where a cosine leads to by the last one; None keeps `lr`.
        momentum: with Nesterov's form.
        weight_decay: on all parameters.
    """

    steps: int
    lr: float = 0.001
    final_lr: float | None = None
    momentum: float = 0.9
    weight_decay: float = 5e-4

    def optimiser(self, network: nn.Module) -> torch.optim.SGD:
        """The optimiser of all parameters of a network, at the first learning rate."""
        return torch.optim.SGD(
            network.parameters(),
            lr=self.lr,
            momentum=self.momentum,
            weight_decay=self.weight_decay,
            nesterov=True,
        )

    def lr_at(self, step: int) -> float:
        """Learning rate of update `step`, counted from 0."""
        if self.final_lr is None:
            return self.lr
        return self.final_lr + (self.lr - self.final_lr) * 0.5 * (1.0 + math.cos(step / self.steps * math.pi))


def mixed_batches(
    images: Tensor,
    labels: Tensor,
    outliers: Tensor,
    *,
    batch_id: int,
    batch_ood: int | None,
    generator: torch.Generator,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless batches of `batch_id` samples and `batch_ood` outliers, drawn anew for each batch.

    Args:
        images: in-distribution images, N x C x H x W.
        labels: their classes, N, int64.
        outliers: M x C x H x W.
        batch_id: samples a batch, distinct within it.
        batch_ood: outliers a batch, drawn with replacement; None puts all M into every batch.
        generator: decides all draws.

    Yields:
        Images and labels; the outliers come last, with the label `OUTLIER`.
    """
    while True:
        chosen = torch.randperm(len(images), generator=generator)[:batch_id]
        drawn = outliers
        if batch_ood is not None:
            drawn = outliers[torch.randint(len(outliers), (batch_ood,), generator=generator)]
        marks = torch.full((len(drawn),), OUTLIER, dtype=torch.int64)
        yield torch.cat([images[chosen], drawn]), torch.cat([labels[chosen], marks])


def finetune(
    network: nn.Module,
    loss: nn.Module,
    batches: Iterator[tuple[Tensor, Tensor]],
    schedule: Schedule,
    *,
    on_step: Callable[[int, float], None] | None = None,
) -> list[float]:
    """Train `network` in place, in training mode, and leave it in evaluation mode.

    Args:
        network: gives logits B x C.
        loss: called as loss(logits, labels).
        batches: at least `schedule.steps` of them.
        schedule: optimiser and learning rates.
        on_step: told the step, counted from 1, and its loss.

    Returns:
        The loss of each step, before its update.
    """
    optimiser = schedule.optimiser(network)
    network.train()
    losses: list[float] = []
    for step in range(schedule.steps):
        images, labels = next(batches)
        optimiser.param_groups[0]["lr"] = schedule.lr_at(step)
        optimiser.zero_grad()
        value = loss(network(images), labels)
        value.backward()
        optimiser.step()
        losses.append(value.item())
        if on_step is not None:
            on_step(step + 1, losses[-1])
    network.eval()
    return losses


@torch.inference_mode()
def logits_of_images(network: nn.Module, images: Tensor, *, batch: int = 250) -> Tensor:
    """Logits N x C of all images, batch by batch; the network's mode is the caller's affair."""
    return torch.cat([network(images[start : start + batch]) for start in range(0, len(images), batch)])


def energies_of_images(network: nn.Module, images: Tensor, *, batch: int = 250) -> Tensor:
    """Energies N of all images at T = 1; higher = more OOD."""
    return energy(logits_of_images(network, images, batch=batch))
