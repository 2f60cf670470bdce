"""Figures of many images: pooled, per image, per batch."""

from __future__ import annotations

import pytest
import torch

from energy_plugin import metrics


def _image(seed, shift, *, ood=True, ident=True):
    """Scores and labels of a 6 x 8 image: top row OOD, bottom row void (255)."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(6, 8, generator=generator)
    labels = torch.zeros(6, 8, dtype=torch.int64) if ident else torch.full((6, 8), 255)
    labels[-1] = 255
    if ood:
        labels[0] = -1
        scores[0] += shift
    return scores, labels


IMAGES = [_image(0, 1.0), _image(1, 2.0), _image(2, 0.0, ood=False)]


@pytest.mark.parametrize("figures", [metrics.pooled, metrics.per_image, metrics.over_images])
def test_one_pair_alone_is_refused(figures):
    """Its two tensors would be taken apart into rows."""
    scores, labels = IMAGES[0]
    with pytest.raises(TypeError, match=r"must be pairs .*\[\(scores, labels\)\]"):
        figures((scores[:2], labels[:2]))


def test_a_void_code_may_stand_alone():
    for convention in ("pebal", "hendrycks-per-image"):
        several = metrics.over_images(IMAGES, convention, void={255})
        assert metrics.over_images(IMAGES, convention, void=255) == several


def test_pooled_figures_come_from_one_list():
    scores, labels = (torch.stack(parts) for parts in zip(*IMAGES, strict=True))
    expected = metrics.evaluate(*metrics.split(scores, labels, void={255}), "pebal")
    assert metrics.pooled(IMAGES, "pebal", void={255}) == expected
    assert metrics.over_images(IMAGES, "pebal", void={255}) == expected


def test_void_pixels_do_not_count():
    spoilt = [(torch.where(labels == 255, 1e6, scores), labels) for scores, labels in IMAGES]
    assert metrics.pooled(spoilt, "pebal", void={255}) == metrics.pooled(IMAGES, "pebal", void={255})


def test_images_without_anomaly_leave_the_pool_where_the_convention_says_so():
    kept = metrics.pooled(IMAGES[:2], "sml", void={255})
    skipping = metrics.pooled(IMAGES, "mask2anomaly", void={255})
    assert skipping.n_skipped == 1
    assert (skipping.auroc, skipping.fpr95, skipping.n_id) == (kept.auroc, kept.fpr95, kept.n_id)


def test_per_image_figures_are_means_over_images_that_have_both_kinds():
    single = [metrics.evaluate(*metrics.split(*image, void={255}), "pebal") for image in IMAGES[:2]]
    mean = metrics.per_image(IMAGES, "hendrycks-per-image", void={255})
    for name in ("auroc", "aupr_in", "aupr_out", "fpr95", "fpr99"):
        assert getattr(mean, name) == pytest.approx(sum(getattr(one, name) for one in single) / 2)
    assert (mean.n_images, mean.n_skipped, mean.n_id, mean.n_ood) == (2, 1, 2 * 32, 2 * 8)
    assert mean.convention == "hendrycks-per-image"
    assert metrics.over_images(IMAGES, "hendrycks-per-image", void={255}) == mean
    assert mean.auroc != metrics.pooled(IMAGES, "pebal", void={255}).auroc


def test_muad_counts_an_image_without_anomaly_as_one():
    skipping = metrics.per_image(IMAGES, "hendrycks-per-image", void={255})
    counting = metrics.per_image(IMAGES, "muad", void={255})
    assert counting.n_images == 3
    for name in ("auroc", "aupr_out", "fpr95"):
        assert getattr(counting, name) == pytest.approx((2 * getattr(skipping, name) + 1) / 3)


def test_batches_weigh_by_their_number_of_images():
    one = tuple(part[None] for part in IMAGES[0])
    two = tuple(torch.stack([IMAGES[1][i], IMAGES[2][i]]) for i in (0, 1))
    found = metrics.per_image([one, two], "torch-uncertainty", void={255})
    first, second = (metrics.evaluate(*metrics.split(*batch, void={255}), "pebal") for batch in (one, two))
    assert found.auroc == pytest.approx((first.auroc + 2 * second.auroc) / 3)


def test_areas_that_a_convention_does_not_have_stay_none():
    import dataclasses

    rules = dataclasses.replace(metrics.convention("hendrycks-per-image"), name="mine", aupr_rule=None)
    assert metrics.per_image(IMAGES, rules, void={255}).aupr_out is None


@pytest.mark.parametrize("function", [metrics.pooled, metrics.per_image])
def test_nothing_to_evaluate_is_refused(function):
    with pytest.raises(ValueError, match="no image"):
        function([IMAGES[2]], "mask2anomaly", void={255})
    with pytest.raises(ValueError, match="no image"):
        function([], "pebal")


def test_a_generator_and_void_iterator_are_enough():
    expected = metrics.pooled(IMAGES, "ptood", void={255})
    assert metrics.pooled((image for image in IMAGES), void=iter([255])) == expected
