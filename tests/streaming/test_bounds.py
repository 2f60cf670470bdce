"""Bounds of binned figures hold for every way in which scores may lie in their bins."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from energy_plugin import metrics
from energy_plugin.streaming.bounds import (
    BinnedSide,
    Bounded,
    bounded_fpr,
    bounded_precision_recall_area,
    bounded_roc_area,
)

# oodeel's rule needs the scores themselves
STREAMED = sorted(set(metrics.FPR_RULES) - {"every-fourth"})


@st.composite
def binned_scores(draw):
    """Scores with a few bins of width 1: distinct or tied inside a bin, both kinds present."""
    place = st.integers(0, 5).map(lambda n: n / 6)
    score = st.builds(lambda number, part: number + part, st.integers(0, 4), place)
    sizes = st.lists(score, min_size=1, max_size=30)
    return torch.tensor(draw(sizes)), torch.tensor(draw(sizes))


def _sides(id_scores, ood_scores):
    inside, outside = (torch.bincount(part.long(), minlength=5) for part in (id_scores, ood_scores))
    return {"id": BinnedSide(inside, outside), "ood": BinnedSide(outside.flip(0), inside.flip(0))}


def _holds(bounded, exact):
    assert bounded.low <= exact <= bounded.high
    assert abs(exact - bounded.value) <= bounded.bound
    assert bounded.low <= bounded.value <= bounded.high


@given(binned_scores())
def test_roc_area_is_within_its_bound(pair):
    _holds(bounded_roc_area(_sides(*pair)["ood"]), metrics.auroc(*pair))


@settings(max_examples=150)
@given(binned_scores(), st.sampled_from(["ood", "id"]), st.sampled_from(sorted(metrics.AUPR_RULES)))
def test_precision_recall_area_is_within_its_bound(pair, positive, rule):
    bounded = bounded_precision_recall_area(_sides(*pair)[positive], rule)
    _holds(bounded, metrics.aupr(*pair, positive=positive, rule=rule))


@settings(max_examples=250)
@given(
    pair=binned_scores(),
    positive=st.sampled_from(["ood", "id"]),
    tpr=st.sampled_from([0.3, 0.8, 0.95, 1.0]),
    rule=st.sampled_from(STREAMED),
)
def test_false_positive_rate_is_within_its_bound(pair, positive, tpr, rule):
    bounded = bounded_fpr(_sides(*pair)[positive], rule, tpr)
    _holds(bounded, metrics.fpr_at_tpr(*pair, tpr=tpr, positive=positive, rule=rule))


@pytest.mark.parametrize("rule", sorted(metrics.AUPR_RULES))
@pytest.mark.parametrize(("p", "q"), [(1, 1), (3, 1), (2, 2)])
def test_bounds_hold_for_every_arrangement_of_a_bin(p, q, rule):
    # All weak orders of p positives and q negatives in bin 1; the bins around it hold one kind each.
    above_id, above_ood, below_id = torch.tensor([4.0]), torch.tensor([3.0, 2.0]), torch.tensor([0.0])
    found = []
    for places in itertools.product(range(p + q), repeat=p + q):
        inner = 1 + torch.tensor(places) / 16
        pair = torch.cat([above_id, inner[p:], below_id]), torch.cat([above_ood, inner[:p]])
        found.append(metrics.aupr(*pair, rule=rule))
    bounded = bounded_precision_recall_area(_sides(*pair)["ood"], rule)
    assert bounded.low <= min(found)
    assert max(found) <= bounded.high
    if rule == "step":  # the bounds are attained, but for the estimate of a sum by a logarithm
        assert bounded.high == pytest.approx(max(found), abs=1e-9)
        assert bounded.low == pytest.approx(min(found), abs=0.02)
    else:
        assert bounded.low == pytest.approx(min(found), abs=1e-9)


def test_half_the_share_of_mixed_pairs_bounds_the_roc_area():
    side = BinnedSide(torch.tensor([3, 1, 0]), torch.tensor([1, 2, 4]))
    bounded = bounded_roc_area(side)
    assert bounded.value == pytest.approx((3 * 6 + 3 * 1 / 2 + 1 * 4 + 2 * 1 / 2) / 28)
    assert bounded.bound == pytest.approx((3 * 1 + 1 * 2) / 28 / 2)


def test_the_threshold_bins_share_of_negatives_bounds_the_rate():
    side = BinnedSide(torch.tensor([90, 10, 0]), torch.tensor([10, 30, 60]))
    bounded = bounded_fpr(side, "first", 0.95)
    assert (bounded.value, bounded.low, bounded.high) == (0.4, 0.1, 0.4)
    assert bounded.bound == pytest.approx(0.3)


def test_nothing_is_interpolated_inside_a_bin():
    side = BinnedSide(torch.tensor([94, 6]), torch.tensor([0, 100]))
    assert bounded_fpr(side, "first", 0.95).value == 1.0


def test_bins_with_one_kind_leave_no_doubt():
    side = BinnedSide(torch.tensor([5, 0, 3]), torch.tensor([0, 4, 0]))
    for bounded in (
        bounded_roc_area(side),
        bounded_fpr(side, "first", 0.5),
        bounded_precision_recall_area(side, "step"),
    ):
        assert bounded.bound < 0.2
    assert bounded_roc_area(side).bound <= 1e-12


def test_a_grid_of_scores_is_refused():
    side = BinnedSide(torch.tensor([1, 2]), torch.tensor([2, 1]))
    with pytest.raises(ValueError, match="every 4th score needs the scores themselves"):
        bounded_fpr(side, "every-fourth", 0.95)


def test_a_bounded_figure_reads_like_a_number():
    figure = Bounded(0.5, 0.4, 0.7)
    assert figure.bound == pytest.approx(0.2)
    assert float(figure) == 0.5
    assert str(figure) == "0.500000 (+/- 2.0e-01)"
