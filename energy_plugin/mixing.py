"""ID and OOD samples in one data set, and in one batch.

    joined = Joined(id_set, textures, places)  # for evaluation: targets of ID, -1 for the rest
    loader = mixed_loader(id_set, outliers, id_per_batch=128, ood_per_batch=256, num_workers=4)

The loader is PyTorch's own with a batch sampler, so workers, pinning and everything else work as usual. An
epoch is one pass over the ID samples; the outliers, of which there may be many more or fewer, go on where
they stopped.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from energy_plugin.labels import OOD


class Joined(Dataset[Any]):
    """An ID set and OOD sets as one: ID samples keep their targets, the others get -1.

    Args:
        id_set: map-style data set of (input, target).
        *ood_sets: map-style data sets of inputs, or of (input, target), whose targets are not looked at. A
            mask becomes one of -1.

    Raises:
        TypeError: a set has no length.
    """

    def __init__(self, id_set: Any, *ood_sets: Any) -> None:
        self.sets = (id_set, *ood_sets)
        for part in self.sets:
            if not hasattr(part, "__len__") or not hasattr(part, "__getitem__"):
                raise TypeError(
                    f"{type(part).__name__} has no length and index: only map-style sets are joined."
                )
        self.ends = list(itertools.accumulate(len(part) for part in self.sets))

    @property
    def n_id(self) -> int:
        """Number of ID samples; they come first."""
        return self.ends[0]

    def __len__(self) -> int:
        """Number of all samples."""
        return self.ends[-1]

    def source(self, index: int) -> int:
        """Return which set a sample is from: 0 the ID set, 1 the first OOD set, ..."""
        return bisect.bisect_right(self.ends, self._checked(index))

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        """Return input and target.

        Raises:
            IndexError: there is no such sample.
            ValueError: the target of an ID sample is negative: it would count as OOD.
        """
        index = self._checked(index)
        source = bisect.bisect_right(self.ends, index)
        item = self.sets[source][index - (self.ends[source - 1] if source else 0)]
        if source:
            return _outlier(item)
        image, target = item[0], item[1]
        if not isinstance(target, Tensor) and target < 0:
            raise ValueError(f"sample {index} of the ID set has the target {target}, which means OOD.")
        return image, target

    def _checked(self, index: int) -> int:
        if not -len(self) <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        return index % len(self)


class MixedBatches(Sampler[list[int]]):
    """Batch sampler over `Joined`: so many ID samples and so many outliers in every batch.

    Under DistributedDataParallel each process gets its own part of both; the ID part is filled up from the
    start where it does not divide, as in `DistributedSampler`. `set_epoch` before each epoch shuffles anew.

    Args:
        data: the joined set.
        id_per_batch: ID samples in a batch of one process.
        ood_per_batch: outliers beside them.
        shuffle: whether the order is random; else that of the sets.
        seed: of the order; the same in all processes.
        rank: of this process; None asks `torch.distributed`, if it is initialised.
        processes: their number; None likewise.
        drop_last: whether an incomplete last batch is left out; else it comes with outliers in proportion.

    Raises:
        ValueError: a number is out of range, or there are no samples of a kind.
    """

    def __init__(
        self,
        data: Joined,
        *,
        id_per_batch: int,
        ood_per_batch: int,
        shuffle: bool = True,
        seed: int = 0,
        rank: int | None = None,
        processes: int | None = None,
        drop_last: bool = False,
    ) -> None:
        initialised = torch.distributed.is_available() and torch.distributed.is_initialized()
        self.processes = processes or (torch.distributed.get_world_size() if initialised else 1)
        self.rank = rank if rank is not None else (torch.distributed.get_rank() if initialised else 0)
        if id_per_batch < 1 or ood_per_batch < 0 or not 0 <= self.rank < self.processes:
            raise ValueError(
                f"got id_per_batch={id_per_batch}, ood_per_batch={ood_per_batch}, rank {self.rank} of "
                f"{self.processes}; expected at least 1, at least 0, and a rank below the number."
            )
        self.n_id, self.n_ood = data.n_id, len(data) - data.n_id
        if not self.n_id or (ood_per_batch and not self.n_ood):
            raise ValueError(f"there are {self.n_id} ID samples and {self.n_ood} outliers to draw from.")
        self.id_per_batch, self.ood_per_batch = id_per_batch, ood_per_batch
        self.shuffle, self.seed, self.drop_last = shuffle, seed, drop_last
        self.epoch = 0

    @property
    def _own(self) -> int:
        """ID samples of this process in an epoch."""
        return math.ceil(self.n_id / self.processes)

    def __len__(self) -> int:
        """Number of batches an epoch."""
        full, rest = divmod(self._own, self.id_per_batch)
        return full + bool(rest and not self.drop_last)

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch comes, so that its order is its own."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the indices of each batch, ID samples first."""
        order = self._order("id", self.epoch, self.n_id)
        filled = order.repeat(math.ceil(self._own * self.processes / self.n_id))[: self._own * self.processes]
        own = filled[self.rank :: self.processes]
        for step in range(len(self)):
            chosen = own[step * self.id_per_batch : (step + 1) * self.id_per_batch].tolist()
            share = math.ceil(self.ood_per_batch * len(chosen) / self.id_per_batch)
            yield chosen + self._outliers(step)[:share]

    def _outliers(self, step: int) -> list[int]:
        """Return the outliers of a step: the next ones of an endless stream, each pass in its own order."""
        batch = (self.epoch * len(self) + step) * self.processes + self.rank
        places = range(batch * self.ood_per_batch, (batch + 1) * self.ood_per_batch)
        return [self.n_id + int(self._pass(place // self.n_ood)[place % self.n_ood]) for place in places]

    def _pass(self, number: int) -> Tensor:
        known = getattr(self, "_known", None)
        if known is None or known[0] != number:
            known = self._known = (number, self._order("ood", number, self.n_ood))
        return known[1]

    def _order(self, kind: str, number: int, count: int) -> Tensor:
        if not self.shuffle:
            return torch.arange(count)
        generator = torch.Generator().manual_seed(
            (self.seed * 1_000_003 + 2 * number + (kind == "ood")) % 2**63
        )
        return torch.randperm(count, generator=generator)


def mixed_loader(
    id_set: Any,
    outliers: Any,
    *,
    id_per_batch: int,
    ood_per_batch: int,
    shuffle: bool = True,
    seed: int = 0,
    drop_last: bool = False,
    **options: Any,
) -> DataLoader[Any]:
    """Return a loader whose batches hold ID samples with their targets and outliers with the target -1.

    Args:
        id_set: map-style data set of (input, target).
        outliers: map-style data set of inputs, or of (input, anything).
        id_per_batch: ID samples in a batch; the paper has 128.
        ood_per_batch: outliers in a batch; the paper has 256.
        shuffle: see `MixedBatches`, as for seed and drop_last. Its `set_epoch` is at `loader.batch_sampler`.
        seed: see above.
        drop_last: see above.
        **options: of `torch.utils.data.DataLoader`: num_workers, pin_memory, collate_fn, ...
    """
    joined = Joined(id_set, outliers)
    batches = MixedBatches(
        joined,
        id_per_batch=id_per_batch,
        ood_per_batch=ood_per_batch,
        shuffle=shuffle,
        seed=seed,
        drop_last=drop_last,
    )
    return DataLoader(joined, batch_sampler=batches, **options)


def _outlier(item: Any) -> tuple[Any, Any]:
    """Return the input of a sample and -1 in the shape of its target."""
    if not isinstance(item, tuple | list):
        return item, OOD
    target = item[1] if len(item) > 1 else None
    if isinstance(target, Tensor):
        return item[0], torch.full_like(target, OOD, dtype=torch.int64)
    return item[0], OOD
