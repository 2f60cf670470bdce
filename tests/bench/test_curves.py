"""Histograms, ROC and threshold of known scores."""

import itertools
import json

import pytest
import torch

from energy_plugin_bench.report.curves import BINS, Curve, curve, curves
from energy_plugin_bench.verdicts.verdict import Question

OOD_POSITIVE = Question("n", "id", "ood", "energy", "fpr95", "outlier_exposure")
ID_POSITIVE = Question("n", "id", "ood", "energy", "fpr95", "energy_ood")
INWARD = torch.arange(100.0)
OUTWARD = torch.arange(50.0, 150.0)


def test_the_threshold_finds_95_percent_of_the_positive_kind():
    found = curve("s", OOD_POSITIVE, INWARD, OUTWARD)
    assert (found.threshold, found.point) == (55.0, (0.45, 0.95))
    assert found.positive == "ood"
    found = curve("s", ID_POSITIVE, INWARD, OUTWARD)
    assert (found.threshold, found.point) == (94.0, (0.45, 0.95))
    assert found.positive == "id"


@pytest.mark.parametrize("asked", [OOD_POSITIVE, ID_POSITIVE])
def test_the_roc_rises_from_corner_to_corner_and_has_the_right_area(asked):
    torch.manual_seed(0)
    inward, outward = torch.randn(3000), torch.randn(2000) + 1.5
    roc = curve("s", asked, inward, outward).roc
    assert (roc[0], roc[-1]) == ((0.0, 0.0), (1.0, 1.0))
    assert all(a <= b and c <= d for (a, c), (b, d) in itertools.pairwise(roc))
    area = sum((b - a) * (c + d) / 2 for (a, c), (b, d) in itertools.pairwise(roc))
    assert area == pytest.approx(float((outward[:, None] > inward).double().mean()), abs=0.005)
    assert len(roc) < 80


def test_every_image_is_in_a_bin_also_far_and_infinite_ones():
    inward = torch.cat([INWARD, torch.tensor([1e9, float("-inf")])])
    found = curve("s", OOD_POSITIVE, inward, OUTWARD)
    assert (sum(found.inward), sum(found.outward), len(found.inward)) == (102, 100, BINS)
    assert found.high < 200


def test_scores_that_are_all_alike_do_not_divide_by_nothing():
    found = curve("s", OOD_POSITIVE, torch.zeros(5), torch.zeros(4))
    assert (sum(found.inward), sum(found.outward)) == (5, 4)


def test_json_and_back():
    found = curve("s", OOD_POSITIVE, INWARD, OUTWARD)
    assert Curve.of(json.loads(json.dumps(found.to_dict()))) == found


def test_a_curve_for_every_detector_and_pair_of_sets(world):
    runner = world()
    verdicts = [runner.verdict(source, row) for source, row in runner.registry.rows()]
    assert [(c.ood_set, c.method) for c in curves(runner, verdicts)] == [
        ("middle", "certainty"),
        ("all", "certainty"),
    ]
