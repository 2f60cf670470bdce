"""Scores and labels at the border."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from energy_plugin import metrics
from energy_plugin.metrics.scores import join


def test_split_divides_by_the_sign_of_the_label():
    scores = torch.arange(6.0).reshape(2, 3)
    id_scores, ood_scores = metrics.split(scores, torch.tensor([[0, -1, 3], [-7, 255, 1]]), void={255})
    assert id_scores.tolist() == [0.0, 2.0, 5.0]
    assert ood_scores.tolist() == [1.0, 3.0]


def test_void_may_be_a_negative_code():
    id_scores, ood_scores = metrics.split(torch.arange(3.0), torch.tensor([0, -1, -100]), void=[-100])
    assert (id_scores.tolist(), ood_scores.tolist()) == ([0.0], [1.0])


def test_void_may_be_an_iterator():
    labels = torch.tensor([0, -1, 255, 254])
    id_scores, _ = metrics.split(torch.arange(4.0), labels, void=iter([255, 254]))
    assert id_scores.tolist() == [0.0]


def test_float_masks_with_whole_numbers_are_taken():
    id_scores, ood_scores = metrics.split(torch.arange(2.0), torch.tensor([0.0, -1.0]))
    assert (id_scores.tolist(), ood_scores.tolist()) == ([0.0], [1.0])


def test_arrays_are_taken():
    _, ood_scores = metrics.split(np.array([0.5, 1.5]), np.array([0, -1]))
    assert ood_scores.tolist() == [1.5]


@pytest.mark.parametrize(
    ("labels", "void", "words"),
    [
        # uint8(-1) is 255: no OOD is left
        (torch.tensor([0, 255, 3], dtype=torch.uint8), (), "In uint8 the label -1 becomes 255: cast"),
        (torch.tensor([0, 1, 1]), (), r"Labels 0 and 1 look like the coding of oodeel .*torch.where"),
        (torch.tensor([0, 1, 255]), (255,), r"Labels 0 and 1 look like .* \(1 = OOD\)"),
        (torch.tensor([0, 5, 3]), (), r"got 3 ID .* and 0 OOD .* labels seen: 0 \(1x\), 3 \(1x\), 5 \(1x\)"),
        (torch.tensor([-1, -1, 255]), (255,), r"got 0 ID .* and 2 OOD .* void codes dropped: \[255\]"),
    ],
)
def test_a_missing_kind_is_refused_with_the_codes_seen(labels, void, words):
    with pytest.raises(ValueError, match=words):
        metrics.split(torch.randn(3), labels, void=void)


def test_only_the_fitting_hint_is_given():
    with pytest.raises(ValueError, match="labels seen") as caught:
        metrics.split(torch.randn(2), torch.tensor([0, 5]))
    assert "uint8" not in str(caught.value)
    assert "oodeel" not in str(caught.value)


@pytest.mark.parametrize(
    ("labels", "error", "words"),
    [
        (torch.tensor([True, False]), TypeError, "torch.bool, which does not say which value is OOD"),
        (torch.tensor([0, -1, 0]), ValueError, r"scores have shape \(2,\) and labels \(3,\)"),
        (torch.tensor([0.5, -1.0]), ValueError, "not whole numbers"),
    ],
)
def test_unusable_labels_are_refused(labels, error, words):
    with pytest.raises(error, match=words):
        metrics.split(torch.randn(2), labels)


def test_scores_of_the_other_direction_are_turned():
    confidences = torch.tensor([3.0, 1.0])
    assert metrics.as_outlier_scores(confidences, higher_is="id").tolist() == [-3.0, -1.0]
    assert metrics.as_outlier_scores(confidences, higher_is="ood") is confidences
    small = torch.tensor([0, 3], dtype=torch.uint8)
    assert metrics.as_outlier_scores(small, higher_is="id").tolist() == [0.0, -3.0]
    for come in ([3.0, 1.0], np.array([3.0, 1.0]), np.array([3, 1])):
        for higher_is, expected in (("id", [-3.0, -1.0]), ("ood", [3.0, 1.0])):
            found = metrics.as_outlier_scores(come, higher_is=higher_is)
            assert isinstance(found, torch.Tensor)
            assert found.tolist() == expected
    with pytest.raises(TypeError, match="scores must be a tensor of real numbers, got str"):
        metrics.as_outlier_scores("ab", higher_is="id")
    with pytest.raises(ValueError, match="'ood' or 'id', got 'in'"):
        metrics.as_outlier_scores(confidences, higher_is="in")


def test_scores_upside_down_are_told():
    energies_id, energies_ood = torch.randn(500) - 10, torch.randn(200) - 8
    assert metrics.check_orientation(energies_id, energies_ood) > 0.8
    with pytest.raises(ValueError, match=r"upside down.*as_outlier_scores\(scores, higher_is=\"id\"\)"):
        metrics.check_orientation(-energies_id, -energies_ood)


def test_a_bad_detector_is_not_taken_for_one_upside_down():
    assert metrics.check_orientation(torch.randn(4000), torch.randn(4000) - 0.2) < 0.5  # 0.44
    # Three scores prove nothing.
    assert metrics.check_orientation(torch.tensor([1.0, 2.0]), torch.tensor([0.0])) == 0.0


def test_joining_keeps_values():
    joined = join([torch.tensor([2**60]), torch.tensor([[0.5], [0.1]])])
    assert joined.tolist() == [float(2**60), 0.5, float(torch.tensor(0.1))]
    assert join([torch.tensor([0.1]), torch.tensor([0.2])]).dtype == torch.float32
