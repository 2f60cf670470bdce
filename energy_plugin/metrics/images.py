"""Figures of many images: one metric over all pixels, or the mean of the metric of each image."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor

from energy_plugin.batches import codes
from energy_plugin.metrics.conventions import Convention
from energy_plugin.metrics.conventions import convention as look_up
from energy_plugin.metrics.evaluation import Results, evaluate
from energy_plugin.metrics.scores import divide, join

Images = Iterable[tuple[Tensor, Tensor]]


def over_images(
    images: Images, convention: str | Convention = "ptood", *, void: int | Iterable[int] = ()
) -> Results:
    """Compute the figures of a convention over images, pooled or per image as the convention has it.

    Args:
        images: pairs of outlier scores and labels, each pair of one shape; a pair is an image, or a batch of
            images where the convention takes the mean over batches.
        convention: a key of `CONVENTIONS`, or a record of one's own.
        void: label code or codes that belong to neither kind and are dropped.

    Raises:
        TypeError: scores or labels of a wrong kind, or images that are no pairs.
        ValueError: one kind is missing altogether, scores are NaN, or shapes differ.
        LookupError: no convention has this name.
    """
    rules = look_up(convention)
    return (pooled if rules.pooling == "pooled" else per_image)(images, rules, void=void)


def pooled(
    images: Images, convention: str | Convention = "ptood", *, void: int | Iterable[int] = ()
) -> Results:
    """Put the pixels of all images into one list and compute the figures once.

    Images without OOD pixels join the list unless the convention skips them. All scores are kept in memory;
    `energy_plugin.streaming` does without. Arguments and errors are those of `over_images`.
    """
    rules, dropped = look_up(convention), codes(void)
    kept: list[tuple[Tensor, Tensor]] = []
    skipped = 0
    for scores, labels in _pairs(images):
        id_scores, ood_scores = divide(scores, labels, void=dropped)
        if rules.lacking != "keep" and not len(ood_scores):
            skipped += 1
            continue
        kept.append((id_scores, ood_scores))
    if not kept:
        raise ValueError(f"no image is left, {skipped} had no OOD pixels (label < 0)")
    inside, outside = zip(*kept, strict=True)
    return dataclasses.replace(evaluate(join(inside), join(outside), rules), n_skipped=skipped)


def per_image(
    images: Images, convention: str | Convention = "hendrycks-per-image", *, void: int | Iterable[int] = ()
) -> Results:
    """Compute the figures of each image and take their mean.

    An image that lacks one kind has no figures: it is skipped, or counts as 1 in each figure where the
    convention says so (`lacking="one"`). Batches are weighted by their number of images. Arguments and errors
    are those of `over_images`.
    """
    rules, dropped = look_up(convention), codes(void)
    weights: list[int] = []
    found: list[Results | None] = []
    skipped = n_id = n_ood = 0
    for scores, labels in _pairs(images):
        id_scores, ood_scores = divide(scores, labels, void=dropped)
        lacking = not len(id_scores) or not len(ood_scores)
        if lacking and rules.lacking != "one":
            skipped += 1
            continue
        found.append(None if lacking else evaluate(id_scores, ood_scores, rules))
        weights.append(len(scores) if rules.pooling == "batch" else 1)
        n_id, n_ood = n_id + len(id_scores), n_ood + len(ood_scores)
    first = next((results for results in found if results is not None), None)
    if first is None:
        raise ValueError(f"no image has both kinds, {skipped + len(found)} lack ID or OOD pixels")
    means: dict[str, Any] = {
        name: None if getattr(first, name) is None else _mean(found, weights, name)
        for name in ("auroc", "aupr_in", "aupr_out", "fpr95", "fpr99")
    }
    counts: dict[str, Any] = {"n_id": n_id, "n_ood": n_ood, "n_images": len(found), "n_skipped": skipped}
    return dataclasses.replace(first, **means, **counts)


def _pairs(images: Images) -> Iterator[tuple[Tensor, Tensor]]:
    """Go through the pairs, or say that they are none: a tensor of two rows would pass for a pair."""
    for pair in images:
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise TypeError(
                f"images must be pairs (scores, labels), got a {type(pair).__name__} among them: one image "
                "alone is [(scores, labels)]"
            )
        yield pair[0], pair[1]


def _mean(found: list[Results | None], weights: list[int], name: str) -> float:
    """Weighted mean of one figure; an image without figures counts as 1."""
    values = [1.0 if results is None else float(getattr(results, name)) for results in found]
    return sum(value * weight for value, weight in zip(values, weights, strict=True)) / sum(weights)
