"""What a network makes of images, and the figures of it: accuracy, AUROC, FPR95."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from energy_plugin.energy import energy
from energy_plugin.metrics import evaluate
from energy_plugin.outputs import evaluating, logits_of
from energy_plugin_bench.apply.images import Images
from energy_plugin_bench.apply.preprocess import DataConfig

Told = Callable[[int], None]
Context = Callable[[], contextlib.AbstractContextManager[None]]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """Logits of the images of a source that could be read.

    Attributes:
        positions: Where they stand in the source.
        logits: N x C, float32, on the CPU.
    """

    positions: list[int]
    logits: Tensor


@dataclass(frozen=True, kw_only=True)
class Loader:
    """Images of a source in batches, as loaders give them: (inputs, targets).

    Attributes:
        images: The source.
        data: What images the network takes.
        device: Where the batches go.
        batch: Images a batch.
        workers: Threads that read.
        told: Told how many images are read.
        labelled: Whether the batches have targets.
    """

    images: Images
    data: DataConfig
    device: torch.device
    batch: int = 256
    workers: int = 4
    told: Told = lambda _: None
    labelled: bool = True

    def positions(self) -> Iterator[tuple[list[int], Tensor]]:
        """Batches with the positions of their images; what cannot be read is in neither."""
        with ThreadPoolExecutor(self.workers) as pool:
            for start in range(0, len(self.images), self.batch):
                chosen = range(start, min(start + self.batch, len(self.images)))
                kept, arrays = self.images.read(chosen, lambda image, _: self.data.prepare(image), pool)
                if arrays:
                    yield [chosen[place] for place in kept], self.data.batch(arrays, self.device)
                self.told(len(chosen))

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        """Batches (inputs, targets), or (inputs,)."""
        for positions, inputs in self.positions():
            targets = torch.from_numpy(self.images.labels[positions]).to(self.device)
            yield (inputs, targets) if self.labelled else (inputs,)


def passes(
    network: nn.Module, loader: Loader, context: Context = contextlib.nullcontext
) -> Iterator[tuple[list[int], Tensor]]:
    """Send all images of a source through the network, in evaluation mode and without gradients.

    Yields:
        Positions of a batch's images, and their logits, B x C, float32, on the CPU.

    Raises:
        ValueError: The network does not give B x C.
    """
    with evaluating(network), torch.inference_mode():
        for kept, inputs in loader.positions():
            with context():
                found = logits_of(network(inputs))
            if found.ndim != 2:
                raise ValueError(f"the network gives logits of shape {tuple(found.shape)}; expected B x C.")
            yield kept, found.float().cpu()


def logits(network: nn.Module, loader: Loader, context: Context = contextlib.nullcontext) -> Seen:
    """Return the logits of all images that can be read.

    Raises:
        ValueError: Not one image could be read, or the network does not give B x C.
    """
    positions: list[int] = []
    parts: list[Tensor] = []
    for kept, found in passes(network, loader, context):
        positions += kept
        parts.append(found)
    if not parts:
        raise ValueError(
            f"not one of the {len(loader.images)} images of {loader.images.source} could be read: "
            f"{dict(list(loader.images.unreadable.items())[:3])}"
        )
    return Seen(positions=positions, logits=torch.cat(parts))


def figures(known: Seen, labels: Tensor, outliers: Mapping[str, Seen], convention: str) -> dict[str, object]:
    """Return accuracy, and for every set of outliers AUROC and FPR95 of the energy.

    Args:
        known: Of the ID test images.
        labels: Their classes, of the whole source.
        outliers: Of the outlier test images, by name of the set.
        convention: Whose rules, a key of `energy_plugin.metrics.CONVENTIONS`.
    """
    right = known.logits.argmax(1) == labels[known.positions]
    scores = energy(known.logits)
    sets = {}
    for name, seen in outliers.items():
        found = evaluate(scores, energy(seen.logits), convention)
        sets[name] = {"auroc": found.auroc, "fpr95": found.fpr95, "images": found.n_ood}
    return {
        "accuracy": float(right.double().mean()),
        "images": len(known.positions),
        "mean_energy": float(scores.double().mean()),
        "outliers": sets,
    }
