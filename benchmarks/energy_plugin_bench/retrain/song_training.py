"""The re-training of the Song study: a DenseNet on digits 0 to 7, fine-tuned with N outliers each of 8 and 9.

Source: Xiaoyang-Song/energy_ood@7001e74, CIFAR/out/energy/MNIST-Balanced/*.log. An epoch there ends with
the shorter loader, so for N <= 128 an epoch is one step that holds all 2 N outliers, and 100 epochs are 100
steps. Which N images were the outliers is not published; here the seed chooses them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from energy_plugin.energy import energy
from energy_plugin.loss import EnergyRegularizedLoss
from energy_plugin.margins import preset
from energy_plugin.metrics import evaluate
from energy_plugin_bench.inputs.imagesets import read_archive
from energy_plugin_bench.inputs.transforms import as_batch
from energy_plugin_bench.networks.densenet import DenseNetBC100
from energy_plugin_bench.training import Schedule, finetune, logits_of_images, mixed_batches

MOST_OUTLIERS = 128
"""Outliers a class up to which an epoch of the study is one step (its out-loader takes 256)."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """MNIST as the study splits it: the first digits are classes, the others outliers; pixels in [0, 1].

    Args:
        train: N x 1 x 28 x 28, of the classes.
        train_labels: N, int64.
        outliers: training images of each further digit.
        test: test images of the classes.
        test_labels: int64.
        test_outliers: test images of the further digits.
    """

    train: Tensor
    train_labels: Tensor
    outliers: tuple[Tensor, ...]
    test: Tensor
    test_labels: Tensor
    test_outliers: Tensor

    @classmethod
    def read(cls, train: Path, test: Path, classes: int) -> Split:
        """From archives of `images` and `labels`."""
        images, labels = _digits(train)
        test_images, test_labels = _digits(test)
        further = range(classes, int(labels.max()) + 1)
        return cls(
            train=images[labels < classes],
            train_labels=labels[labels < classes],
            outliers=tuple(images[labels == digit] for digit in further),
            test=test_images[test_labels < classes],
            test_labels=test_labels[test_labels < classes],
            test_outliers=test_images[test_labels >= classes],
        )


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one fine-tuning gave; rates in percent, as the study prints them.

    Args:
        outliers: N, auxiliary outliers a class.
        seed: chose the outliers and the batches.
        steps: updates made.
        losses: of each step, before its update.
        error_rate: wrongly classified test images.
        tnr95: outliers rejected at 95 % true positive rate, ID positive.
        tnr99: the same at 99 %.
        auroc: of the energy.
        seconds: of training and evaluation.
    """

    outliers: int
    seed: int
    steps: int
    losses: list[float]
    error_rate: float
    tnr95: float
    tnr99: float
    auroc: float
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def pretrained(weights: Path, classes: int) -> DenseNetBC100:
    """The study's network before the fine-tuning, in evaluation mode."""
    network = DenseNetBC100(classes=classes, channels=1, pool=7)
    network.load_state_dict(load_file(weights))
    return network.eval().to(memory_format=torch.channels_last)  # a third faster on a CPU


def retrain(
    network: nn.Module,
    split: Split,
    *,
    outliers: int,
    seed: int,
    steps: int,
    margins: str,
    convention: str,
    on_step: Callable[[int, float], None] | None = None,
) -> Run:
    """Fine-tune `network` in place and measure it on all test images (no draws).

    Args:
        network: of `pretrained`.
        split: the images.
        outliers: N, of each further digit, at most `MOST_OUTLIERS`.
        seed: of outliers and batches.
        steps: number of updates.
        margins: name of the preset with margins, weight and learning rate.
        convention: of the metrics.
        on_step: told the step, counted from 1, and its loss.

    Raises:
        ValueError: with that many outliers an epoch of the study has several steps.
    """
    if not 0 < outliers <= MOST_OUTLIERS:
        raise ValueError(
            f"outliers a class must be 1 to {MOST_OUTLIERS}, got {outliers}: with more an epoch of the study "
            "has several steps"
        )
    started = time.perf_counter()
    settings = preset(margins)
    generator = torch.Generator().manual_seed(seed)
    chosen = [pool[torch.randperm(len(pool), generator=generator)[:outliers]] for pool in split.outliers]
    batches = mixed_batches(
        split.train,
        split.train_labels,
        torch.cat(chosen),
        batch_id=settings.batch_id,
        batch_ood=None,
        generator=generator,
    )
    loss = EnergyRegularizedLoss(**settings.settings())
    losses = finetune(network, loss, batches, Schedule(steps=steps, lr=settings.lr), on_step=on_step)
    figures = measured(network, split, convention)
    seconds = time.perf_counter() - started
    return Run(outliers=outliers, seed=seed, steps=steps, losses=losses, **figures, seconds=seconds)


def measured(network: nn.Module, split: Split, convention: str) -> dict[str, float]:
    """Error rate, TNR95, TNR99 and AUROC of the energy, in percent."""
    known = logits_of_images(network, split.test)
    unknown = logits_of_images(network, split.test_outliers)
    results = evaluate(energy(known), energy(unknown), convention)
    wrong = (known.argmax(1) != split.test_labels).double().mean().item()
    return {
        "error_rate": 100.0 * wrong,
        "tnr95": 100.0 * results.tnr95,
        "tnr99": 100.0 * results.tnr99,
        "auroc": 100.0 * results.auroc,
    }


def _digits(path: Path) -> tuple[Tensor, Tensor]:
    archive = read_archive(path)
    return as_batch(archive.images), torch.from_numpy(archive.labels)
