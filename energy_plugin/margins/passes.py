"""One pass of a network over ID data and auxiliary outliers, to suggest margins from the energies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from energy_plugin.batches import check_loader, parts, run
from energy_plugin.energy import energy
from energy_plugin.margins.measured import Collector, MarginSuggestion, suggestion
from energy_plugin.outputs import evaluating, logits_of


def suggest(
    model: nn.Module,
    id_loader: Iterable[Any],
    ood_loader: Iterable[Any],
    *,
    device: torch.device | str | None = None,
    slack: float = 0.0,
    ignore_index: int | None = None,
) -> MarginSuggestion:
    """Margins from one pass of the pretrained network over both loaders, in evaluation mode.

    A batch is what `energy_plugin.batches.parts` takes: the input, a tuple or list (input, targets, ...), or
    a mapping with names that it knows. Where there are targets (ours: >= 0 ID, < 0 OOD, `ignore_index` void)
    they decide what counts:

    - ID side: samples or pixels with a negative or void target are left out.
    - OOD side, maps: only pixels with a negative target. Masks of another resolution than the logits are
      resized to the logits (nearest).
    - OOD side, one target a sample: if any in the loader is negative, only those count; if none is (an
      ordinary data set serves as outliers, with class labels of its own), all do.

    Args:
        model: returns logits B x C x ..., or an output that plainly holds them (`energy_plugin.outputs`). The
            mode of each of its modules is restored afterwards.
        id_loader: batches of in-distribution training data.
        ood_loader: batches of auxiliary outliers.
        device: where to put the inputs; by default where all of the model is.
        slack: see `suggest_from_energies`.
        ignore_index: the void code of the targets.

    Raises:
        TypeError: the model cannot be called, a loader is a data set, or a batch or the model's output is of
            another form than said.
        ValueError: a side has no sample, an energy is not finite, the ID mean is not below the OOD mean, or
            targets do not fit the logits.
    """
    if not callable(model):
        raise TypeError(f"model must be a network or another callable, got {type(model).__name__}.")
    check_loader(id_loader, "id_loader")
    check_loader(ood_loader, "ood_loader")
    id_side, marked, every, maps = Collector(), Collector(), Collector(), False
    with evaluating(model), torch.inference_mode():
        for energies, targets in _energies(model, id_loader, device):
            kept = _valid(energies, targets, ignore_index)
            id_side.add(energies[kept if targets is None else kept & (targets >= 0)])
        for energies, targets in _energies(model, ood_loader, device):
            kept = _valid(energies, targets, ignore_index)
            every.add(energies[kept])
            if targets is not None:
                maps = maps or targets.ndim > 1
                marked.add(energies[kept & (targets < 0)])
    ood_side = marked if maps or marked.count else every
    return suggestion(id_side.done("ID"), ood_side.done("OOD"), slack)


def _energies(
    model: nn.Module, loader: Iterable[Any], device: torch.device | str | None
) -> Iterator[tuple[Tensor, Tensor | None]]:
    for batch in loader:
        inputs, targets = parts(batch)
        energies = energy(logits_of(run(model, inputs, device)))
        yield energies, None if targets is None else _aligned(targets.to(energies.device), energies)


def _valid(energies: Tensor, targets: Tensor | None, ignore_index: int | None) -> Tensor:
    if targets is None or ignore_index is None:
        return torch.ones_like(energies, dtype=torch.bool)
    return targets != ignore_index


def _aligned(targets: Tensor, energies: Tensor) -> Tensor:
    """Targets in the shape of the energies: a channel of one dropped, masks resized to the logits."""
    if targets.ndim == energies.ndim + 1 and targets.shape[1] == 1:
        targets = targets.squeeze(1)
    if targets.ndim != energies.ndim or len(targets) != len(energies):
        raise ValueError(
            f"targets of shape {tuple(targets.shape)} do not fit energies of shape {tuple(energies.shape)}: "
            "expected one target a sample, or a mask of one a pixel"
        )
    if targets.shape == energies.shape:
        return targets.long()
    exact = targets.double().unsqueeze(1)  # float64 holds every code exactly
    return functional.interpolate(exact, size=energies.shape[1:], mode="nearest-exact").squeeze(1).long()
