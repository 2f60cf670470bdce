"""What a kernel is asked for, the plain formula it is held against, and the scalars both share."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from energy_plugin import energy as maths
from energy_plugin.energy import Nonfinite, Reduction


class Plan(NamedTuple):
    """The settings of one call; numbers only, so that a kernel can be specialised on them."""

    alpha: float
    margin_in: float
    margin_out: float
    reduction: Reduction
    ignore_index: int | None = None
    nonfinite: Nonfinite = "propagate"
    classify: bool = True  # whether there is a cross-entropy, or the hinge alone
    gradient_in_forward: bool = False

    @property
    def hinged(self) -> bool:
        """Whether there is a hinge to compute."""
        return maths.is_on(self.alpha)


def plain(
    logits: Tensor, targets: Tensor, weight: Tensor | None, counts: Tensor | None, plan: Plan
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the loss by the plain formula, with the log-sum-exp and the counts it was made of.

    The log-sum-exp has no gradient to give; where samples may be skipped, it is NaN for those left out.
    """
    rows = maths.samples(
        logits,
        targets,
        ignore_index=plan.ignore_index,
        nonfinite=plan.nonfinite,
        read_ood=plan.hinged,
    )
    classification = maths.cross_entropy(rows, weight=weight) if plan.classify else None
    penalty = None
    if plan.hinged or classification is None:
        penalty = plan.alpha * maths.hinge(rows, margin_in=plan.margin_in, margin_out=plan.margin_out)
    if counts is None:
        counts = maths.counts_of(rows, weight)
    value = maths.reduce(classification, penalty, rows, counts, plan.reduction)
    lse = rows.lse
    if plan.nonfinite != "propagate":  # the only trace that a skipped sample leaves
        lse = torch.where(rows.is_id | rows.is_ood, lse, torch.nan)
    return value, lse, counts


class Scales(NamedTuple):
    """What the three sums of a batch are multiplied by: cross-entropy, hinge of ID, hinge of OOD."""

    entropy: float
    inside: float
    outside: float

    def times(self, factor: float) -> Scales:
        """Return the scales under an upstream gradient."""
        return Scales(self.entropy * factor, self.inside * factor, self.outside * factor)


def scales(plan: Plan, counts: list[float]) -> Scales:
    """Return the scales for counts that are known on the host; `energy.reduce` in three numbers."""
    if plan.reduction in ("none", "sum"):
        return Scales(1.0, plan.alpha, plan.alpha)
    known, outliers = counts[0], counts[1]
    entropy = 1.0 / _at_least_one(counts[2] if len(counts) > 2 else known)
    if plan.reduction == "group_mean":
        return Scales(entropy, plan.alpha / _at_least_one(known), plan.alpha / _at_least_one(outliers))
    samples = _at_least_one(known + outliers)
    return Scales(entropy * known / samples, plan.alpha / samples, plan.alpha / samples)


def _at_least_one(count: float) -> float:
    return count if count > 0 else 1.0


def scales_on_device(plan: Plan, counts: Tensor, dtype: torch.dtype) -> Tensor:
    """Return the scales as three values where the counts are; nothing is read."""
    numbers = counts.to(dtype)
    if plan.reduction in ("none", "sum"):
        one = torch.ones_like(numbers[0])
        return torch.stack([one, plan.alpha * one, plan.alpha * one])
    known, outliers = numbers[0], numbers[1]
    entropy = 1.0 / maths.at_least_one(numbers[2] if len(numbers) > 2 else known)
    if plan.reduction == "group_mean":
        groups = [plan.alpha / maths.at_least_one(group) for group in (known, outliers)]
        return torch.stack([entropy, *groups])
    samples = maths.at_least_one(known + outliers)
    return torch.stack([entropy * known / samples, plan.alpha / samples, plan.alpha / samples])


def gradient(
    logits: Tensor, targets: Tensor, lse: Tensor, scale: Tensor, weight: Tensor | None, plan: Plan
) -> Tensor:
    """Return the gradient from the saved log-sum-exp: softmax * a - onehot * b with two scalars a sample.

    Args:
        logits: B x C x ...
        targets: B x ...
        lse: B x ..., of `plain`.
        scale: three values (`scales_on_device` times the upstream gradient), or 3 x B x ... for a map.
        weight: class weights.
        plan: the settings.
    """
    wide, labels = maths.widen(logits), targets.long()
    void = torch.zeros_like(labels, dtype=torch.bool)
    if plan.ignore_index is not None:
        void = labels == plan.ignore_index
    if plan.nonfinite != "propagate":
        void = void | ~(lse < torch.inf)
    is_id, is_ood = (labels >= 0) & ~void, (labels < 0) & ~void
    entropy = torch.zeros_like(lse)
    if plan.classify:
        mass = 1.0 if weight is None else weight.to(lse.dtype)[torch.where(is_id, labels, 0)]
        entropy = torch.where(is_id, scale[0] * mass, 0.0)
    factor = entropy
    if plan.hinged:
        inside = -2.0 * scale[1] * (-lse - plan.margin_in).relu()
        outside = 2.0 * scale[2] * (lse + plan.margin_out).relu()
        factor = factor + torch.where(is_id, inside, torch.where(is_ood, outside, 0.0))
    mute = void | (lse == -torch.inf) | (~is_id if not plan.hinged else void)
    softmax = (wide - lse.unsqueeze(1)).exp()
    classes = torch.arange(wide.shape[1], device=wide.device).view(1, -1, *[1] * (wide.ndim - 2))
    hit = torch.where(classes == labels.unsqueeze(1), entropy.unsqueeze(1), 0.0)
    whole = (softmax * factor.unsqueeze(1) - hit).masked_fill(mute.unsqueeze(1), 0.0)
    return whole.to(logits.dtype)
