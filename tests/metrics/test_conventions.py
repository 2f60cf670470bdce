"""Each source's rule against a slow transcription of its description; the registry itself."""

from __future__ import annotations

import dataclasses

import metric_reference as reference
import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from strategies import score_pairs

from energy_plugin import metrics

CLOSE = 1e-12
POSITIVE = st.sampled_from(["ood", "id"])
RATES = {
    "first": lambda pos, neg: reference.first(pos, neg, 0.95),
    "first-strict": lambda pos, neg: reference.first_strict(pos, neg, 0.95),
    "nearest": lambda pos, neg: reference.nearest(pos, neg, 0.95),
    "linear": lambda pos, neg: reference.linear(pos, neg, 0.95),
    "rank-round": reference.rank_round,
    "rank-floor": reference.rank_floor,
    "rank-floor-inclusive": reference.rank_floor_inclusive,
    "every-fourth": lambda pos, neg: reference.every_fourth(pos, neg, 0.95)[0],
    # "first-corner" and its strict form are held against scikit-learn's own curve in test_evaluation.py
}
AREAS = {
    "step": reference.aupr_step,
    "trapezoid": lambda pos, neg: reference.aupr_trapezoid(pos, neg, 1.0),
    "trapezoid-zero": reference.aupr_hand_made,
}


def _oriented(pair, positive):
    """Positive and negative scores as arrays, higher for the positive kind."""
    id_scores, ood_scores = (part.double().numpy() for part in pair)
    return (ood_scores, id_scores) if positive == "ood" else (-id_scores, -ood_scores)


@pytest.mark.parametrize("rule", sorted(RATES))
@settings(max_examples=40)
@given(pair=score_pairs(most=60), positive=POSITIVE)
# One of every fourth scores has a recall of exactly 0.95, which is not below 0.95.
@example(pair=(torch.tensor([-4.0, -3.0, -2.0, -1.0, 3.5]), torch.arange(20.0)), positive="ood")
# Recall 0.9 is nearer to 0.95 than 1 is, by the last bit; and 0.05 * 10 rounds to 0, (1 - 0.95) * 10 to 1.
@example(pair=(torch.full((3,), 0.5), torch.arange(10.0)), positive="ood")
@example(pair=(torch.tensor([5.5, 19.5]), torch.arange(20.0)), positive="ood")  # exactly 19 of 20 reach 0.95
def test_threshold_rule_is_its_description(pair, rule, positive):
    expected = RATES[rule](*_oriented(pair, positive))
    assert metrics.fpr_at_tpr(*pair, positive=positive, rule=rule) == pytest.approx(expected, abs=CLOSE)


@given(pair=score_pairs(infinite=False, most=60), positive=POSITIVE)
@example(pair=(torch.arange(21.0), torch.tensor([19.0, 18.0, 20.0])), positive="id")  # falls on a score
@example(  # between 0.1 and 0.4; two ways to write the interpolation differ in the last bit
    pair=(
        torch.tensor([0.2650000000000001], dtype=torch.float64),
        torch.tensor([0.1, 0.4, *range(1, 11)], dtype=torch.float64),
    ),
    positive="ood",
)
@example(
    pair=(
        torch.tensor([1.820000000000001], dtype=torch.float64),
        torch.tensor([0.7, 3.5, *range(4, 11)], dtype=torch.float64),
    ),
    positive="ood",
)
def test_quantile_rule_is_numpys(pair, positive):
    expected = reference.quantile(*_oriented(pair, positive))
    assert metrics.fpr_at_tpr(*pair, positive=positive, rule="quantile") == expected


@settings(max_examples=30)
@given(score_pairs(most=60))
def test_nearest_rule_at_other_rates(pair):
    pos, neg = _oriented(pair, "ood")
    for tpr in (0.05, 0.5, 0.8, 0.99, 1.0):
        assert metrics.fpr_at_tpr(*pair, tpr=tpr, rule="nearest") == reference.nearest(pos, neg, tpr)


@pytest.mark.parametrize("rule", sorted(AREAS))
@settings(max_examples=40)
@given(pair=score_pairs(), positive=POSITIVE)
def test_area_rule_is_its_description(pair, rule, positive):
    expected = AREAS[rule](*_oriented(pair, positive))
    assert metrics.aupr(*pair, positive=positive, rule=rule) == pytest.approx(expected, abs=CLOSE)


@given(pair=score_pairs(infinite=False, most=30), name=st.sampled_from(sorted(metrics.CONVENTIONS)))
def test_a_convention_is_its_rules_put_together(pair, name):
    rules = metrics.convention(name)
    results = metrics.evaluate(*pair, name)
    if rules.score_dtype is not None:
        pair = tuple(part.to(getattr(torch, rules.score_dtype)) for part in pair)
    if rules.turns_round and metrics.auroc(*pair) < 0.5:
        pair = tuple(-part for part in pair)
    assert results.fpr95 == metrics.fpr_at_tpr(*pair, positive=rules.positive, rule=rules.fpr_rule)
    assert results.fpr99 == metrics.fpr_at_tpr(*pair, tpr=0.99, positive=rules.positive, rule=rules.fpr_rule)
    if rules.aupr_rule is None:
        assert results.aupr_in is None
        assert results.aupr_out is None
    else:
        assert results.aupr_in == metrics.aupr(*pair, positive="id", rule=rules.aupr_rule)
        assert results.aupr_out == metrics.aupr(*pair, positive="ood", rule=rules.aupr_rule)
    if rules.auroc_rule == "exact":
        assert results.auroc == metrics.auroc(*pair)


