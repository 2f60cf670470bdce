"""Joined sets and mixed batches: targets, ratio, coverage, workers, processes."""

from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from energy_plugin.mixing import Joined, MixedBatches, mixed_loader


def numbers(first, count):
    """Inputs that are their own names, with the target `first`."""
    return [(torch.tensor(float(first + index)), first) for index in range(count)]


def joined(n_id=10, n_ood=7):
    return Joined(numbers(0, n_id), numbers(100, n_ood))


def test_id_keeps_its_targets_and_everything_else_is_minus_one():
    inputs_only = [torch.tensor(200.0)]
    masks = TensorDataset(torch.zeros(2, 3, 4, 4), torch.ones(2, 4, 4, dtype=torch.uint8))
    data = Joined(numbers(3, 2), numbers(100, 2), inputs_only, masks)
    targets = [data[index][1] for index in range(7)]
    assert targets[:5] == [3, 3, -1, -1, -1]
    assert all(target.shape == (4, 4) for target in targets[5:])
    assert [data.source(index) for index in range(7)] == [0, 0, 1, 1, 2, 3, 3]
    assert data[-1][1].dtype == torch.int64
    assert (data[6][1] == -1).all()
    assert float(data[4][0]) == 200.0


def test_wrong_sets_are_refused():
    with pytest.raises(TypeError, match="map-style"):
        Joined(numbers(0, 2), iter([]))
    with pytest.raises(ValueError, match="means OOD"):
        Joined([(1.0, -1)])[0]
    with pytest.raises(IndexError, match="7 of 7"):
        Joined(numbers(0, 7))[7]
    for bad in ({"id_per_batch": 0}, {"ood_per_batch": -1}, {"rank": 2, "processes": 2}):
        with pytest.raises(ValueError, match="expected"):
            MixedBatches(joined(), **{"id_per_batch": 2, "ood_per_batch": 2} | bad)
    with pytest.raises(ValueError, match="0 outliers"):
        MixedBatches(Joined(numbers(0, 2)), id_per_batch=1, ood_per_batch=1)


@pytest.mark.parametrize("workers", [0, 2])
def test_every_batch_has_the_ratio_and_an_epoch_every_id_sample_once(workers):
    loader = mixed_loader(
        numbers(0, 12), numbers(100, 7), id_per_batch=4, ood_per_batch=6, num_workers=workers
    )
    seen, outliers = [], []
    for inputs, targets in loader:
        assert (targets >= 0).sum() == 4
        assert (targets == -1).sum() == 6
        assert torch.equal(targets == -1, inputs >= 100)
        seen += inputs[targets >= 0].tolist()
        outliers += inputs[targets < 0].tolist()
    assert sorted(seen) == [float(index) for index in range(12)]
    assert len(loader) == 3
    assert sorted(outliers[:7]) == sorted(outliers[7:14])  # each pass over the outliers takes all of them
    assert outliers[:7] != outliers[7:14]


def test_an_incomplete_batch_keeps_the_ratio_or_is_dropped():
    kept = list(MixedBatches(joined(), id_per_batch=4, ood_per_batch=6))
    assert [len(batch) for batch in kept] == [10, 10, 5]
    dropped = MixedBatches(joined(), id_per_batch=4, ood_per_batch=6, drop_last=True)
    assert [len(batch) for batch in dropped] == [10, 10]
    assert len(dropped) == 2


def test_epochs_differ_and_outliers_go_on():
    sampler = MixedBatches(joined(10, 40), id_per_batch=5, ood_per_batch=5)
    first = list(sampler)
    assert list(sampler) == first
    sampler.set_epoch(1)
    second = list(sampler)
    assert [batch[:5] for batch in second] != [batch[:5] for batch in first]
    taken = [index for batch in first + second for index in batch[5:]]
    assert len(set(taken)) == 20
    plain = MixedBatches(joined(), id_per_batch=5, ood_per_batch=2, shuffle=False)
    assert next(iter(plain)) == [0, 1, 2, 3, 4, 10, 11]


def test_processes_share_out_both_kinds():
    parts = [
        list(MixedBatches(joined(11, 50), id_per_batch=2, ood_per_batch=3, rank=rank, processes=3))
        for rank in range(3)
    ]
    assert {len(part) for part in parts} == {2}
    ids = [index for part in parts for batch in part for index in batch if index < 11]
    assert set(ids) == set(range(11))
    assert len(ids) == 12
    outliers = [index for part in parts for batch in part for index in batch if index >= 11]
    assert len(outliers) == len(set(outliers)) == 18


def test_the_loader_is_pytorchs_own():
    loader = mixed_loader(numbers(0, 4), numbers(100, 4), id_per_batch=2, ood_per_batch=2, pin_memory=False)
    assert isinstance(loader, DataLoader)
    loader.batch_sampler.set_epoch(3)
    assert loader.batch_sampler.epoch == 3
