"""Streams: exact while small, bounded beyond, the same however scores are cut and spread."""

from __future__ import annotations

import io
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import cuts, score_pairs

from energy_plugin import metrics
from energy_plugin.streaming import StreamingMetrics

FIGURES = ("auroc", "aupr_in", "aupr_out", "fpr95", "fpr99")
NEEDS_SCORES = {"oodeel", "srujan"}
STREAMED = sorted(
    name
    for name, rules in metrics.CONVENTIONS.items()
    if rules.pooling == "pooled" and name not in NEEDS_SCORES
)


def _streamed(pair, convention="pytorch_ood", *, at=(), **options):
    """Feed both kinds, cut into batches, in turn."""
    stream = StreamingMetrics(convention, **options)
    pieces = [part.tensor_split(list(at)) for part in pair]
    for id_scores, ood_scores in zip(*pieces, strict=True):
        stream.add(ood_scores, "ood")
        stream.add(id_scores, "id")
    return stream


STREAMS = {
    "pair": score_pairs(),
    "at": cuts(40),
    "bins": st.sampled_from([2, 5, 64, 1 << 16]),
    "name": st.sampled_from(STREAMED),
}


@settings(max_examples=150)
@given(**STREAMS)
def test_exact_figures_lie_within_the_bounds(pair, at, bins, name):
    _assert_within_bounds(pair, at, bins, name)


@pytest.mark.long
@settings(max_examples=10_000)
@given(**STREAMS)
def test_exact_figures_lie_within_the_bounds_in_ten_thousand_cases(pair, at, bins, name):
    _assert_within_bounds(pair, at, bins, name)


def _assert_within_bounds(pair, at, bins, name):
    found = _streamed(pair, name, at=at, exact_up_to=0, bins=bins).compute()
    exact = metrics.evaluate(*pair, name)
    assert not found.exact
    assert (found.n_id, found.n_ood) == (exact.n_id, exact.n_ood)
    for figure in FIGURES:
        bounded, value = getattr(found, figure), getattr(exact, figure)
        if value is None:
            assert bounded is None
            continue
        assert bounded.low <= value <= bounded.high
        assert abs(bounded.value - value) <= bounded.bound


@given(score_pairs(), cuts(40), st.sampled_from([0, 10, 1000]))
def test_batches_do_not_matter(pair, at, exact_up_to):
    whole = _streamed(pair, exact_up_to=exact_up_to, bins=64).compute()
    assert _streamed(pair, at=at, exact_up_to=exact_up_to, bins=64).compute() == whole


@given(score_pairs(), cuts(40), st.sampled_from([0, 10, 1000]))
def test_merged_streams_are_one_stream(pair, at, exact_up_to):
    options = {"exact_up_to": exact_up_to, "bins": 64}
    pieces = zip(*(part.tensor_split(at) for part in pair), strict=True)
    shards = [_streamed(piece, **options) for piece in pieces]
    merged = StreamingMetrics(**options)
    for shard in shards:
        assert merged.merge(shard) is merged
    assert merged.compute() == _streamed(pair, **options).compute()


