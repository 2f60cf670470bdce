"""Hypothesis strategies that several test files share."""

from __future__ import annotations

import math

import torch
from hypothesis import strategies as st
from torch import Tensor

_tied = st.integers(0, 6).map(lambda n: n / 4 - 0.5)
_plain = st.floats(-50, 50, width=32)
_heavy = st.builds(lambda sign, power: sign * 10.0**power, st.sampled_from([-1, 1]), st.integers(-40, 37))
_ends = st.sampled_from([math.inf, -math.inf, 0.0, -0.0, 1.0, 1e-45, -1e-45, 3e38, -3e38])


@st.composite
def score_pairs(draw: st.DrawFn, *, infinite: bool = True, most: int = 40) -> tuple[Tensor, Tensor]:
    """Scores of both kinds: tied, spread, heavy-tailed, or a mixture with the ends of the range."""
    kinds = [_tied, _tied | _plain, _plain, _heavy | _tied]
    element = draw(st.sampled_from([*kinds, _heavy | _ends | _tied] if infinite else kinds))
    dtype = draw(st.sampled_from([torch.float32, torch.float64]))
    id_scores = draw(st.lists(element, min_size=1, max_size=most))
    ood_scores = draw(st.lists(element, min_size=1, max_size=most))
    return torch.tensor(id_scores, dtype=dtype), torch.tensor(ood_scores, dtype=dtype)


def cuts(most: int) -> st.SearchStrategy[list[int]]:
    """Places at which a list of up to `most` scores is cut into batches."""
    return st.lists(st.integers(0, most), max_size=5).map(sorted)
