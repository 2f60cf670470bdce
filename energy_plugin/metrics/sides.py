"""Scores as counts: two sorted arrays, and one kind seen as the positive class."""

from __future__ import annotations

import math
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
    """Tied positives: how many, and the counts at and strictly beyond their score; each of shape (G,)."""

    weight: Tensor
    tp: Tensor
    fp: Tensor
    tp_beyond: Tensor
    fp_beyond: Tensor


class Side(Protocol):
    """What rules and areas need to know of scores, one kind being positive."""

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

    def grid(self, step: int) -> tuple[Tensor, Tensor]:
        """Positives and negatives at or beyond every `step`-th joint score, from the second lowest on."""

    def groups(self) -> Iterator[Groups]:
        """Go through the distinct scores of positives, a bounded number at a time."""


class Ranked:
    """Two sorted sets of scores. Nothing is merged: the smaller set finds its places in the larger.

    Args:
        id_sorted: in-distribution scores, ascending, shape (N,).
        ood_sorted: out-of-distribution scores, ascending, shape (M,), same dtype and device.
    """

    def __init__(self, id_sorted: Tensor, ood_sorted: Tensor) -> None:
        self.sorted: dict[str, Tensor] = {"id": id_sorted, "ood": ood_sorted}
        self.few: Kind = "ood" if len(ood_sorted) <= len(id_sorted) else "id"
        few, many = self.sorted[self.few], self.sorted["id" if self.few == "ood" else "ood"]
        narrow = len(many) < 2**31
        self.under = torch.searchsorted(many, few, out_int32=narrow)  # of the many, how many are lower
        self.upto = torch.searchsorted(many, few, right=True, out_int32=narrow)  # lower or equal

    def roc_area(self) -> float:
        """Share of pairs (ID, OOD) whose OOD score is higher, ties counting half."""
        pairs = math.prod(map(len, self.sorted.values()))
        share = (int(self.under.sum()) + int(self.upto.sum())) / (2 * pairs)
        return share if self.few == "ood" else 1 - share

    def side(self, positive: Kind) -> SortedSide:
        """See one kind as the positive class."""
        if positive not in self.sorted:
            raise ValueError(f"positive must be 'ood' or 'id', got {positive!r}")
        return SortedSide(self, positive)


class SortedSide:
    """Sorted scores with one kind as the positive class; ranks are found by bisection."""

    def __init__(self, ranked: Ranked, positive: Kind) -> None:
        self._ranked = ranked
        self._upward = positive == "ood"  # are high scores the positive ones?
        self._positive_is_few = positive == ranked.few
        self._pos, self._neg = ranked.sorted[positive], ranked.sorted["id" if self._upward else "ood"]
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
        sign = 1.0 if self._upward else -1.0
        low, high = (sign * float(self._score(k)) for k in (rank, max(rank - 1, 1)))
        gap = high - low
        if weight == 0 or gap == 0 or not math.isfinite(low):
            between = low
        else:
            between = high - gap * (1 - weight) if weight >= 0.5 else low + gap * weight
        score = torch.tensor([sign * between], dtype=torch.float64, device=self._neg.device)
        return int(self._reach(self._neg.double(), score)[0])

    def grid(self, step: int) -> tuple[Tensor, Tensor]:
        """Positives and negatives at or beyond every `step`-th joint score, from the second lowest on."""
        joint = torch.sort(torch.cat([self._pos, self._neg]), descending=not self._upward).values
        scores = joint[1::step].contiguous()
        return self._reach(self._pos, scores)[0], self._reach(self._neg, scores)[0]

    def groups(self) -> Iterator[Groups]:
        """Go through the distinct scores of positives, a bounded number at a time."""
        pos = self._pos
        step = 1 << (15 if pos.device.type == "cpu" else 24)  # fits a second-level cache; fills a GPU
        for first in range(0, self.positives, step):
            chunk = pos[first : first + step]
            changes = torch.nonzero(chunk[1:] != chunk[:-1]).reshape(-1).add_(1)
            local = torch.cat([changes.new_zeros(1), changes])
            starts, ends = local + first, torch.cat([changes, changes.new_full((1,), len(chunk))]).add_(first)
            weight = ends - starts
            # A tie may begin before this chunk and end behind it.
            starts[:1] = torch.searchsorted(pos, chunk[:1])
            ends[-1:] = torch.searchsorted(pos, chunk[-1:], right=True)
            under, upto = (counts.index_select(0, local) for counts in self._negatives(first, len(chunk)))
            if self._upward:
                total, others = self.positives, self.negatives
                yield Groups(weight, total - starts, others - under, total - ends, others - upto)
            else:
                yield Groups(weight, ends, upto, starts, under)

    def _negatives(self, first: int, size: int) -> tuple[Tensor, Tensor]:
        """Count negatives lower than, and lower than or equal to, positives `first` to `first + size`."""
        under, upto = self._ranked.under, self._ranked.upto
        if self._positive_is_few:
            return under[first : first + size], upto[first : first + size]
        # A negative is lower than a positive exactly when its place behind equal positives is at or before
        # that positive's index, and not higher exactly when its place before equal positives is.
        return _places(upto, first, size), _places(under, first, size)

    def _score(self, rank: int) -> Tensor:
        """Score of the `rank`-th most confident positive, shape (1,)."""
        index = self.positives - rank if self._upward else rank - 1
        return self._pos[index : index + 1]

    def _reach(self, values: Tensor, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Count values at or beyond each score, and strictly beyond it; each of the shape of `scores`."""
        under = torch.searchsorted(values, scores)
        upto = torch.searchsorted(values, scores, right=True)
        return (len(values) - under, len(values) - upto) if self._upward else (upto, under)


def _places(places: Tensor, first: int, size: int) -> Tensor:
    """Count the places up to each index from `first` to `first + size`, shape (size,)."""
    edges = torch.tensor([first, first + size], dtype=places.dtype, device=places.device)
    start, stop = torch.searchsorted(places, edges).tolist()
    inside = torch.bincount(places[start:stop] - first, minlength=size)
    return inside.cumsum(0).add_(start)