@given(score_pairs(), cuts(40), st.sampled_from([0, 10, 1000]))
@settings(max_examples=30)
def test_a_saved_stream_goes_on(pair, at, exact_up_to):
    options = {"exact_up_to": exact_up_to, "bins": 64}
    first, rest = zip(*(part.tensor_split([len(part) // 2]) for part in pair), strict=True)
    buffer = io.BytesIO()
    torch.save(_streamed(first, **options).state_dict(), buffer)
    buffer.seek(0)
    loaded = StreamingMetrics(**options)
    loaded.load_state_dict(torch.load(buffer, weights_only=True))
    loaded.merge(_streamed(rest, **options))
    assert loaded.compute() == _streamed(pair, **options).compute()


def test_small_streams_are_exact():
    pair = torch.randn(500), torch.randn(100) + 1
    found = _streamed(pair, "energy_ood", at=[50, 70], exact_up_to=600).compute()
    assert found.exact
    assert found.values == metrics.evaluate(*pair, "energy_ood")
    assert all(getattr(found, name).bound == 0 for name in FIGURES)
    assert not _streamed(pair, "energy_ood", exact_up_to=599).compute().exact


def test_bounds_are_small_on_energies():
    # 200,000 scores like those of a network, 5 % of them OOD
    pair = torch.randn(190_000) * 3 - 12, torch.randn(10_000) * 3 - 7
    found = _streamed(pair, "fishyscapes-server", exact_up_to=0).compute()
    exact = metrics.evaluate(*pair, "fishyscapes-server")
    assert found.auroc.bound <= 2e-5
    assert found.fpr95.bound <= 2e-4
    assert found.aupr_out.bound <= 2e-3
    assert abs(found.auroc.value - exact.auroc) <= 1e-6


def test_labelled_scores_are_divided_and_void_is_dropped():
    scores, labels = torch.randn(4, 5, 5), torch.randint(-1, 2, (4, 5, 5))
    labels[0, 0] = 255
    for exact_up_to in (0, 1000):
        stream = StreamingMetrics("pebal", void={255}, exact_up_to=exact_up_to)
        for one, mask in zip(scores, labels, strict=True):
            stream.update(one, mask)
        exact = metrics.pooled([(scores, labels)], "pebal", void={255})
        found = stream.compute()
        assert (found.n_id, found.n_ood) == (exact.n_id, exact.n_ood)
        assert found.auroc.value == pytest.approx(exact.auroc, abs=1e-3)


def test_kept_scores_do_not_follow_the_callers_memory():
    stream, buffer = StreamingMetrics(), torch.zeros(3)
    stream.add(buffer, "id")
    buffer.fill_(5.0)
    stream.add(torch.ones(3), "ood")
    assert stream.compute().auroc.value == 1.0


def test_other_conventions_can_be_asked_of_one_stream():
    pair = torch.randn(3000), torch.randn(500) + 1
    stream = _streamed(pair, "pytorch_ood", exact_up_to=0)
    assert stream.compute("energy_ood").positive == "id"
    with pytest.raises(ValueError, match=r"rounds scores to float16.*StreamingMetrics\('smiyc'\)"):
        stream.compute("smiyc")
    with pytest.raises(LookupError, match="Did you mean 'pebal'"):
        stream.compute("pebbal")


@pytest.mark.parametrize("name", sorted(NEEDS_SCORES))
def test_conventions_that_need_the_scores_are_refused_once_binned(name):
    pair = torch.randn(300), torch.randn(50) + 1
    assert _streamed(pair, name).compute().values == metrics.evaluate(*pair, name)
    with pytest.raises(ValueError, match="raise exact_up_to"):
        _streamed(pair, name, exact_up_to=0).compute()


def test_conventions_that_take_means_are_refused():
    with pytest.raises(ValueError, match=r"mean over each image.*per_image"):
        StreamingMetrics("hendrycks-per-image")


def test_rounding_conventions_round_before_they_bin():
    pair = torch.tensor([1.0]), torch.tensor([1.0001])
    for exact_up_to in (0, 10):
        assert _streamed(pair, "smiyc", exact_up_to=exact_up_to).compute().auroc.value == 0.5


def test_reset_forgets():
    stream = _streamed((torch.zeros(5), torch.ones(5)), exact_up_to=0)
    stream.reset()
    assert (stream.n_id, stream.n_ood, stream.exact) == (0, 0, True)
    with pytest.raises(ValueError, match="got 0 ID and 0 OOD"):
        stream.compute()


@pytest.mark.parametrize("exact_up_to", [0, 1000])
def test_nan_is_refused_and_nothing_is_taken(exact_up_to):
    stream = StreamingMetrics(exact_up_to=exact_up_to)
    with pytest.raises(ValueError, match="1 NaN of 2"):
        stream.add(torch.tensor([1.0, math.nan]), "id")
    with pytest.raises(ValueError, match="1 NaN of 1"):
        stream.update(torch.tensor([1.0, math.nan]), torch.tensor([0, -1]))
    assert (stream.n_id, stream.n_ood) == (0, 0)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: StreamingMetrics(bins=1), ValueError, "bins >= 2, got 1048576 and 1"),
        (lambda: StreamingMetrics(exact_up_to=-1), ValueError, "exact_up_to must be >= 0"),
        (lambda: StreamingMetrics().add(torch.zeros(2), "in"), ValueError, "'id' or 'ood', got 'in'"),
        (lambda: StreamingMetrics().merge(3), TypeError, "expected a StreamingMetrics, got int"),
        (lambda: StreamingMetrics().merge(StreamingMetrics(bins=8)), ValueError, "make both alike"),
        (
            lambda: StreamingMetrics().load_state_dict(StreamingMetrics(bins=8).state_dict()),
            ValueError,
            "this stream has",
        ),
    ],
)
def test_misuse_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_results_carry_each_bound_beside_its_figure():
    found = _streamed((torch.randn(300), torch.randn(50) + 1), exact_up_to=0).compute().to_dict()
    names = list(found)
    for name in FIGURES:
        assert names[names.index(name) + 1] == f"{name}_bound"
        assert 0 <= found[f"{name}_bound"] <= 1
    assert found["exact"] is False
    none = _streamed((torch.randn(300), torch.randn(50) + 1), "ninco", exact_up_to=0).compute()
    assert none.to_dict()["aupr_in"] is None
    assert none.values.aupr_in is None


def test_memory_does_not_grow_with_the_scores():
    stream = StreamingMetrics(exact_up_to=1000, bins=256)
    for _ in range(50):
        stream.add(torch.randn(2000), "id")
        stream.add(torch.randn(100), "ood")
    state = stream.state_dict()
    assert sum(len(part) for part in state["kept"].values()) == 0
    assert state["histogram"]["counts"].shape == (2, 258)
    assert stream.n_id == 100_000


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_scores_on_a_gpu_are_counted_the_same():
    pair = torch.randn(300_000), torch.randn(20_000) + 1
    for exact_up_to in (0, 1 << 20):
        expected = _streamed(pair, exact_up_to=exact_up_to).compute()
        on_device = _streamed([part.cuda() for part in pair], exact_up_to=exact_up_to).compute()
        for name in FIGURES:
            assert getattr(on_device, name).value == pytest.approx(getattr(expected, name).value, abs=1e-12)
