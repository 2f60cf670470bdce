"""Metrics from binned scores, between bounds that hold however the scores lie inside their bins.

The value itself takes the scores of a bin as tied; nothing is interpolated inside a bin.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import torch
from torch import Tensor

from energy_plugin.metrics.areas import precision_recall_area
from energy_plugin.metrics.rules import FPR_RULES
from energy_plugin.metrics.sides import Groups, Point

_ROUNDING = 1e-12  # of float64 sums; far more than is needed


@dataclasses.dataclass(frozen=True)
class Bounded:
    """A figure and the interval in which the figure of the unbinned scores lies.

    Attributes:
        value: the figure with the scores of a bin taken as tied.
        low: no figure of scores with these bins is lower.
        high: none is higher.
    """

    value: float
    low: float
    high: float

    @property
    def bound(self) -> float:
        """Largest possible difference between `value` and the exact figure."""
        return max(self.high - self.value, self.value - self.low)

    def __float__(self) -> float:
        return self.value

    def __str__(self) -> str:
        return f"{self.value:.6f} (+/- {self.bound:.1e})"


class BinnedSide:
    """Binned scores with one kind as the positive class; the scores of a bin count as tied.

    Args:
        positive: counts of the positive kind, most confident bin first, int64, shape (B,).
        negative: counts of the other kind in the same bins.
    """

    def __init__(self, positive: Tensor, negative: Tensor) -> None:
        used = (positive + negative) > 0
        self.pos, self.neg = positive[used], negative[used]
        self.tp, self.fp = self.pos.cumsum(0), self.neg.cumsum(0)
        self.positives, self.negatives = int(self.tp[-1]), int(self.fp[-1])

    def bin_of(self, rank: int) -> int:
        """Index of the bin that holds the `rank`-th most confident positive."""
        return int(torch.searchsorted(self.tp, rank))

    def point(self, rank: int) -> Point:
        """Counts at and beyond the bin of the `rank`-th most confident positive, counted from 1."""
        at = self.bin_of(rank)
        tp, fp = int(self.tp[at]), int(self.fp[at])
        return Point(tp, fp, tp - int(self.pos[at]), fp - int(self.neg[at]))

    def false_positives_between(self, rank: int, weight: float) -> int:
        """Count negatives at or beyond the bin of positive `rank`: where between is not known."""
        del weight
        return self.point(rank).fp

    def grid(self, step: int) -> tuple[Tensor, Tensor]:
        """Refuse: a grid of scores needs the scores."""
        raise ValueError(
            f"a rule on every {step}th score needs the scores themselves, and they were binned: "
            "raise exact_up_to or use another convention"
        )

    def groups(self) -> Iterator[Groups]:
        """The bins with positives, all at once."""
        has = self.pos > 0
        weight, tp, fp = self.pos[has], self.tp[has], self.fp[has]
        yield Groups(weight, tp, fp, tp - weight, fp - self.neg[has])


def bounded_roc_area(side: BinnedSide) -> Bounded:
    """Area under the ROC curve; inside a bin each pair may be ordered either way."""
    pairs = float(side.positives) * float(side.negatives)
    half = float((side.pos.double() * side.neg).sum()) / 2 / pairs
    value = float((side.pos.double() * (side.negatives - side.fp)).sum()) / pairs + half
    return _bounded(value, value - half, value + half)


def bounded_precision_recall_area(side: BinnedSide, rule: str) -> Bounded:
    """Area under the precision-recall curve.

    With T positives and F negatives beyond a bin and p positives and q negatives in it, no positive of the
    bin has a higher precision than (T + p) / (T + p + F). The lowest sum of precisions takes the q negatives
    first: one positive after the other for the step rule, where sum 1 / (a + i) <= log((a + p + 1/2) / (a +
    1/2)), and all positives tied for the trapezoids, whose sides are chords of a concave curve.
    """
    (groups,) = side.groups()
    weight, tp, fp, beyond, fp_beyond = (counts.double() for counts in groups)
    high = weight * tp / (tp + fp_beyond)
    if rule == "step":
        low = weight - fp * torch.log1p(weight / (beyond + fp + 0.5))
    else:
        low = weight * (beyond / (beyond + fp).clamp(min=1) + tp / (tp + fp)) / 2
    total = side.positives
    value = precision_recall_area(side, rule)
    return _bounded(value, float(low.sum()) / total, float(high.sum()) / total)


def bounded_fpr(side: BinnedSide, rule: str, tpr: float) -> Bounded:
    """False positive rate under a rule of `FPR_RULES`: the threshold's bin is known, its place in it not."""
    chosen = FPR_RULES[rule]
    value = chosen.fpr(side, tpr)
    rank = chosen.rank(side.positives, tpr)
    if rank > side.positives:
        return Bounded(value, value, value)
    point = side.point(rank)
    low, high = point.fp_beyond, point.fp
    if rule == "nearest" and point.tp < side.positives:
        high = side.point(point.tp + 1).fp  # accepts every negative before the next positive
    elif rule == "quantile":
        low = side.point(max(rank - 1, 1)).fp_beyond  # lies between two positives
    elif rule.startswith("first-corner"):
        high = int(side.fp[_last_corner(side, side.bin_of(rank))])
    return Bounded(value, low / side.negatives, high / side.negatives)


def _last_corner(side: BinnedSide, start: int) -> int:
    """Last bin that a straight stretch of the ROC curve, with ties in equal steps, can reach from a bin.

    A stretch needs both kinds in each bin that it enters, and the same ratio in all that it passes through.
    """
    at = start
    while at + 1 < len(side.pos) and int(side.pos[at + 1]) and int(side.neg[at + 1]):
        at += 1
        if int(side.neg[at]) * int(side.pos[start + 1]) != int(side.neg[start + 1]) * int(side.pos[at]):
            break
    return at


def _bounded(value: float, low: float, high: float) -> Bounded:
    """Widen by the rounding of float64 sums, inside [0, 1]."""
    return Bounded(value, max(low - _ROUNDING, 0.0), min(high + _ROUNDING, 1.0))
