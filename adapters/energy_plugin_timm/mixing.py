"""Mixup, CutMix and accuracy where a batch holds outliers (targets < 0): these stay as they are.

mixer = IdMixup(mixup_alpha=0.8, cutmix_alpha=1.0, label_smoothing=0.1, num_classes=10)
inputs, targets = mixer(inputs, targets)              # ID rows mixed with ID rows alone
loss = SoftTargetEnergyLoss(alpha=0.1, margin_in=-25.0, margin_out=-7.0, reduction="group_mean")
loss(model(inputs), targets).backward()
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from timm.data import Mixup
from timm.data.mixup import mixup_target
from timm.utils import accuracy
from torch import Tensor, nn
from torch.nn import functional

from energy_plugin.energy import Reduction, widen
from energy_plugin.loss import EnergyRegularizer
from energy_plugin.outputs import logits_of

OUTLIER = -1.0
"""What every entry of an outlier's row of soft targets holds."""


class IdMixup(Mixup):  # type: ignore[misc]  # timm has no types
    """timm's Mixup and CutMix, applied to the ID rows of a batch among themselves.

    Takes timm's arguments. timm mixes a row with the one at the mirrored place, so of an odd number of ID
    rows the last is left unmixed.
    """

    def __call__(self, x: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Mix.

        Args:
            x: B x C x H x W; changed in place, as by timm.
            target: B classes, < 0 for outliers.

        Returns:
            `x`, and soft targets B x `num_classes`; rows of outliers hold `OUTLIER`.
        """
        positions = torch.nonzero(target >= 0).flatten()
        mixed = positions[: len(positions) - len(positions) % 2]
        soft = torch.full((len(target), self.num_classes), OUTLIER, device=x.device)
        soft[positions] = mixup_target(target[positions], self.num_classes, 1.0, self.label_smoothing)
        if len(mixed):
            images, targets = super().__call__(x[mixed], target[mixed])
            x[mixed], soft[mixed] = images, targets.to(soft.dtype)
        return x, soft


class SoftTargetEnergyLoss(nn.Module):
    """Cross-entropy with soft targets on the ID rows, plus the energy hinge on both kinds.

    With one-hot targets it is `EnergyRegularizedLoss`.

    Args:
        alpha: As in `EnergyRegularizedLoss`, as are the others.
        margin_in: See there.
        margin_out: See there.
        reduction: `mean`, `group_mean`, `sum` or `none`.
    """

    def __init__(
        self,
        alpha: float = 1.0,
        margin_in: float = -1.0,
        margin_out: float = -1.0,
        reduction: Reduction = "mean",
    ) -> None:
        super().__init__()
        self.regularizer = EnergyRegularizer(alpha, margin_in, margin_out, reduction)

    def forward(self, logits: Any, targets: Tensor) -> Tensor:
        """Return the loss.

        Args:
            logits: B x C.
            targets: B x C, rows that sum to 1; rows of negative numbers are outliers. Or B classes.

        Raises:
            ValueError: Logits and soft targets differ in shape.
        """
        logits = logits_of(logits)
        if targets.ndim == 1:
            known = targets >= 0
            targets = functional.one_hot(targets.clamp_min(0).long(), logits.shape[1])
        elif targets.shape == logits.shape:
            known = targets[:, 0] >= 0
        else:
            raise ValueError(
                f"soft targets of shape {tuple(targets.shape)} for logits of shape {tuple(logits.shape)}; "
                "expected the same shape, or B classes."
            )
        rows = -(targets * functional.log_softmax(widen(logits), 1)).sum(1)
        classification = self._reduced(torch.where(known, rows, 0.0), known)
        penalty: Tensor = self.regularizer(logits, torch.where(known, 0, -1))
        return classification + penalty

    def _reduced(self, rows: Tensor, known: Tensor) -> Tensor:
        """Reduce the cross-entropy as the regulariser reduces its hinge."""
        match self.regularizer.reduction:
            case "none":
                return rows
            case "sum":
                return rows.sum()
            case "mean":
                return rows.mean()
            case _:
                return rows.sum() / known.sum().clamp_min(1)


def id_accuracy(output: Tensor, target: Tensor, topk: Sequence[int] = (1,)) -> list[float]:
    """Return timm's top-k accuracies in percent, of the ID rows alone; NaN where there are none.

    Args:
        output: Logits B x C.
        target: B classes, < 0 for outliers.
        topk: How many of the highest logits count.
    """
    known = target >= 0
    if not known.any():
        return [math.nan] * len(topk)
    return [float(value) for value in accuracy(output[known], target[known], topk=tuple(topk))]
