"""AUROC, AUPR and FPR: against other libraries, and properties that hold for any scores."""

from __future__ import annotations

import math

import metric_reference as reference
import numpy as np
import pytest
import sklearn.metrics as sk
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import score_pairs

from energy_plugin import metrics

CLOSE = 1e-12
POSITIVE = st.sampled_from(["ood", "id"])
RULES = sorted(metrics.FPR_RULES)
# Of the others, NINCO interpolates between scores and two round them first.
RANKED = sorted(set(metrics.CONVENTIONS) - {"ninco", "smiyc", "fishyscapes-server"})


def _joint(id_scores, ood_scores, positive):
    """scikit-learn's two arrays: labels with 1 for the positive kind, scores higher for it."""
    scores = np.concatenate([id_scores.double().numpy(), ood_scores.double().numpy()])
    labels = np.repeat([0, 1], [len(id_scores), len(ood_scores)])
    return (labels, scores) if positive == "ood" else (1 - labels, -scores)


@given(score_pairs(infinite=False))
def test_auroc_is_scikit_learns(pair):
    labels, scores = _joint(*pair, "ood")
    assert metrics.auroc(*pair) == pytest.approx(sk.roc_auc_score(labels, scores), abs=CLOSE)


@given(score_pairs())
def test_auroc_is_the_share_of_ordered_pairs(pair):
    id_scores, ood_scores = (part.numpy() for part in pair)
    assert metrics.auroc(*pair) == pytest.approx(reference.auroc(ood_scores, id_scores), abs=CLOSE)


@given(pair=score_pairs(infinite=False), positive=POSITIVE)
def test_aupr_is_scikit_learns(pair, positive):
    labels, scores = _joint(*pair, positive)
    precision, recall, _ = sk.precision_recall_curve(labels, scores)
    step = metrics.aupr(*pair, positive=positive, rule="step")
    lines = metrics.aupr(*pair, positive=positive, rule="trapezoid")
    assert step == pytest.approx(sk.average_precision_score(labels, scores), abs=CLOSE)
    assert lines == pytest.approx(sk.auc(recall, precision), abs=CLOSE)


@given(pair=score_pairs(infinite=False), positive=POSITIVE, tpr=st.sampled_from([0.5, 0.95, 0.99, 1.0]))
def test_fpr_is_that_of_scikit_learns_curve(pair, positive, tpr):
    labels, scores = _joint(*pair, positive)
    whole_fpr, whole_tpr, _ = sk.roc_curve(labels, scores, drop_intermediate=False)
    kept_fpr, kept_tpr, _ = sk.roc_curve(labels, scores)
    found = {
        rule: metrics.fpr_at_tpr(*pair, tpr=tpr, positive=positive, rule=rule)
        for rule in ("first", "first-corner", "first-corner-strict", "linear")
    }
    assert found["first"] == whole_fpr[np.argmax(whole_tpr >= tpr)]
    assert found["first-corner"] == kept_fpr[np.argmax(kept_tpr >= tpr)]
    if tpr < 1:
        assert found["first-corner-strict"] == kept_fpr[np.argmax(kept_tpr > tpr)]
    assert found["linear"] == pytest.approx(np.interp(tpr, kept_tpr, kept_fpr), abs=CLOSE)


def test_corner_rule_differs_where_scikit_learn_leaves_points_out():
    # Pairs of one ID and one OOD score tie: the curve is one diagonal of equal steps.
    scores = torch.arange(100.0)
    assert metrics.fpr_at_tpr(scores, scores, rule="first") == 0.95
    assert metrics.fpr_at_tpr(scores, scores, rule="first-corner") == 1.0
    # The first point of the curve is never left out.
    assert metrics.fpr_at_tpr(scores[:2], scores[:2], tpr=0.5, rule="first-corner") == 0.5


