"""One kind as the positive class: counts at a threshold, read from two sorted arrays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor

Kind = Literal["ood", "id"]


class Point(NamedTuple):
    """Counts at one threshold: samples at or beyond it, and samples strictly beyond it."""

    tp: int
    fp: int
    tp_beyond: int
    fp_beyond: int


class Groups(NamedTuple):
    """Tied positives: how many, and the counts at and strictly beyond their score; int64, shape (G,)."""

    weight: Tensor
    tp: Tensor
    fp: Tensor
    tp_beyond: Tensor
    fp_beyond: Tensor


class Side(Protocol):
    """What the rules and areas need to know of scores, one kind being positive."""

    @property
    def positives(self) -> int:
        """Number of positive samples."""

    @property
    def negatives(self) -> int:
        """Number of negative samples."""

    def point(self, rank: int) -> Point:
        """Counts at the score of the `rank`-th most confident positive, counted from 1."""

    def false_positives_between(self, rank: int, weight: float) -> int:
        """Count negatives at or beyond the score `weight` of the way from positive `rank` to the next."""

    def groups(self) -> Iterator[Groups]:
        """Go through the distinct scores of positives, a bounded number at a time."""


class SortedSide:
    """Two sorted arrays seen with one kind as positive. Nothing is merged; ranks are found by bisection."""

    def __init__(self, id_sorted: Tensor, ood_sorted: Tensor, positive: Kind) -> None:
        if positive not in ("ood", "id"):
            raise ValueError(f"positive must be 'ood' or 'id', got {positive!r}")
        self._upward = positive == "ood"  # are high scores the positive ones?
        self._pos, self._neg = (ood_sorted, id_sorted) if self._upward else (id_sorted, ood_sorted)
        self.positives, self.negatives = len(self._pos), len(self._neg)

    def point(self, rank: int) -> Point:
        """Counts at the score of the `rank`-th most confident positive, counted from 1."""
        score = self._score(rank)
        counts = [*self._reach(self._pos, score), *self._reach(self._neg, score)]
        tp, tp_beyond, fp, fp_beyond = torch.cat(counts).tolist()
        return Point(tp, fp, tp_beyond, fp_beyond)

    def false_positives_between(self, rank: int, weight: float) -> int:
        """Count negatives at or beyond the score `weight` of the way from positive `rank` to the next.

        The interpolation is that of `numpy.quantile`, operation by operation: its last bit can decide.
        """
        low, high = float(self._score(rank)), float(self._score(max(rank - 1, 1)))
        sign = 1.0 if self._upward else -1.0
        low, high = sign * low, sign * high
        gap = high - low
        if gap == 0 or low == high:
            between = low
        else:
            between = high - gap * (1 - weight) if weight >= 0.5 else low + gap * weight
        score = torch.tensor([sign * between], dtype=torch.float64, device=self._neg.device)
        negatives = self._neg if self._neg.dtype == torch.float64 else self._neg.double()
        return int(self._reach(negatives, score)[0])

    def groups(self) -> Iterator[Groups]:
        """Go through the distinct scores of positives, a bounded number at a time."""
        below = _Direct(self._neg) if self.positives <= self.negatives else _Merged(self._pos, self._neg)
        step = 1 << (18 if self._pos.device.type == "cpu" else 24)  # fits a second-level cache; fills a GPU
        for first in range(0, self.positives, step):
            chunk = self._pos[first : first + step]
            changes = torch.nonzero(chunk[1:] != chunk[:-1]).reshape(-1) + 1
            local = torch.cat([changes.new_zeros(1), changes])
            values = chunk[local]
            starts, ends = first + local, first + torch.cat([changes, changes.new_full((1,), len(chunk))])
            weight = ends - starts
            # A tie may begin before this chunk and end behind it.
            starts[:1] = torch.searchsorted(self._pos, values[:1])
            ends[-1:] = torch.searchsorted(self._pos, values[-1:], right=True)
            under, upto = below.counts(first, len(chunk), local, values)
            if self._upward:
                total = self.positives, self.negatives
                yield Groups(weight, total[0] - starts, total[1] - under, total[0] - ends, total[1] - upto)
            else:
                yield Groups(weight, ends, upto, starts, under)

    def _score(self, rank: int) -> Tensor:
        """Score of the `rank`-th most confident positive, shape (1,)."""
        index = self.positives - rank if self._upward else rank - 1
        return self._pos[index : index + 1]

    def _reach(self, values: Tensor, score: Tensor) -> tuple[Tensor, Tensor]:
        """Count values at or beyond a score, and strictly beyond it; each of shape (1,)."""
        under = torch.searchsorted(values, score)
        upto = torch.searchsorted(values, score, right=True)
        return (len(values) - under, len(values) - upto) if self._upward else (upto, under)


class _Direct:
    """Negatives below and up to each positive score, by bisection among the negatives."""

    def __init__(self, neg: Tensor) -> None:
        self._neg = neg

    def counts(self, first: int, size: int, local: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        del first, size, local
        return torch.searchsorted(self._neg, values), torch.searchsorted(self._neg, values, right=True)


class _Merged:
    """The same where negatives are few: each finds its place among the positives, then counts are summed."""

    def __init__(self, pos: Tensor, neg: Tensor) -> None:
        narrow = len(pos) < 2**31
        self._before = torch.searchsorted(pos, neg, out_int32=narrow)
        self._behind = torch.searchsorted(pos, neg, right=True, out_int32=narrow)

    def counts(self, first: int, size: int, local: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        # A negative is below a positive exactly when its place behind equal positives is at or before that
        # positive's index, and not above it exactly when its place before equal positives is.
        del values
        return self._places(self._behind, first, size)[local], self._places(self._before, first, size)[local]

    @staticmethod
    def _places(places: Tensor, first: int, size: int) -> Tensor:
        """Count the places up to each index from `first` to `first + size`, shape (size,)."""
        edges = torch.tensor([first, first + size], dtype=places.dtype, device=places.device)
        start, stop = torch.searchsorted(places, edges).tolist()
        inside = torch.bincount(places[start:stop] - first, minlength=size)
        return inside.cumsum(0).add_(start)
