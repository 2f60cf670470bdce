"""Counts of two kinds of scores in bins of equal width on a range that grows with the scores.

A bin is `[i w, (i + 1) w)` with `w` a power of two, so that doubling the width merges pairs of bins without
moving an edge. Width and origin follow from the extremes of all scores alone: histograms of the same scores
are equal, in whatever order, batches or processes the scores came.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

_CHUNK = 1 << 18  # scores binned at a time; bounds the temporaries
_FINEST = -1000  # exponent of the narrowest bin, so that its inverse is still a float64


class Histogram:
    """Counts of ID (row 0) and OOD (row 1) scores; one more bin at either end takes the infinities.

    Args:
        bins: number of bins of equal width.
    """

    def __init__(self, bins: int) -> None:
        self.bins = bins
        self.low, self.high = math.inf, -math.inf  # extremes of the finite scores
        self._exponent, self._origin = _FINEST, 0  # width 2 ** exponent; index of the first bin
        self.counts = torch.zeros(2, bins + 2, dtype=torch.int64)

    def add(self, scores: Tensor, kind: int) -> None:
        """Count scores, shape (N,), of kind 0 (ID) or 1 (OOD).

        Raises:
            ValueError: scores are NaN; nothing was counted then.
        """
        if not scores.numel():
            return
        low, high = (float(extreme) for extreme in torch.aminmax(scores))
        if math.isnan(low):
            raise ValueError(
                f"scores contain {int(scores.isnan().sum())} NaN of {scores.numel()}; NaN has no rank"
            )
        if math.isinf(low) or math.isinf(high):
            self.counts[kind, 0] += int((scores == -math.inf).sum())
            self.counts[kind, -1] += int((scores == math.inf).sum())
            scores = scores[scores.isfinite()]
            if not scores.numel():
                return
            low, high = (float(extreme) for extreme in torch.aminmax(scores))
        self._cover(low, high)
        for chunk in torch.split(scores, _CHUNK):
            self._count(self._bins_of(chunk), kind)

    def merge(self, other: Histogram) -> None:
        """Add the counts of another histogram with the same number of bins."""
        if math.isfinite(other.low):
            self._cover(other.low, other.high)
        inner = other.regridded(self._exponent, self._origin)
        self.counts[:, 1:-1] += inner
        self.counts[:, 0] += other.counts[:, 0]
        self.counts[:, -1] += other.counts[:, -1]

    def regridded(self, exponent: int, origin: int) -> Tensor:
        """Counts without the infinities on a grid at least as coarse, int64, shape (2, bins)."""
        kept = torch.nonzero(self.counts[:, 1:-1].sum(0)).reshape(-1)
        inner = torch.zeros(2, self.bins, dtype=torch.int64)
        places = ((kept + self._origin) >> min(exponent - self._exponent, 62)) - origin
        return inner.index_add_(1, places, self.counts[:, 1:-1].index_select(1, kept))

    def state(self) -> dict[str, Any]:
        """What `restore` needs: plain numbers and a tensor."""
        return {"low": self.low, "high": self.high, "counts": self.counts.clone()}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over the counts of a state."""
        self.low, self.high = float(state["low"]), float(state["high"])
        self.counts = torch.as_tensor(state["counts"], dtype=torch.int64, device="cpu").clone()
        if math.isfinite(self.low):
            self._exponent, self._origin = grid(self.low, self.high, self.bins)

    def _cover(self, low: float, high: float) -> None:
        """Grow the range, and with it the width if need be, to take scores from `low` to `high`."""
        if self.low <= low and high <= self.high:
            return
        self.low, self.high = min(self.low, low), max(self.high, high)
        exponent, origin = grid(self.low, self.high, self.bins)
        self.counts[:, 1:-1] = self.regridded(exponent, origin)
        self._exponent, self._origin = exponent, origin

    def _bins_of(self, scores: Tensor) -> Tensor:
        """Column of `counts` to which each finite score belongs, int64, shape (N,)."""
        exact = scores.double()
        scaled = exact * 2.0**-self._exponent  # exact, being a power of two
        bins = scaled.floor()
        if scores.dtype == torch.float64:
            bins -= ((scaled == 0) & (exact < 0)).double()  # unless a tiny negative score became zero
        return bins.long().add_(1 - self._origin)

    def _count(self, columns: Tensor, kind: int) -> None:
        """Add one to each column, as often as it is named."""
        if columns.numel() < self.bins:
            self.counts[kind].scatter_add_(0, columns.cpu(), torch.ones(columns.numel(), dtype=torch.int64))
        else:
            self.counts[kind] += torch.bincount(columns, minlength=self.bins + 2).cpu()


def grid(low: float, high: float, bins: int) -> tuple[int, int]:
    """Finest grid on which finite scores from `low` to `high` take at most `bins` bins.

    Returns:
        The exponent of the width, and the index of the bin of `low`. Indices stay below 2 ** 50 in absolute
        value, so that float64 holds them exactly.
    """
    largest = max(abs(low), abs(high))
    exponent = max(math.frexp(largest)[1] - 50, _FINEST) if largest else _FINEST
    while (first := _index(low, exponent)) + bins <= _index(high, exponent):
        exponent += 1
    return exponent, first


def _index(score: float, exponent: int) -> int:
    """Index of the bin of a score."""
    scaled = score * 2.0**-exponent
    return -1 if scaled == 0 > score else math.floor(scaled)