@given(score_pairs())
def test_all_figures_are_pytorch_oods(pair):
    functional = pytest.importorskip("pytorch_ood.metrics.functional")
    scores, labels = torch.cat(pair), torch.cat([torch.zeros(len(pair[0])), -torch.ones(len(pair[1]))])
    results = metrics.evaluate(*pair, "pytorch_ood")
    assert results.auroc == pytest.approx(float(functional.auroc(scores, labels)), abs=CLOSE)
    assert results.aupr_in == pytest.approx(float(functional.aupr(scores, labels, "id")), abs=CLOSE)
    assert results.aupr_out == pytest.approx(float(functional.aupr(scores, labels, "ood")), abs=CLOSE)
    assert results.fpr95 == float(functional.fpr_at_tpr(scores, labels))
    assert results.fpr99 == float(functional.fpr_at_tpr(scores, labels, 0.99))


def test_agrees_with_pytorch_oods_metric_object():
    module = pytest.importorskip("pytorch_ood.metrics")
    id_scores, ood_scores = torch.randn(3000).round(decimals=2), torch.randn(700).round(decimals=2) + 1
    theirs = module.OODMetrics()
    theirs.update(id_scores, torch.zeros(3000))
    theirs.update(ood_scores, -torch.ones(700))
    expected = theirs.compute()
    results = metrics.evaluate(id_scores, ood_scores, "pytorch_ood")
    for name, value in (
        ("AUROC", results.auroc),
        ("AUPR-IN", results.aupr_in),
        ("AUPR-OUT", results.aupr_out),
        ("FPR95TPR", results.fpr95),
    ):
        assert value == pytest.approx(float(expected[name]), abs=CLOSE)


@given(pair=score_pairs(most=30), name=st.sampled_from(RANKED))
def test_a_monotone_transform_changes_nothing(pair, name):
    values, order = torch.cat(pair).unique(return_inverse=True)
    ranks = torch.arange(len(values)).double().exp()[order]  # another scale, same order and ties
    moved = ranks[: len(pair[0])], ranks[len(pair[0]) :]
    assert metrics.evaluate(*moved, name) == metrics.evaluate(*pair, name)


@given(pair=score_pairs(), rule=st.sampled_from(RULES), area=st.sampled_from(sorted(metrics.AUPR_RULES)))
def test_the_other_sign_mirrors_every_figure(pair, rule, area):
    id_scores, ood_scores = pair
    assert metrics.auroc(-id_scores, -ood_scores) == pytest.approx(1 - metrics.auroc(*pair), abs=CLOSE)
    mirrored = metrics.aupr(-ood_scores, -id_scores, positive="id", rule=area)
    assert mirrored == pytest.approx(metrics.aupr(*pair, positive="ood", rule=area), abs=CLOSE)
    mirrored = metrics.fpr_at_tpr(-ood_scores, -id_scores, positive="id", rule=rule)
    assert mirrored == metrics.fpr_at_tpr(*pair, positive="ood", rule=rule)


@settings(max_examples=30)
@given(score_pairs())
def test_order_and_shape_of_scores_do_not_matter(pair):
    id_scores, ood_scores = pair
    turned = id_scores.flip(0).reshape(1, -1, 1), ood_scores[torch.randperm(len(ood_scores))].unsqueeze(0)
    assert metrics.evaluate(*turned, "energy_ood") == metrics.evaluate(*pair, "energy_ood")


@pytest.mark.parametrize("positive", ["ood", "id"])
@pytest.mark.parametrize("rule", sorted(metrics.AUPR_RULES))
@pytest.mark.parametrize("sizes", [(150_000, 20_000), (20_000, 150_000)])
def test_areas_of_many_scores_cross_every_chunk_border(positive, rule, sizes):
    # Enough scores for several chunks, with ties that span their borders.
    id_scores, ood_scores = torch.randn(sizes[0]), torch.randn(sizes[1]) + 1
    for scores in (id_scores, ood_scores):
        most = torch.arange(len(scores)) % 10 > 0
        scores[most] = scores[most].round(decimals=1)
    labels, scores = _joint(id_scores, ood_scores, positive)
    precision, recall, _ = sk.precision_recall_curve(labels, scores)
    expected = {
        "step": sk.average_precision_score(labels, scores),
        "trapezoid": sk.auc(recall, precision),
        "trapezoid-zero": sk.auc(recall, np.r_[precision[:-1], 0]),
    }
    assert metrics.aupr(id_scores, ood_scores, positive=positive, rule=rule) == pytest.approx(
        expected[rule], abs=CLOSE
    )


