"""The eager core for a few rows, where calls cost more than arithmetic: as few of them as there can be.

Same terms and same refusals as `eager`: what is not finite, or a class that is not there, is left to the
plain formula.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from energy_plugin.kernels.plan import Plan, Scales, scales

MOST = 1 << 14  # logits up to which this is faster than keeping exponentials in a buffer


class State(NamedTuple):
    """What the backward pass needs; one value a row, and the scales of the three terms."""

    exponentials: Tensor  # rows x classes, less each row's largest logit
    total: Tensor  # their sums
    is_id: Tensor  # 1.0 for ID, 0.0 for OOD
    excess: Tensor  # beyond the margin, < 0 for ID
    classes: Tensor  # rows x 1: the class to look up, 0 where there is none
    scale: Scales


def fits(logits: Tensor, weight: Tensor | None, plan: Plan) -> bool:
    """Say whether these are few rows of the loss in its plain form."""
    return (
        logits.ndim == 2
        and logits.numel() <= MOST
        and logits.dtype == torch.float32
        and weight is None
        and plan.ignore_index is None
        and plan.classify
        and plan.hinged
        and plan.reduction != "none"
    )


def forward(
    logits: Tensor, targets: Tensor, counts: Tensor | None, plan: Plan
) -> tuple[Tensor, State] | None:
    """Return the loss and what its gradient needs, None where the plain formula must decide."""
    peak = logits.amax(1)
    exponentials = (logits - peak.unsqueeze(1)).exp_()
    total = exponentials.sum(1)
    lse = total.log().add_(peak)
    known = targets.ge(0)
    is_id = known.to(torch.float32)
    classes = targets.long().clamp(min=0).unsqueeze(1)
    try:
        chosen = logits.gather(1, classes).squeeze(1)
    except (IndexError, RuntimeError):  # a class that is not there: the plain formula says so
        return None
    below = (lse + plan.margin_in).clamp_(max=0.0)
    excess = torch.where(known, below, (lse + plan.margin_out).clamp_(min=0.0))
    hinge = excess.square()
    entropy = (lse - chosen).mul_(is_id)
    sums = torch.stack((entropy, hinge, hinge * is_id, is_id)).sum(1).tolist()
    if not math.isfinite(sum(sums)):
        return None
    numbers = [sums[3], len(targets) - sums[3]] if counts is None else counts.tolist()
    scale = scales(plan, numbers)
    value = scale.entropy * sums[0] + scale.inside * sums[2] + scale.outside * (sums[1] - sums[2])
    state = State(exponentials, total, is_id, excess, classes, scale)
    return torch.tensor(value, dtype=torch.float32), state


def backward(state: State, upstream: Tensor) -> Tensor:
    """Return the gradient, softmax * a - onehot * b."""
    exponentials, total, is_id, excess, classes, scale = state
    scale = scale.times(upstream.item())
    hit = is_id * scale.entropy
    slopes = (is_id * (2.0 * (scale.inside - scale.outside))).add_(2.0 * scale.outside)
    factor = torch.addcmul(hit, excess, slopes).div_(total)
    gradient = exponentials * factor.unsqueeze(1)
    return gradient.scatter_add_(1, classes, hit.neg_().unsqueeze(1))
