"""Batches of a loader: what goes into the network, the targets, and which of them are ID."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

INPUT_NAMES = ("data", "image", "images", "input", "inputs", "x", "pixel_values")
TARGET_NAMES = ("label", "labels", "target", "targets", "mask", "y")


def parts(batch: Any) -> tuple[Any, Tensor | None]:
    """Return the network's input and the targets of a batch.

    Args:
        batch: a tensor (inputs alone); a tuple or list, inputs first, targets second, the rest left aside; or
            a mapping, with the targets under one of `TARGET_NAMES`. Of a mapping the tensor under one of
            `INPUT_NAMES` is the input; where there is none, all of it but the targets (as Hugging Face's
            networks take it).

    Returns:
        The input, and the targets as a tensor or None.

    Raises:
        TypeError: the batch is nothing of this kind.
    """
    if isinstance(batch, Tensor):
        return batch, None
    if isinstance(batch, Mapping):
        return _of_mapping(batch)
    if not isinstance(batch, tuple | list) or not batch:
        raise TypeError(
            f"a batch of the loader is {_named(batch)}; expected a tensor, (inputs, targets) or a mapping."
        )
    targets = batch[1] if len(batch) > 1 else None
    return batch[0], None if targets is None else torch.as_tensor(targets)


def run(model: Any, inputs: Any, device: torch.device | str | None = None) -> Any:
    """Return the network's output on inputs that are brought to its device.

    Args:
        model: a network, or any callable. One that is spread over several devices, or that has no parameter,
            gets the inputs where they are.
        inputs: a tensor, or anything that the network takes; a mapping becomes keyword arguments.
        device: where to bring the inputs; by default where all of the network is.
    """
    device = device_of(model) if device is None else torch.device(device)
    if isinstance(inputs, Mapping):
        return model(**{name: _moved(part, device) for name, part in inputs.items()})
    return model(_moved(inputs, device))


def device_of(model: Any) -> torch.device | None:
    """Return the device where all of a network is, None where it has none, or several."""
    if not isinstance(model, nn.Module):
        return None
    devices = {tensor.device for tensor in itertools.chain(model.parameters(), model.buffers())}
    return devices.pop() if len(devices) == 1 else None


def check_loader(loader: Any, name: str) -> None:
    """Refuse a data set where batches are wanted: its samples would be taken for batches.

    Raises:
        TypeError: the loader is a tensor, has an index alone, or gives nothing.
    """
    if hasattr(loader, "__iter__") and not isinstance(loader, Tensor):
        return
    if not hasattr(loader, "__getitem__"):
        raise TypeError(f"{name} must give batches (a DataLoader, a list), got {type(loader).__name__}.")
    raise TypeError(
        f"{name} is a {type(loader).__name__}, which looks like a data set; expected batches: wrap it in "
        f"torch.utils.data.DataLoader({name}, batch_size=...)."
    )


def codes(void: int | Iterable[int]) -> tuple[int, ...]:
    """Return void codes as a tuple; a single integer is one code.

    Raises:
        TypeError: a code is no whole number.
    """
    found: tuple[Any, ...] = tuple(void) if isinstance(void, Iterable) else (void,)
    if any(isinstance(code, bool | str) or not _whole(code) for code in found):
        raise TypeError(f"void must be a code or codes such as (255,), got {void!r}.")
    return tuple(map(int, found))


def id_mask(targets: Tensor, scores: Tensor, void: int | Iterable[int] = ()) -> Tensor:
    """Return where targets say that a score is one of an ID sample.

    Args:
        targets: the shape of `scores`, with an optional dimension of 1 after the batch; or one for each
            sample, which then is that of all its pixels. >= 0 is ID; masks may be floats.
        scores: (B,) or B x ...
        void: code or codes to leave out.

    Raises:
        TypeError: the targets are bool.
        ValueError: shapes do not fit, or 255 stands in uint8 targets and nothing says what it means.
    """
    if targets.dtype == torch.bool:
        raise TypeError("targets are bool, which does not say what is ID: use integers, >= 0 for ID.")
    targets, left_out = targets.to(scores.device), codes(void)
    if targets.ndim == scores.ndim + 1 and targets.shape[1] == 1:
        targets = targets.squeeze(1)
    if targets.ndim == 1 and len(targets) == len(scores):
        targets = targets.view(-1, *[1] * (scores.ndim - 1)).expand_as(scores)
    if targets.shape != scores.shape:
        hint = "; EnergyDetector.fit(..., size='targets') enlarges maps" if scores.ndim > 1 else ""
        raise ValueError(
            f"targets of shape {tuple(targets.shape)} do not fit scores of shape {tuple(scores.shape)}{hint}."
        )
    if targets.dtype == torch.uint8 and 255 not in left_out and bool((targets == 255).any()):
        raise ValueError(
            f"{int((targets == 255).sum()):,} targets are 255 in uint8, which cannot hold -1: say "
            "void=(255,) if they are void; if they are OOD, make them -1 in an integer dtype with a sign."
        )
    is_id = targets >= 0
    for code in left_out:
        is_id = is_id & (targets != code)
    return is_id


def _of_mapping(batch: Mapping[Any, Any]) -> tuple[Any, Tensor | None]:
    target = next((name for name in TARGET_NAMES if name in batch), None)
    targets = None if target is None else torch.as_tensor(batch[target])
    for name in INPUT_NAMES:
        if isinstance(batch.get(name), Tensor):
            return batch[name], targets
    return {name: part for name, part in batch.items() if name != target}, targets


def _whole(code: Any) -> bool:
    try:
        return bool(int(code) == code)
    except (TypeError, ValueError, OverflowError):
        return False


def _moved(part: Any, device: torch.device | None) -> Any:
    return part.to(device) if isinstance(part, Tensor) and device is not None else part


def _named(batch: Any) -> str:
    return "empty" if isinstance(batch, tuple | list) else f"a {type(batch).__name__}"