def test_sides_of_the_positive_class_give_the_known_figures():
    generator = np.random.default_rng(0)
    id_scores = torch.from_numpy(generator.normal(0, 1, 100_000))
    ood_scores = torch.from_numpy(generator.normal(2, 1.5, 3_000))
    ood_positive = metrics.fpr_at_tpr(id_scores, ood_scores, positive="ood")
    id_positive = metrics.fpr_at_tpr(id_scores, ood_scores, positive="id")
    assert ood_positive == pytest.approx(0.70, abs=0.03)
    assert id_positive == pytest.approx(0.40, abs=0.03)


@pytest.mark.parametrize("offset", [0, -10, -30, -60, -90, -120, 18, 30])
def test_no_offset_of_the_scores_changes_the_figures(offset):
    # torchmetrics squashes scores outside [0, 1] by a sigmoid: far from 0 they tie, AUROC falls to 0.5.
    id_scores, ood_scores = 2 * torch.randn(5000).double(), 2 * torch.randn(5000).double() + 2
    grid = [(part * 1024).round() / 1024 for part in (id_scores, ood_scores)]  # so that adding is exact
    assert metrics.evaluate(*(part + offset for part in grid)) == metrics.evaluate(*grid)
    assert metrics.auroc(*grid) == pytest.approx(0.76, abs=0.02)


def test_average_precision_and_trapezoid_are_two_numbers_with_ties():
    id_scores, ood_scores = torch.tensor([0.0, 1.0, 1.0]), torch.tensor([1.0, 2.0])
    assert metrics.aupr(id_scores, ood_scores, rule="step") == 0.5 + 0.5 * 2 / 4
    assert metrics.aupr(id_scores, ood_scores, rule="trapezoid") == 0.5 + 0.5 * (1 + 0.5) / 2


def test_perfect_constant_and_reversed_scores():
    low, high = torch.zeros(7), torch.ones(5)
    perfect = metrics.evaluate(low, high)
    assert (perfect.auroc, perfect.aupr_in, perfect.aupr_out, perfect.fpr95) == (1, 1, 1, 0)
    constant = metrics.evaluate(low, torch.zeros(5))
    assert (constant.auroc, constant.fpr95) == (0.5, 1.0)
    assert metrics.auroc(high, low) == 0


def test_infinite_scores_rank_at_the_ends():
    id_scores = torch.tensor([-math.inf, 0.0, 1.0])
    ood_scores = torch.tensor([math.inf, math.inf, 0.5])
    finite = torch.tensor([-9.0, 0.0, 1.0]), torch.tensor([9.0, 9.0, 0.5])
    for name in metrics.CONVENTIONS:
        assert metrics.evaluate(id_scores, ood_scores, name) == metrics.evaluate(*finite, name)


def test_negative_zero_ties_with_zero():
    assert metrics.auroc(torch.tensor([0.0]), torch.tensor([-0.0])) == 0.5
    assert metrics.auroc(torch.tensor([-0.0]), torch.tensor([0.0])) == 0.5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int8, torch.uint8, torch.int64])
def test_other_dtypes_keep_their_values(dtype):
    id_scores, ood_scores = torch.tensor([1, 2, 3, 100]).to(dtype), torch.tensor([3, 4, 120]).to(dtype)
    expected = metrics.evaluate(id_scores.double(), ood_scores.double())
    assert metrics.evaluate(id_scores, ood_scores) == expected


def test_large_integers_are_not_rounded():
    id_scores, ood_scores = torch.tensor([2**60]), torch.tensor([2**60 + 1])
    assert metrics.auroc(id_scores, ood_scores) == 1.0


