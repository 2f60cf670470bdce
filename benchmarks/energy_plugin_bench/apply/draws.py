"""Which images a training step sees: a function of seed and step, so that resuming needs no memory."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Draws:
    """Batches of ID samples, each seen once an epoch, and of outliers, gone through again and again.

    Attributes:
        count_id: ID samples.
        count_ood: Outliers; 0 where there are none.
        batch_id: ID samples a step, at most: the steps of an epoch share them out evenly, so that none gets
            only a handful.
        batch_ood: Outliers a step.
        seed: Of all shuffling.
    """

    count_id: int
    count_ood: int
    batch_id: int
    batch_ood: int
    seed: int = 0

    def __post_init__(self) -> None:
        if self.count_id < 1 or self.batch_id < 1 or self.count_ood < 0 or self.batch_ood < 0:
            raise ValueError(f"counts and batches must be positive: {self}")

    @property
    def steps_per_epoch(self) -> int:
        """Steps that it takes to see every ID sample once."""
        return math.ceil(self.count_id / self.batch_id)

    def at(self, step: int) -> tuple[list[int], list[int]]:
        """Positions of the ID samples and of the outliers of a step, counted from 0."""
        epoch, place = divmod(step, self.steps_per_epoch)
        first, end = (self.count_id * edge // self.steps_per_epoch for edge in (place, place + 1))
        chosen = _order(self.count_id, self.seed, 0, epoch)[first:end]
        return chosen.tolist(), self._outliers(step) if self.count_ood else []

    def _outliers(self, step: int) -> list[int]:
        first = step * self.batch_ood
        found: list[int] = []
        while len(found) < self.batch_ood:
            cycle, place = divmod(first + len(found), self.count_ood)
            order = _order(self.count_ood, self.seed, 1, cycle)
            found += order[place : place + self.batch_ood - len(found)].tolist()
        return found


@functools.lru_cache(maxsize=8)
def _order(count: int, seed: int, side: int, turn: int) -> Tensor:
    """Shuffled positions; every turn of every side has an order of its own."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(mixed(seed, side, turn)))


def mixed(*numbers: int) -> int:
    """One seed of several numbers; any change of one of them gives another stream."""
    state = 0x9E3779B97F4A7C15
    for number in numbers:  # splitmix64
        state = (state ^ number) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
        state = (state ^ state >> 27) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
        state ^= state >> 31
    return state >> 1
