"""Rules by which sources choose the threshold of "FPR at 95 % TPR".

TPR is the share of positives at or beyond the threshold, FPR that of negatives. With distinct scores the
rules differ by a point of the curve; with ties they can differ by much.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

from energy_plugin.metrics.sides import Point, Side


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rule:
    """One way to choose a threshold.

    Attributes:
        summary: what it takes, in words.
        rank: from the number of positives and the TPR, the rank of the positive (counted from 1, the most
            confident first) at whose score the search starts; above the number of positives where none is.
        count: from a side, that rank and the TPR, the number of false positives; a fraction where the rule
            interpolates.
    """

    summary: str
    rank: Callable[[int, float], int]
    count: Callable[[Side, int, float], float]

    def fpr(self, side: Side, tpr: float) -> float:
        """False positive rate that the rule gives."""
        rank = self.rank(side.positives, tpr)
        return 1.0 if rank > side.positives else self.count(side, rank, tpr) / side.negatives


def _reaching(positives: int, tpr: float) -> int:
    """Smallest number of positives whose share, in float64, is at least `tpr`."""
    rank = max(math.floor(tpr * positives) - 1, 1)
    while rank / positives < tpr:
        rank += 1
    return rank


def _exceeding(positives: int, tpr: float) -> int:
    """Smallest number of positives whose share, in float64, is above `tpr`."""
    rank = _reaching(positives, tpr)
    return rank if rank / positives > tpr else rank + 1


def _rounded(positives: int, tpr: float) -> int:
    """Rank of the positive at index round((1 - tpr) n), counted from the least confident."""
    rejected = round(1 - tpr, 12)  # the sources write 0.05, and 1 - 0.95 is a little more
    return positives - round(rejected * positives) or 1


def _floored(positives: int, tpr: float) -> int:
    """Rank floor(tpr n); a rank of 0 wraps round to the last, as a Python index does."""
    return math.floor(tpr * positives) or positives


def _quantile_rank(positives: int, tpr: float) -> int:
    """Rank of the positive just below the 1 - tpr quantile."""
    return positives - math.floor((positives - 1) * (1 - tpr))


def _at(side: Side, rank: int, tpr: float) -> float:
    del tpr
    return side.point(rank).fp


def _beyond(side: Side, rank: int, tpr: float) -> float:
    del tpr
    return side.point(rank).fp_beyond


def _corner(side: Side, rank: int, tpr: float) -> float:
    del tpr
    point = side.point(rank)
    # A point of a vertical stretch is left out without changing the FPR; the curve's first point stays.
    while point.fp > point.fp_beyond and point.tp_beyond + point.fp_beyond and point.tp < side.positives:
        following = side.point(point.tp + 1)
        if following.fp_beyond != point.fp or _step(following) != _step(point):
            break
        point = following
    return point.fp


def _step(point: Point) -> tuple[int, int]:
    """Number of positives and negatives that tie at a threshold."""
    return point.tp - point.tp_beyond, point.fp - point.fp_beyond


def _nearest(side: Side, rank: int, tpr: float) -> float:
    reached = side.point(rank)
    short, full = reached.tp_beyond / side.positives, reached.tp / side.positives
    is_there_one_before = reached.tp_beyond + reached.fp_beyond > 0
    if is_there_one_before and abs(short - tpr) < abs(full - tpr):
        return reached.fp_beyond
    if reached.tp == side.positives:
        return reached.fp
    return side.point(reached.tp + 1).fp_beyond


def _linear(side: Side, rank: int, tpr: float) -> float:
    point = side.point(rank)
    low, high = point.tp_beyond / side.positives, point.tp / side.positives
    return point.fp_beyond + (tpr - low) / (high - low) * (point.fp - point.fp_beyond)


def _quantile(side: Side, rank: int, tpr: float) -> float:
    index = (side.positives - 1) * (1 - tpr)
    return side.false_positives_between(rank, index - math.floor(index))


def _every_fourth(side: Side, rank: int, tpr: float) -> float:
    del rank
    tp, fp = side.grid(4)
    short = fp[tp.double() / side.positives < tpr]
    return int(short[0]) if len(short) else 0


FPR_RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "first": Rule(summary="highest threshold with TPR >= the rate", rank=_reaching, count=_at),
        "first-strict": Rule(summary="highest threshold with TPR > the rate", rank=_exceeding, count=_at),
        "first-corner": Rule(
            summary="first point with TPR >= the rate of scikit-learn's roc_curve, which leaves out points "
            "whose step repeats",
            rank=_reaching,
            count=_corner,
        ),
        "first-corner-strict": Rule(
            summary="the same with TPR > the rate",
            rank=_exceeding,
            count=_corner,
        ),
        "nearest": Rule(
            summary="of the distinct scores, the one whose TPR is nearest to the rate, above or below; of "
            "two equally near the higher TPR; of several with one TPR the lowest, or the highest at TPR 1",
            rank=_reaching,
            count=_nearest,
        ),
        "linear": Rule(
            summary="linear between the last point with TPR <= the rate and the next",
            rank=_exceeding,
            count=_linear,
        ),
        "rank-round": Rule(
            summary="the positive at index round((1 - rate) n) from the least confident; negatives beyond it",
            rank=_rounded,
            count=_beyond,
        ),
        "rank-floor": Rule(
            summary="the floor(rate n)-th most confident positive; negatives beyond it",
            rank=_floored,
            count=_beyond,
        ),
        "rank-floor-inclusive": Rule(
            summary="the floor(rate n)-th most confident positive; negatives at or beyond it",
            rank=_floored,
            count=_at,
        ),
        "quantile": Rule(
            summary="the interpolated 1 - rate quantile of the positives; negatives at or beyond it",
            rank=_quantile_rank,
            count=_quantile,
        ),
        "every-fourth": Rule(
            summary="of every fourth joint score, going up, the first whose TPR is below the rate",
            rank=_reaching,
            count=_every_fourth,
        ),
    }
)
"""The threshold rules by name."""
