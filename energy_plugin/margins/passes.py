"""One pass of a network over ID data and auxiliary outliers, to suggest margins from the energies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from energy_plugin.energy import energy
from energy_plugin.margins.measured import Collector, MarginSuggestion, suggestion
from energy_plugin.outputs import evaluating, logits_of

INPUT_KEYS = ("data", "image", "images", "input", "inputs", "x", "pixel_values")
TARGET_KEYS = ("label", "labels", "target", "targets", "mask", "y")


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

    A batch is the input, a tuple or list (input, targets, ...), or a dict with the input under one of
    `INPUT_KEYS` and the targets under one of `TARGET_KEYS`. Where there are targets (ours: >= 0 ID, < 0 OOD,
    `ignore_index` void) they decide what counts:

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
        device: where to put the inputs; by default where the model's first parameter is.
        slack: see `suggest_from_energies`.
        ignore_index: the void code of the targets.

    Raises:
        TypeError: a batch, or the model's output, is of another form than said.
        ValueError: a side has no sample, an energy is not finite, the ID mean is not below the OOD mean, or
            targets do not fit the logits.
    """
    where = _device_of(model) if device is None else torch.device(device)
    id_side, marked, every, maps = Collector(), Collector(), Collector(), False
    with evaluating(model), torch.inference_mode():
        for energies, targets in _energies(model, id_loader, where):
            kept = _valid(energies, targets, ignore_index)
            id_side.add(energies[kept if targets is None else kept & (targets >= 0)])
        for energies, targets in _energies(model, ood_loader, where):
            kept = _valid(energies, targets, ignore_index)
            every.add(energies[kept])
            if targets is not None:
                maps = maps or targets.ndim > 1
                marked.add(energies[kept & (targets < 0)])
    ood_side = marked if maps or marked.count else every
    return suggestion(id_side.done("ID"), ood_side.done("OOD"), slack)


def _energies(
    model: nn.Module, loader: Iterable[Any], device: torch.device
) -> Iterator[tuple[Tensor, Tensor | None]]:
    for batch in loader:
        inputs, targets = _parts(batch)
        energies = energy(logits_of(model(inputs.to(device))))
        yield energies, None if targets is None else _aligned(torch.as_tensor(targets).to(device), energies)


def _valid(energies: Tensor, targets: Tensor | None, ignore_index: int | None) -> Tensor:
    if targets is None or ignore_index is None:
        return torch.ones_like(energies, dtype=torch.bool)
    return targets != ignore_index


def _parts(batch: Any) -> tuple[Tensor, Any]:
    inputs = targets = None
    if isinstance(batch, Tensor):
        inputs = batch
    elif isinstance(batch, Mapping):
        inputs = next((batch[key] for key in INPUT_KEYS if key in batch), None)
        targets = next((batch[key] for key in TARGET_KEYS if key in batch), None)
    elif isinstance(batch, tuple | list) and batch:
        inputs, targets = batch[0], batch[1] if len(batch) > 1 else None
    if isinstance(inputs, Tensor):
        return inputs, targets
    keys = f" with the keys {sorted(map(str, batch))}" if isinstance(batch, Mapping) else ""
    raise TypeError(
        f"a batch is a {type(batch).__name__}{keys}; expected a tensor, (tensor, targets), or a dict with "
        f"the input under one of {', '.join(INPUT_KEYS)}"
    )


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


def _device_of(model: nn.Module) -> torch.device:
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