def test_mixed_dtypes_are_compared_exactly():
    third = torch.tensor([1 / 3], dtype=torch.float32)
    assert metrics.auroc(third, torch.tensor([1 / 3], dtype=torch.float64)) == 0.0  # float32 rounds it up


def test_lists_and_arrays_are_taken():
    assert metrics.auroc([0.0, 1.0], np.array([1.0, 2.0])) == 0.875


def test_scores_are_left_alone():
    id_scores, ood_scores = torch.tensor([3.0, 1.0, 2.0], requires_grad=True), torch.tensor([5.0, 4.0])
    metrics.evaluate(id_scores, ood_scores)
    assert id_scores.tolist() == [3.0, 1.0, 2.0]
    assert ood_scores.tolist() == [5.0, 4.0]


def test_without_numpy_the_figures_are_the_same(monkeypatch):
    pair = torch.randn(500), torch.randn(100) + 1
    expected = metrics.evaluate(*pair)

    def unavailable(self):
        raise RuntimeError("Numpy is not available")

    monkeypatch.setattr(torch.Tensor, "numpy", unavailable)
    assert metrics.evaluate(*pair) == expected


@pytest.mark.parametrize(
    ("id_scores", "ood_scores", "error", "words"),
    [
        (torch.tensor([]), torch.randn(3), ValueError, "got 0 ID and 3 OOD"),
        (torch.randn(4), torch.tensor([]), ValueError, "got 4 ID and 0 OOD"),
        (torch.tensor([1.0, math.nan, math.nan]), torch.randn(3), ValueError, "2 of 3 ID and 0 of 3 OOD"),
        (torch.randn(3), torch.tensor([math.nan]), ValueError, "0 of 3 ID and 1 of 1 OOD"),
        (torch.tensor([True]), torch.randn(3), TypeError, "id_scores must be real numbers, got torch.bool"),
        (torch.randn(3), torch.randn(3).to(torch.complex64), TypeError, "ood_scores must be real numbers"),
        (torch.randn(3), "scores", TypeError, "got str"),
    ],
)
def test_unusable_scores_are_refused_with_what_came(id_scores, ood_scores, error, words):
    for function in (metrics.auroc, metrics.aupr, metrics.fpr_at_tpr, metrics.evaluate):
        with pytest.raises(error, match=words):
            function(id_scores, ood_scores)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tpr": 95}, "fraction is expected"),
        ({"tpr": 0.0}, r"tpr must be in \(0, 1\]"),
        ({"tpr": math.nan}, r"tpr must be in \(0, 1\]"),
        ({"rule": "frist"}, "Did you mean 'first'"),
        ({"positive": "in"}, "'ood' or 'id', got 'in'"),
    ],
)
def test_unknown_options_are_refused(options, words):
    with pytest.raises(ValueError, match=words):
        metrics.fpr_at_tpr(torch.randn(5), torch.randn(5), **options)


def test_an_unknown_area_rule_is_refused():
    with pytest.raises(ValueError, match="'step', 'trapezoid', 'trapezoid-zero', got 'simpson'"):
        metrics.aupr(torch.randn(5), torch.randn(5), rule="simpson")


def test_results_say_what_they_are():
    results = metrics.evaluate(torch.randn(50), torch.randn(20) + 1, "energy_ood")
    assert results.to_dict()["convention"] == "energy_ood"
    assert (results.n_id, results.n_ood, results.positive) == (50, 20, "id")
    assert results.aupr == results.aupr_in
    assert (results.tnr95, results.tnr99) == (1 - results.fpr95, 1 - results.fpr99)
    assert metrics.evaluate(torch.randn(50), torch.randn(20), "outlier_exposure").positive == "ood"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_gives_the_same_figures():
    pair = torch.randn(300_000).round(decimals=3), torch.randn(20_000) + 1
    for name in metrics.CONVENTIONS:
        on_device = metrics.evaluate(*(part.cuda() for part in pair), name).to_dict()
        assert on_device == pytest.approx(metrics.evaluate(*pair, name).to_dict(), abs=CLOSE)