@given(score_pairs(most=60))
def test_oodeels_area_takes_every_fourth_score(pair):
    expected = reference.every_fourth(*_oriented(pair, "ood"), 0.95)[1]
    assert metrics.evaluate(*pair, "oodeel").auroc == pytest.approx(expected, abs=CLOSE)


def test_oodeels_rule_misses_constant_scores():
    assert metrics.evaluate(torch.zeros(50), torch.zeros(50), "oodeel").fpr95 == 0.0
    assert metrics.evaluate(torch.zeros(50), torch.zeros(50), "pytorch_ood").fpr95 == 1.0


POSITIVE_AND_RULES = {
    "energy_ood": ("id", "nearest", "step"),
    "outlier_exposure": ("ood", "nearest", "step"),
    "wisc_odin_style": ("id", "rank-round", "trapezoid-zero"),
    "mos": ("id", "nearest", "step"),
    "openood_v15": ("ood", "first-corner", "trapezoid"),
    "openood_v10": ("id", "first-corner", "trapezoid"),
    "scood": ("id", "rank-floor", "trapezoid"),
    "vim_gen": ("id", "rank-floor-inclusive", "trapezoid"),
    "ninco": ("id", "quantile", None),
    "pytorch_ood": ("ood", "first", "trapezoid"),
    "oodeel": ("ood", "every-fourth", None),
    "detectors": ("id", "first-corner", "trapezoid"),
    "torch_uncertainty": ("ood", "nearest", "step"),
    "fishyscapes-server": ("ood", "first", "step"),
    "smiyc": ("ood", "first", "step"),
    "pebal": ("ood", "nearest", "step"),
    "atta": ("ood", "nearest", "step"),
    "rba": ("ood", "first-corner-strict", "step"),
    "mask2anomaly": ("ood", "linear", "step"),
    "densehybrid": ("ood", "first-corner-strict", "step"),
    "sml": ("ood", "linear", "step"),
    "flowenedet": ("ood", "linear", "trapezoid"),
    "hendrycks-per-image": ("ood", "nearest", "step"),
    "muad": ("ood", "nearest", "step"),
    "torch-uncertainty": ("ood", "nearest", "step"),
    "ptood": ("ood", "first", "trapezoid"),
    "ptood-2024": ("ood", "first", "trapezoid"),
    "polito": ("ood", "linear", "step"),
    "ncridlig": ("ood", "first", "step"),
    "srujan": ("ood", "first", "step"),
}


@pytest.mark.parametrize("name", sorted(POSITIVE_AND_RULES))
def test_registry_holds_what_was_read(name):
    rules = metrics.convention(name)
    assert (rules.positive, rules.fpr_rule, rules.aupr_rule) == POSITIVE_AND_RULES[name]


def test_records_are_named_frozen_and_say_where_they_were_read():
    for name, rules in metrics.CONVENTIONS.items():
        assert rules.name == name
        assert rules.source
        with pytest.raises(dataclasses.FrozenInstanceError):
            rules.positive = "id"
    with pytest.raises(TypeError):
        metrics.CONVENTIONS["mine"] = metrics.convention("pebal")


def test_the_song_study_is_energy_oods_convention_with_two_rates():
    # densenet logs: "TNR at 95 / 99 % TPR", ID positive with +logsumexp, nearest threshold
    confidences_id = torch.tensor([9.0, 8.0, 7.0, 6.0, 5.0] * 20)
    confidences_ood = torch.tensor([5.5, 1.0, 2.0, 7.5])
    results = metrics.evaluate(-confidences_id, -confidences_ood, "energy_ood")
    assert results.tnr95 == pytest.approx(1 - 3 / 4 + 1 / 4)  # 5.5 and 7.5 pass the threshold of 5
    assert results.tnr99 == results.tnr95


def test_hand_made_area_is_not_scikit_learns():
    pair = torch.tensor([0.0, 1.0]), torch.tensor([2.0, 3.0])
    assert metrics.aupr(*pair, positive="id", rule="trapezoid") == 1.0
    assert metrics.aupr(*pair, positive="id", rule="trapezoid-zero") == 0.75


def test_srujans_scores_are_turned_round():
    pair = torch.tensor([2.0, 3.0, 4.0]), torch.tensor([0.0, 1.0])
    assert metrics.evaluate(*pair, "srujan").auroc == 1.0
    assert metrics.evaluate(*pair, "pebal").auroc == 0.0


def test_smiyc_ranks_in_half_precision():
    pair = torch.tensor([1.0]), torch.tensor([1.0001])
    assert metrics.evaluate(*pair, "smiyc").auroc == 0.5
    assert metrics.evaluate(*pair, "pebal").auroc == 1.0


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("energy-ood", "Did you mean 'energy_ood'"),
        ("unknown", "does not say how"),
        ("meta-ood", "left out: a 100-bin histogram"),
        ("x", "Known: "),
    ],
)
def test_unknown_names_are_refused(name, words):
    with pytest.raises(LookupError, match=words):
        metrics.convention(name)
    with pytest.raises(LookupError, match=words):
        metrics.evaluate(torch.randn(3), torch.randn(3), name)


@pytest.mark.parametrize(
    ("field", "value"), [("positive", "in"), ("fpr_rule", "closest"), ("aupr_rule", "simpson")]
)
def test_a_record_with_an_unknown_rule_is_refused(field, value):
    with pytest.raises(ValueError, match=repr(value)):
        dataclasses.replace(metrics.convention("pebal"), **{field: value})


def test_a_record_of_ones_own_is_used():
    mine = dataclasses.replace(metrics.convention("pebal"), name="mine", positive="id")
    results = metrics.evaluate(torch.randn(30), torch.randn(30) + 1, mine)
    assert (results.convention, results.positive) == ("mine", "id")
    assert np.isfinite(results.fpr95)
