"""Logits and targets brought to one shape, or an error that says why they do not fit."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from energy_plugin.energy import widen

Upsample = Literal["bilinear", "nearest"]

_INTEGERS = (torch.int64, torch.int32, torch.uint8, torch.int16, torch.int8)
_LINEAR = {3: "linear", 4: "bilinear", 5: "trilinear"}


def aligned(logits: Tensor, targets: Tensor, upsample: Upsample | None) -> tuple[Tensor, Tensor]:
    """Return logits B x C x ... and integer targets B x ... of one resolution.

    Args:
        logits: B x C x ..., any number of spatial dimensions.
        targets: B x ... or B x 1 x ..., any integer dtype but uint64; a mask may have a higher resolution
            than the logits.
        upsample: how logits are enlarged to the mask (align_corners=False), None to refuse.

    Raises:
        TypeError: the targets are no integer tensor.
        ValueError: shapes or devices do not fit together.
    """
    if logits.ndim < 2:
        raise ValueError(
            f"logits must be B x C x ..., got shape {tuple(logits.shape)}: add a batch dimension."
        )
    targets = checked_targets(targets)
    if targets.device != logits.device:
        raise ValueError(f"logits are on {logits.device}, targets on {targets.device}: move one of them.")
    if targets.ndim == logits.ndim and targets.shape[1] == 1:
        targets = targets.squeeze(1)
    wanted = (logits.shape[0], *logits.shape[2:])
    if targets.shape == wanted:
        return logits, targets
    if upsample is not None and _enlarges(wanted, tuple(targets.shape)):
        mode = upsample if upsample == "nearest" else _LINEAR[logits.ndim]
        return functional.interpolate(widen(logits), size=targets.shape[1:], mode=mode), targets
    raise ValueError(
        f"targets of shape {tuple(targets.shape)} do not fit logits of shape {tuple(logits.shape)}: expected "
        f"{wanted}, with an optional dimension of 1 after the batch"
        + (", or a mask of a higher resolution in one scale." if logits.ndim > 2 else ".")
    )


def checked_targets(targets: Tensor) -> Tensor:
    """Return integer targets of a dtype that PyTorch computes with, or say what they should be."""
    if not isinstance(targets, Tensor):
        raise TypeError(f"targets must be a torch.Tensor, got {type(targets).__name__}.")
    if targets.dtype in _INTEGERS:
        return targets
    if targets.dtype in (torch.uint16, torch.uint32):  # PyTorch stores them and compares them nowhere
        return targets.long()
    if targets.dtype == torch.bool:
        raise TypeError(
            "targets are bool, which cannot say OOD: use integers, >= 0 for ID classes and < 0 for OOD."
        )
    if targets.dtype == torch.uint64:
        raise TypeError("targets are uint64, which int64 cannot hold: use `targets.long()` if they fit.")
    raise TypeError(
        f"targets must be integers, got {targets.dtype} of shape {tuple(targets.shape)}. For a mask of "
        "whole numbers use `energy_plugin.labels.translate`; for soft targets add `EnergyRegularizer` to "
        "a loss of yours."
    )


def _enlarges(low: tuple[int, ...], high: tuple[int, ...]) -> bool:
    """Say whether a mask of shape `high` is `low` enlarged by one scale, up to a pixel of `low`."""
    if len(low) != len(high) or low[0] != high[0] or len(low) + 1 not in _LINEAR or 0 in low + high:
        return False
    scale = max(big / small for small, big in zip(low[1:], high[1:], strict=True))
    return scale > 1 and all(
        small <= big and abs(small * scale - big) < scale
        for small, big in zip(low[1:], high[1:], strict=True)
    )
