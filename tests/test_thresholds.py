"""The threshold that accepts a share of a stream: exact while scores are kept, bounded afterwards."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from energy_plugin.thresholds import ShareThreshold, Threshold

FLOATS = st.floats(allow_nan=False, width=32)


def fed(*batches, exact=1 << 22, bits=22):
    finder = ShareThreshold(exact=exact, bits=bits)
    for batch in batches:
        finder.update(batch)
    return finder


def lowest(scores, share):
    """The definition: the lowest score that at least the share is at or below."""
    ordered = sorted(scores)
    enough = [value for index, value in enumerate(ordered, 1) if Fraction(index, len(ordered)) >= share]
    return enough[0]


class TestExact:
    @given(st.lists(FLOATS, min_size=1, max_size=60), st.integers(1, 100))
    def test_lowest_score_that_accepts_the_share(self, values, percent):
        found = fed(torch.tensor(values)).at(percent / 100)
        assert found.value == lowest(values, Fraction(percent, 100))
        assert found.count == len(values)
        assert found.bin_width == 0

    @pytest.mark.parametrize(
        ("share", "kept"), [(0.07, 7), (0.29, 29), (0.55, 55), (0.57, 57), (0.95, 95), (1.0, 100)]
    )
    def test_shares_are_decimals_and_not_their_binary_neighbours(self, share, kept):
        scores = torch.arange(100.0)
        assert (scores <= fed(scores).at(share).value).sum() == kept

    def test_ties_are_accepted_together(self):
        scores = torch.tensor([1.0, 2, 2, 2, 3])
        assert fed(scores).at(0.3).value == 2.0

    @given(st.lists(FLOATS, min_size=1, max_size=40), st.integers(0, 40))
    def test_batches_do_not_matter(self, values, cut):
        scores = torch.tensor(values)
        assert fed(scores[:cut], scores[cut:]).at(0.9) == fed(scores).at(0.9)

    def test_maps_and_float64(self):
        scores = torch.randn(2, 3, 4, dtype=torch.float64)
        assert fed(scores).at(0.5).value == scores.flatten().sort().values[11].item()

    def test_scores_may_be_overwritten_afterwards(self):
        scores = torch.arange(10.0)
        finder = fed(scores)
        scores.fill_(99)
        assert finder.at(1.0).value == 9.0

    def test_it_can_go_on_after_an_answer(self):
        finder = fed(torch.arange(10.0))
        assert finder.at(0.5) == Threshold(value=4.0, share=0.5, count=10)
        finder.update(torch.arange(10.0, 20.0))
        assert finder.at(0.5) == Threshold(value=9.0, share=0.5, count=20)


class TestBinned:
    @given(
        st.lists(FLOATS, min_size=5, max_size=60),
        st.integers(1, 100),
        st.sampled_from([torch.float32, torch.float64]),
    )
    def test_never_below_the_exact_one_and_within_the_stated_width(self, values, percent, dtype):
        scores = torch.tensor(values, dtype=dtype)
        found = fed(*scores.split(3), exact=4, bits=14).at(percent / 100)
        exact = lowest(values, Fraction(percent, 100))
        assert found.value >= exact
        assert found.count == len(values)
        if math.isfinite(exact) and math.isfinite(found.value):
            assert found.value - exact <= found.bin_width
        # the comparison is the one that decides: in the dtype of the scores
        assert Fraction(int((scores <= found.value).sum()), len(values)) >= Fraction(percent, 100)

    @pytest.mark.parametrize("offset", [0.0, -2302.0])
    @pytest.mark.parametrize("scale", [1e-3, 30.0])
    def test_width_is_small_whatever_offset_and_scale(self, offset, scale):
        scores = torch.randn(200_000, dtype=torch.float64) * scale + offset
        found = fed(*scores.split(10_000), exact=20_000).at(0.95)
        exact = fed(scores).at(0.95)
        assert exact.value <= found.value <= exact.value + found.bin_width
        assert 0 < found.bin_width <= 2.0**-12 * 2.1 * scale
        kept = (scores <= found.value).double().mean()
        assert 0.95 <= kept < 0.9502

    def test_float32_scores_are_compared_without_rounding_one_away(self):
        scores = torch.randn(100_000) - 25.0
        found = fed(*scores.split(10_000), exact=20_000).at(0.95)
        assert found.value == float(torch.tensor(found.value, dtype=torch.float32))

    def test_infinite_scores_have_their_place(self):
        scores = torch.cat([torch.full((30,), -math.inf), torch.randn(50), torch.full((20,), math.inf)])
        scores = scores[torch.randperm(100)]
        finder = fed(*scores.split(10), exact=20, bits=14)
        assert finder.at(0.3).value < -1e30
        assert abs(finder.at(0.8).value) < 10
        assert finder.at(0.81).value == math.inf
        assert finder.at(1.0) == Threshold(value=math.inf, share=1.0, count=100)

    def test_nothing_but_infinite_scores(self):
        assert fed(torch.full((50,), math.inf), exact=10, bits=14).at(0.5).value == math.inf

    def test_one_batch_above_the_limit(self):
        scores = torch.randn(10_000)
        found = fed(scores, exact=1000).at(0.95)
        assert found.value - lowest(scores.tolist(), Fraction(95, 100)) <= found.bin_width

    def test_memory_is_bounded(self):
        finder = ShareThreshold(exact=1 << 12, bits=14)
        for _ in range(100):
            finder.update(torch.randn(1 << 12))
        assert finder.count == 100 << 12
        assert finder._held <= 1 << 12
        assert sum(part.numel() for part in finder._kept) == finder._held


class TestRefusals:
    def test_no_scores(self):
        with pytest.raises(ValueError, match="there are no scores"):
            ShareThreshold().at(0.95)
        with pytest.raises(ValueError, match="there are no scores"):
            fed(torch.randn(0)).at(0.95)

    def test_nan_scores_are_counted(self):
        finder = fed(torch.zeros(3))
        with pytest.raises(ValueError, match="2 of 4 scores of a batch are NaN"):
            finder.update(torch.tensor([1.0, math.nan, math.nan, 2.0]))
        assert finder.count == 3
