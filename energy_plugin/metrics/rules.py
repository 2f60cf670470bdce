"""Rules by which sources choose the threshold of "FPR at 95 % TPR".

TPR is the share of positives at or beyond the threshold, FPR that of negatives. With distinct scores the
rules differ by a point of the curve; with ties they can differ by much.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

from energy_plugin.metrics.sides import Side

Rule = Callable[[Side, float], float]


def rank_reaching(positives: int, tpr: float, *, strictly: bool = False) -> int:
    """Smallest number of positives whose share, in float64, is at least (or strictly above) `tpr`."""
    rank = max(math.floor(tpr * positives) - 1, 0)
    while rank / positives < tpr or (strictly and rank / positives == tpr):
        rank += 1
    return rank


def first(side: Side, tpr: float) -> float:
    """Highest threshold with TPR >= `tpr`."""
    return side.point(rank_reaching(side.positives, tpr)).fp / side.negatives


def first_strict(side: Side, tpr: float) -> float:
    """Highest threshold with TPR > `tpr`; 1 where there is none."""
    rank = rank_reaching(side.positives, tpr, strictly=True)
    return 1.0 if rank > side.positives else side.point(rank).fp / side.negatives


def first_corner(side: Side, tpr: float) -> float:
    """First point with TPR >= `tpr` that scikit-learn's `roc_curve` keeps: it drops points of equal steps."""
    point = side.point(rank_reaching(side.positives, tpr))
    while (
        point.fp > point.fp_beyond  # otherwise leaving it out changes no FPR
        and point.tp_beyond + point.fp_beyond  # the curve's first point stays
        and point.tp < side.positives
    ):
        following = side.point(point.tp + 1)
        step = point.tp - point.tp_beyond, point.fp - point.fp_beyond
        if following.fp_beyond != point.fp or step != (following.tp - point.tp, following.fp - point.fp):
            break
        point = following
    return point.fp / side.negatives


def nearest(side: Side, tpr: float) -> float:
    """Threshold, among the distinct scores, whose TPR is nearest to `tpr`, above or below.

    Of two equally near TPRs the higher is taken; of several thresholds with one TPR the lowest, which
    accepts every negative before the next positive, or the highest where the TPR is 1.
    """
    above = side.point(rank_reaching(side.positives, tpr))
    if above.tp_beyond or above.fp_beyond:  # is there a threshold before?
        positives = side.positives
        if abs(above.tp_beyond / positives - tpr) < abs(above.tp / positives - tpr):
            return above.fp_beyond / side.negatives
    if above.tp == side.positives:
        return above.fp / side.negatives
    return side.point(above.tp + 1).fp_beyond / side.negatives


def linear(side: Side, tpr: float) -> float:
    """FPR interpolated linearly between the last point with TPR <= `tpr` and the next one."""
    rank = rank_reaching(side.positives, tpr, strictly=True)
    if rank > side.positives:
        return 1.0
    point = side.point(rank)
    low, high = point.tp_beyond / side.positives, point.tp / side.positives
    fpr_low, fpr_high = point.fp_beyond / side.negatives, point.fp / side.negatives
    return fpr_low + (tpr - low) / (high - low) * (fpr_high - fpr_low)


def rank_round(side: Side, tpr: float) -> float:
    """Threshold: the positive at index round((1 - tpr) n) from the least confident; negatives beyond it."""
    index = round(_share(1 - tpr) * side.positives)
    return side.point(max(side.positives - index, 1)).fp_beyond / side.negatives


def rank_floor(side: Side, tpr: float) -> float:
    """Threshold: the floor(tpr n)-th most confident positive; negatives beyond it."""
    return side.point(_floor_rank(side.positives, tpr)).fp_beyond / side.negatives


def rank_floor_inclusive(side: Side, tpr: float) -> float:
    """Threshold: the floor(tpr n)-th most confident positive; negatives at or beyond it."""
    return side.point(_floor_rank(side.positives, tpr)).fp / side.negatives


def quantile(side: Side, tpr: float) -> float:
    """Threshold: the interpolated 1 - `tpr` quantile of the positives; negatives at or beyond it."""
    index = _share(1 - tpr) * (side.positives - 1)  # from the least confident
    whole = math.floor(index)
    return side.false_positives_between(side.positives - whole, index - whole) / side.negatives


def _floor_rank(positives: int, tpr: float) -> int:
    """Rank floor(tpr n); a rank of 0 wraps round to the last, as a Python index does."""
    return math.floor(tpr * positives) or positives


def _share(value: float) -> float:
    """Undo the last bits of 1 - 0.95, which the sources write as 0.05."""
    return round(value, 12)


FPR_RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "first": first,
        "first-strict": first_strict,
        "first-corner": first_corner,
        "nearest": nearest,
        "linear": linear,
        "rank-round": rank_round,
        "rank-floor": rank_floor,
        "rank-floor-inclusive": rank_floor_inclusive,
        "quantile": quantile,
    }
)
