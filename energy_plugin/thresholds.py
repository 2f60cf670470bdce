"""The score that a given share of a stream stays at or below, in bounded memory.

Up to `exact` scores are kept, and the value is one of them: exact. From then on scores fall into 2^22 bins,
laid logarithmically around the median of the first ones (the leading 22 bits of a float32 distance from it),
so that neither range nor offset of the scores matters, and infinite ones have their places too. Then the
value is the upper edge of a bin: no less than the exact one, by at most the width of that bin, which is 2^-13
of the distance between value and median. Memory: some 100 MB, however many scores come.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

EXACT = 1 << 22
"""Scores that are kept before binning starts."""

BITS = 22
"""Leading bits of a distance that name its bin: sign, exponent (8), and 13 of the mantissa."""


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """A threshold, and what is known of it.

    Args:
        value: scores at or below it are accepted.
        share: share of the scores it was asked to accept.
        count: scores it was measured on.
        bin_width: 0 where it is exact; else the exact one is lower by at most this.
    """

    value: float
    share: float
    count: int
    bin_width: float = 0.0


class ShareThreshold:
    """Finds the lowest threshold that at least a given share of the scores stay at or below.

    Args:
        exact: scores to keep before binning starts.
        bits: leading bits of a distance that name its bin, 10 to 31; a bin is 2^(9 - bits) of it wide.
    """

    def __init__(self, exact: int = EXACT, bits: int = BITS) -> None:
        self.count = 0
        self._exact = exact
        self._bits = bits
        self._kept: list[Tensor] = []
        self._held = 0
        self._bins: Tensor | None = None
        self._centre = 0.0
        self._wide = False

    def update(self, scores: Tensor) -> None:
        """Take in scores of any shape, float32 or float64.

        Raises:
            ValueError: scores are NaN; nothing is taken in.
        """
        flat = scores.detach().reshape(-1)
        broken = int(flat.isnan().sum())
        if broken:
            raise ValueError(
                f"{broken:,} of {flat.numel():,} scores of a batch are NaN, so there is no threshold. Look "
                "at the network's logits for this batch."
            )
        self._wide = self._wide or flat.dtype == torch.float64
        for first in range(0, flat.numel(), self._exact):
            part = flat[first : first + self._exact]
            if self._held + part.numel() > self._exact:
                self._bin()
            self._kept.append(part.to("cpu", copy=True))
            self._held += part.numel()
            self.count += part.numel()

    def at(self, share: float) -> Threshold:
        """Return the threshold for `share`, in (0, 1].

        Raises:
            ValueError: there are no scores.
        """
        if not self.count:
            raise ValueError("there are no scores: the loader is empty, or its targets leave no sample over.")
        rank = math.ceil(Fraction(str(share)) * self.count)  # in decimals 0.07 * 100 is 7, not a bit more
        if self._bins is None:
            value = float(torch.cat(self._kept).kthvalue(rank).values)
            return Threshold(value=value, share=share, count=self.count)
        self._bin()
        index = int(torch.searchsorted(self._bins.cumsum(0), rank))
        low, high = _edges(index, self._bits)
        value = math.nextafter(self._centre + high, math.inf)  # past the rounding of the distances
        value = value if self._wide else _up(value)
        width = value - (self._centre + low) if math.isfinite(value) else 0.0
        return Threshold(value=value, share=share, count=self.count, bin_width=width)

    def _bin(self) -> None:
        """Move the kept scores into the bins."""
        if not self._held:
            return
        scores = torch.cat(self._kept).double()
        if self._bins is None:
            finite = scores[scores.isfinite()]
            self._centre = float(finite.median()) if finite.numel() else 0.0
            self._bins = torch.zeros(1 << self._bits, dtype=torch.int64)
        keys = _keys(scores - self._centre, self._bits)
        self._bins += torch.bincount(keys, minlength=len(self._bins))
        self._kept, self._held = [], 0


def _keys(distances: Tensor, count: int) -> Tensor:
    """Return the bin of each distance: the leading bits of its float32 form, ordered as the numbers are."""
    bits = distances.float().view(torch.int32).to(torch.int64)
    ordered = torch.where(bits < 0, ~bits, bits + 0x80000000)
    return ordered >> (32 - count)


def _edges(index: int, count: int) -> tuple[float, float]:
    """Return the lower edge of a bin and that of the next one."""
    ordered = torch.tensor([index, index + 1], dtype=torch.int64) << (32 - count)
    bits = torch.where(ordered < 0x80000000, ~ordered & 0xFFFFFFFF, ordered - 0x80000000)
    low, high = bits.to(torch.int32).view(torch.float32).double().tolist()
    return low, math.inf if math.isnan(high) else high


def _up(value: float) -> float:
    """Return the next float32 at or above a value: compared with float32 scores, nothing is rounded away."""
    near = torch.tensor(value, dtype=torch.float32)
    if float(near) < value:
        near = torch.nextafter(near, torch.tensor(math.inf))
    return float(near)
