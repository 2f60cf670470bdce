"""Areas under curves, exact with ties."""

from __future__ import annotations

import torch
from torch import Tensor

from energy_plugin.metrics.sides import Groups, Side

AUPR_RULES = {
    "step": "average precision: each step of recall times the precision at its end",
    "trapezoid": "straight lines between the points, from recall 0 with precision 1",
    "trapezoid-zero": "straight lines between the points, from recall 0 with precision 0",
}


def roc_area(id_sorted: Tensor, ood_sorted: Tensor) -> float:
    """Share of pairs (ID, OOD) whose OOD score is higher, ties counting half.

    Args:
        id_sorted: in-distribution scores, ascending, shape (N,).
        ood_sorted: out-of-distribution scores, ascending, shape (M,).
    """
    few, many = sorted((id_sorted, ood_sorted), key=len)
    halves = 0  # twice the number of pairs in which `few` is higher
    for right in (False, True):
        halves += int(torch.searchsorted(many, few, right=right, out_int32=len(many) < 2**31).sum())
    share = halves / (2 * len(few) * len(many))
    return share if few is ood_sorted else 1 - share


def precision_recall_area(side: Side, rule: str) -> float:
    """Area under the precision-recall curve of the positive kind.

    Raises:
        ValueError: an unknown rule.
    """
    if rule not in AUPR_RULES:
        raise ValueError(f"AUPR rule must be one of {', '.join(map(repr, AUPR_RULES))}, got {rule!r}")
    return sum(float(_area(groups, rule)) for groups in side.groups()) / side.positives


def _area(groups: Groups, rule: str) -> Tensor:
    """Area, times the number of positives, that some groups of tied positives contribute."""
    precision = groups.tp.double() / (groups.tp + groups.fp)
    if rule != "step":
        # The point before: nothing was accepted there if this is the curve's beginning.
        accepted = groups.tp_beyond + groups.fp_beyond
        start = 1.0 if rule == "trapezoid" else 0.0
        before = torch.where(accepted > 0, groups.tp_beyond.double() / accepted.clamp(min=1), start)
        precision = (precision + before) / 2
    return (groups.weight * precision).sum()
