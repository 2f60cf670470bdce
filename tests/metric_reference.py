"""The sources' rules written down a second time, slowly and from their description, in NumPy.

Positive scores are the higher ones here; a test that takes ID as positive hands in negated scores.
"""

from __future__ import annotations

import itertools

import numpy as np

Scores = np.ndarray


def curve(pos: Scores, neg: Scores) -> list[tuple[int, int]]:
    """True and false positives at each distinct score, the highest first."""
    thresholds = np.unique(np.concatenate([pos, neg]))[::-1]
    return [(int((pos >= t).sum()), int((neg >= t).sum())) for t in thresholds]


def auroc(pos: Scores, neg: Scores) -> float:
    """Share of pairs in the right order, ties half."""
    wins = (pos[:, None] > neg[None, :]).sum() + 0.5 * (pos[:, None] == neg[None, :]).sum()
    return float(wins / (len(pos) * len(neg)))


def first(pos: Scores, neg: Scores, tpr: float) -> float:
    """FPR of the first point, from the top, with TPR >= tpr."""
    return next(fp / len(neg) for tp, fp in curve(pos, neg) if tp / len(pos) >= tpr)


def first_strict(pos: Scores, neg: Scores, tpr: float) -> float:
    """FPR of the first point, from the top, with TPR > tpr."""
    return next((fp / len(neg) for tp, fp in curve(pos, neg) if tp / len(pos) > tpr), 1.0)


def nearest(pos: Scores, neg: Scores, tpr: float) -> float:
    """Walk up from the first point with full recall and keep the first point that is nearest."""
    points = curve(pos, neg)
    full = next(i for i, (tp, _) in enumerate(points) if tp == len(pos))
    best, found = np.inf, 0.0
    for tp, fp in points[full::-1]:
        distance = abs(tp / len(pos) - tpr)
        if distance < best:
            best, found = distance, fp / len(neg)
    return found


def linear(pos: Scores, neg: Scores, tpr: float) -> float:
    """Linear interpolation on the whole curve."""
    points = [(0, 0), *curve(pos, neg)]
    rates = [tp / len(pos) for tp, _ in points]
    return float(np.interp(tpr, rates, [fp / len(neg) for _, fp in points]))


def rank_round(pos: Scores, neg: Scores) -> float:
    """ODIN-style: sorted ID scores at index round(0.05 n), OOD scores strictly above."""
    return float((neg > np.sort(pos)[round(0.05 * len(pos))]).mean())


def rank_floor(pos: Scores, neg: Scores) -> float:
    """SCOOD: the floor(0.95 n)-th largest ID score, OOD scores strictly above."""
    return float((neg > np.sort(pos)[-int(np.floor(0.95 * len(pos)))]).mean())


def rank_floor_inclusive(pos: Scores, neg: Scores) -> float:
    """ViM: the same, OOD scores at or above."""
    return float((neg >= np.sort(pos)[-int(np.floor(0.95 * len(pos)))]).mean())


def quantile(pos: Scores, neg: Scores) -> float:
    """NINCO: the interpolated 5 % quantile of the ID scores, OOD scores at or above."""
    return float((neg >= np.quantile(pos, 1 - 0.95)).mean())


def every_fourth(pos: Scores, neg: Scores, tpr: float) -> tuple[float, float]:
    """oodeel: FPR and AUROC with every fourth joint score, from the second on, as threshold."""
    thresholds = np.sort(np.concatenate([pos, neg]))[1::4]
    rates = [(1.0, 1.0)]
    rates += [((pos >= t).mean(), (neg >= t).mean()) for t in thresholds]
    rates += [(0.0, 0.0)]
    fpr = next(fp for tp, fp in rates if tp < tpr)
    area = sum((a[0] - b[0]) * (2 - a[1] - b[1]) / 2 for a, b in itertools.pairwise(rates))
    return float(fpr), float(area)


def aupr_step(pos: Scores, neg: Scores) -> float:
    """Average precision."""
    area, before = 0.0, 0
    for tp, fp in curve(pos, neg):
        area += (tp - before) / len(pos) * tp / (tp + fp)
        before = tp
    return area


def aupr_trapezoid(pos: Scores, neg: Scores, start: float) -> float:
    """Trapezoids between the points; `start` is the precision at recall 0."""
    points = [(0.0, start)] + [(tp / len(pos), tp / (tp + fp)) for tp, fp in curve(pos, neg)]
    return sum((b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in itertools.pairwise(points))


def aupr_hand_made(pos: Scores, neg: Scores) -> float:
    """ODIN-style AUIN: from everything accepted to nothing, precision .5 put before and 0 behind."""
    thresholds = np.unique(np.concatenate([pos, neg]))
    states = [((pos >= t).sum(), (neg >= t).sum()) for t in thresholds]
    recall = [1.0, *(tp / len(pos) for tp, _ in states), 0.0]
    precision = [0.5, *(tp / (tp + fp) for tp, fp in states), 0.0]
    return float(-np.trapezoid(precision, recall))
