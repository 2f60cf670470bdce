"""Areas under the precision-recall curve, exact with ties."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from torch import Tensor

from energy_plugin.metrics.sides import Groups, Side

AUPR_RULES: Mapping[str, str] = MappingProxyType(
    {
        "step": "average precision: each step of recall times the precision at its end",
        "trapezoid": "straight lines between the points, from recall 0 with precision 1",
        "trapezoid-zero": "straight lines between the points, from recall 0 with precision 0",
    }
)


def precision_recall_area(side: Side, rule: str) -> float:
    """Area under the precision-recall curve of the positive kind.

    Raises:
        ValueError: an unknown rule.
    """
    if rule not in AUPR_RULES:
        raise ValueError(f"AUPR rule must be one of {', '.join(map(repr, AUPR_RULES))}, got {rule!r}")
    return sum(float(weighted_precision(groups, rule).sum()) for groups in side.groups()) / side.positives


def weighted_precision(groups: Groups, rule: str) -> Tensor:
    """Area, times the number of positives, that each group of tied positives contributes; shape (G,)."""
    precision = groups.tp / (groups.tp + groups.fp).double()
    if rule != "step":
        accepted = (groups.tp_beyond + groups.fp_beyond).double()
        before = (groups.tp_beyond / accepted).nan_to_num_(1.0 if rule == "trapezoid" else 0.0)
        precision = precision.add_(before).mul_(0.5)  # nothing was accepted before the curve's first point
    return precision.mul_(groups.weight)
