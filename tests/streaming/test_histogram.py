"""The growing histogram: exact counts, edges that never move, the same bins in whatever order scores come."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from strategies import score_pairs

from energy_plugin.streaming.histogram import Histogram, grid


def _filled(*batches, bins=8):
    histogram = Histogram(bins)
    for scores, kind in batches:
        histogram.add(scores, kind)
    return histogram


@given(score_pairs(), st.sampled_from([2, 3, 8, 64]))
def test_every_score_is_counted_once(pair, bins):
    histogram = _filled((pair[0], 0), (pair[1], 1), bins=bins)
    assert histogram.counts.sum(1).tolist() == [len(part) for part in pair]
    assert int(histogram.counts.min()) >= 0


@given(score_pairs(), st.sampled_from([2, 3, 8, 64]))
def test_bins_keep_the_order_of_scores(pair, bins):
    # Counting one score at a time, after the range is known, gives each score its bin.
    histogram = _filled((pair[0], 0), (pair[1], 1), bins=bins)
    scores = torch.cat(pair).unique()
    places = []
    for score in scores:
        before = histogram.counts.clone()
        histogram.add(score[None], 0)
        places.append(int((histogram.counts - before)[0].argmax()))
    assert places == sorted(places)


@given(score_pairs(), st.permutations(range(6)), st.sampled_from([2, 3, 8, 64]))
def test_order_and_batches_do_not_matter(pair, order, bins):
    whole = _filled((pair[0], 0), (pair[1], 1), bins=bins)
    pieces = [(part, kind) for kind in (0, 1) for part in pair[kind].tensor_split(3)]
    assert torch.equal(_filled(*(pieces[i] for i in order), bins=bins).counts, whole.counts)
    shards = [_filled(pieces[i], bins=bins) for i in order]
    for shard in shards[1:]:
        shards[0].merge(shard)
    assert torch.equal(shards[0].counts, whole.counts)


@given(score_pairs(), st.sampled_from([2, 3, 8, 64]))
def test_a_state_is_restored(pair, bins):
    first, rest = (pair[0], 0), (pair[1], 1)
    copy = Histogram(bins)
    copy.restore(_filled(first, bins=bins).state())
    copy.add(*rest)
    assert torch.equal(copy.counts, _filled(first, rest, bins=bins).counts)


def test_doubling_the_range_merges_pairs_of_bins():
    histogram = _filled((torch.arange(8.0), 0))
    assert histogram.counts[0].tolist() == [0, *[1] * 8, 0]
    histogram.add(torch.tensor([15.5]), 1)
    assert histogram.counts[0].tolist() == [0, 2, 2, 2, 2, 0, 0, 0, 0, 0]
    assert histogram.counts[1].tolist() == [0, 0, 0, 0, 0, 0, 0, 0, 1, 0]


def test_the_range_grows_downwards_too():
    histogram = _filled((torch.arange(8.0), 0), (torch.tensor([-1.0]), 1))
    assert histogram.counts[0].tolist() == [0, 0, 2, 2, 2, 2, 0, 0, 0, 0]
    assert histogram.counts[1].tolist() == [0, 1, 0, 0, 0, 0, 0, 0, 0, 0]


def test_the_smallest_negative_scores_stay_below_zero():
    # Divided by the width they would round to zero.
    tiny = torch.tensor([-5e-324, -1e-320], dtype=torch.float64), 0
    huge = torch.tensor([0.0, 1e300], dtype=torch.float64), 1
    histogram = _filled(tiny, huge)
    assert torch.equal(histogram.counts, _filled(huge, tiny).counts)
    assert histogram.counts[0].tolist() == [0, 2, 0, 0, 0, 0, 0, 0, 0, 0]
    assert histogram.counts[1, :3].tolist() == [0, 0, 1]


def test_infinities_have_bins_of_their_own():
    histogram = _filled((torch.tensor([math.inf, -math.inf, math.inf, 0.0]), 0))
    assert histogram.counts[0, [0, -1]].tolist() == [1, 2]
    only = _filled((torch.tensor([math.inf]), 0), (torch.tensor([-math.inf]), 1))
    assert only.counts.sum() == 2


def test_a_large_batch_is_counted_in_pieces():
    scores = torch.randn(700_000)
    histogram = _filled((scores, 0), bins=1 << 16)
    assert int(histogram.counts[0].sum()) == 700_000
    assert torch.equal(histogram.counts, _filled((scores.flip(0), 0), bins=1 << 16).counts)


def test_nan_is_refused_and_nothing_is_counted():
    histogram = _filled((torch.zeros(3), 0))
    with pytest.raises(ValueError, match="1 NaN of 2"):
        histogram.add(torch.tensor([1.0, math.nan]), 0)
    assert int(histogram.counts.sum()) == 3


def test_no_scores_change_nothing():
    histogram = _filled((torch.empty(0), 0))
    assert int(histogram.counts.sum()) == 0
    histogram.merge(Histogram(8))
    assert int(histogram.counts.sum()) == 0


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
def test_the_grid_takes_both_ends_and_is_the_finest_that_does(one, other):
    low, high = min(one, other), max(one, other)
    exponent, origin = grid(low, high, 16)
    width = 2.0**exponent
    assert math.floor(high / width) - origin < 16
    assert origin * width <= low
    largest = max(abs(low), abs(high))
    if exponent > -1000 and largest / width < 2**48:  # else indices would not stay exact
        finer = 2.0 ** (exponent - 1)
        assert math.floor(high / finer) - math.floor(low / finer) >= 16


def test_zeros_alone_do_not_fix_the_width():
    histogram = _filled((torch.zeros(2), 0), (torch.tensor([1e-30, 3e-30]), 1))
    assert torch.equal(
        histogram.counts, _filled((torch.tensor([1e-30, 3e-30]), 1), (torch.zeros(2), 0)).counts
    )
    assert int((histogram.counts.sum(0) > 0).sum()) == 3
