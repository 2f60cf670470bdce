"""Scores and labels at the border: dtypes, NaN, label codes and the direction of a score."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor

from energy_plugin.batches import codes
from energy_plugin.metrics.sides import Ranked


def split(scores: Tensor, labels: Tensor, *, void: int | Iterable[int] = ()) -> tuple[Tensor, Tensor]:
    """Divide labelled scores into those of in-distribution and of out-of-distribution samples.

    Args:
        scores: outlier scores of any shape and real dtype; in segmentation one score a pixel.
        labels: labels of the same shape; `>= 0` is in-distribution, `< 0` is out-of-distribution.
        void: label code or codes that belong to neither kind and are dropped, such as 255 or `{255, 254}`.

    Returns:
        The in-distribution scores and the out-of-distribution scores, each of shape (N,).

    Raises:
        TypeError: labels are boolean or complex.
        ValueError: the shapes differ, labels are not whole numbers, or one kind is missing; the message names
            the codes that were seen and, where they look like another convention, how to translate them.

    Example:
        >>> split(torch.tensor([0.1, 0.9, 0.4]), torch.tensor([3, -1, 255]), void={255})
        (tensor([0.1000]), tensor([0.9000]))
    """
    dropped = codes(void)
    id_scores, ood_scores = divide(scores, labels, void=dropped)
    if not id_scores.numel() or not ood_scores.numel():
        raise ValueError(
            _one_kind(torch.as_tensor(labels), id_scores.numel(), ood_scores.numel(), sorted(dropped))
        )
    return id_scores, ood_scores


def divide(scores: Tensor, labels: Tensor, *, void: int | Iterable[int] = ()) -> tuple[Tensor, Tensor]:
    """Divide labelled scores as `split` does, but accept that one kind is missing.

    Raises:
        TypeError: labels are boolean or complex.
        ValueError: the shapes differ, or labels are not whole numbers.
    """
    scores, labels = as_tensor(scores, "scores"), torch.as_tensor(labels).detach()
    if labels.dtype == torch.bool or labels.is_complex():
        raise TypeError(
            f"labels are {labels.dtype}, which does not say which value is OOD; "
            "give integers, in-distribution >= 0 and out-of-distribution < 0, "
            "for instance torch.where(is_ood, -1, 0)"
        )
    if scores.shape != labels.shape:
        raise ValueError(
            f"scores have shape {tuple(scores.shape)} and labels {tuple(labels.shape)}; "
            "each score needs one label"
        )
    if labels.is_floating_point() and not bool((labels == labels.round()).all()):
        raise ValueError(f"labels are {labels.dtype} and not whole numbers; give class indices")
    labels = labels.to(scores.device).reshape(-1)
    scores = scores.reshape(-1)
    ood, ident = labels < 0, labels >= 0
    for code in codes(void):
        kept = labels != code
        ood &= kept
        ident &= kept
    return scores[ident], scores[ood]


def _one_kind(labels: Tensor, n_id: int, n_ood: int, void: list[int]) -> str:
    """Say which codes were seen and, where a known trap fits, which one it is."""
    values, counts = torch.unique(labels, return_counts=True)
    seen = {int(code): int(count) for code, count in zip(values.tolist(), counts.tolist(), strict=True)}
    shown = ", ".join(f"{code} ({count}x)" for code, count in list(seen.items())[:8])
    message = (
        f"both kinds are needed, got {n_id} ID (label >= 0) and {n_ood} OOD (label < 0) samples; "
        f"labels seen: {shown or 'none'}{' ...' if len(seen) > 8 else ''}"
        f"{f'; void codes dropped: {void}' if void else ''}."
    )
    if labels.dtype == torch.uint8 and 255 in seen:
        return message + (
            " In uint8 the label -1 becomes 255: cast the mask to int64 first and write -1 for OOD, "
            "or, if 255 marks void pixels, name it with void={255} and say which code is OOD."
        )
    if not n_ood and set(seen) - set(void) == {0, 1}:
        return message + (
            " Labels 0 and 1 look like the coding of oodeel or SegmentMeIfYouCan (1 = OOD): "
            "translate them first, torch.where(labels == 1, -1, 0)."
        )
    return message


def as_tensor(scores: Tensor, name: str) -> Tensor:
    """Take scores as a detached real tensor whose order and values are those that came.

    Half precision becomes float32 and small integers int64, which keeps every value.

    Raises:
        TypeError: the scores are not numbers, or boolean or complex.
    """
    try:
        tensor = torch.as_tensor(scores).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"{name} must be a tensor of real numbers, got {type(scores).__name__}") from error
    if tensor.dtype == torch.bool or tensor.is_complex():
        raise TypeError(f"{name} must be real numbers, got {tensor.dtype}")
    if tensor.device.type == "mps":  # no float64 there
        tensor = tensor.cpu()
    if tensor.dtype in (torch.float32, torch.float64):
        return tensor
    return tensor.float() if tensor.is_floating_point() else tensor.long()


def join(parts: Iterable[Tensor]) -> Tensor:
    """Put scores of several tensors into one, shape (N,), keeping every value where their dtypes differ."""
    tensors = [part.reshape(-1) for part in parts]
    if len({tensor.dtype for tensor in tensors}) > 1:
        tensors = [tensor.double() for tensor in tensors]
    return torch.cat([tensor.to(tensors[0].device) for tensor in tensors])


def sorted_pair(id_scores: Tensor, ood_scores: Tensor) -> tuple[Tensor, Tensor]:
    """Check two sets of scores and sort each, ascending.

    Returns:
        The sorted in-distribution and out-of-distribution scores, shapes (N,) and (M,), of one dtype.

    Raises:
        TypeError: scores that are no real numbers.
        ValueError: one kind is missing, or scores are NaN.
    """
    id_scores, ood_scores = as_tensor(id_scores, "id_scores"), as_tensor(ood_scores, "ood_scores")
    if not id_scores.numel() or not ood_scores.numel():
        raise ValueError(
            f"both kinds are needed, got {id_scores.numel()} ID and {ood_scores.numel()} OOD scores"
        )
    if id_scores.dtype != ood_scores.dtype:
        id_scores, ood_scores = id_scores.double(), ood_scores.double()
    ordered = _sort(id_scores), _sort(ood_scores.to(id_scores.device))
    if any(math.isnan(values[-1]) for values in ordered):  # NaN sorts last
        missing = [int(values.isnan().sum()) for values in ordered]
        raise ValueError(
            f"scores contain NaN: {missing[0]} of {len(ordered[0])} ID and "
            f"{missing[1]} of {len(ordered[1])} OOD; "
            "NaN has no rank, find out where the network or the score produced it"
        )
    return ordered


def _sort(values: Tensor) -> Tensor:
    """Sort ascending, NaN last, into memory of our own."""
    values = values.reshape(-1)
    if values.device.type != "cpu":
        return torch.sort(values).values
    # torch.sort always makes an int64 index beside the values and is two to three times slower on a CPU;
    # where NumPy is installed, its sort works in place on the memory of the tensor.
    copy = values.clone(memory_format=torch.contiguous_format)
    try:
        copy.numpy().sort()
    except RuntimeError:  # "Numpy is not available"
        return torch.sort(copy).values
    return copy


def as_outlier_scores(scores: Tensor, *, higher_is: Literal["ood", "id"]) -> Tensor:
    """Turn scores of either direction into outlier scores: higher = more out-of-distribution.

    Args:
        scores: scores of any shape, a tensor or what becomes one; integers come back as float64 where the
            sign turns.
        higher_is: what a high score means where the scores come from: `"ood"` (pytorch-ood, oodeel: the
            energy) or `"id"` (OpenOOD, detectors: a confidence, such as logsumexp).

    Returns:
        The scores themselves, or their negatives; a tensor.

    Raises:
        TypeError: the scores are no real numbers.
        ValueError: `higher_is` is something else.
    """
    if higher_is not in ("ood", "id"):
        raise ValueError(f"higher_is must be 'ood' or 'id', got {higher_is!r}")
    if not isinstance(scores, Tensor):
        scores = as_tensor(scores, "scores")
    if higher_is == "ood":
        return scores
    return -(scores if scores.is_floating_point() else scores.double())


def check_orientation(id_scores: Tensor, ood_scores: Tensor) -> float:
    """Refuse scores that are upside down: those of OOD samples lower than those of ID samples.

    A detector can be bad, and some outliers look more typical than the data; but an AUROC below 0.4 that is
    also four standard errors below one half is nearly always a score with the other sign.

    Args:
        id_scores: outlier scores of in-distribution samples, any shape.
        ood_scores: those of out-of-distribution samples; see `split` for labelled scores.

    Returns:
        The AUROC.

    Raises:
        TypeError: scores that are no real numbers.
        ValueError: the scores look upside down, one kind is missing, or scores are NaN.
    """
    ranked = Ranked(*sorted_pair(id_scores, ood_scores))
    area = ranked.roc_area()
    n_id, n_ood = (len(ranked.sorted[kind]) for kind in ("id", "ood"))
    error = math.sqrt((n_id + n_ood + 1) / (12 * n_id * n_ood))  # of the AUROC of a score that knows nothing
    if area < min(0.4, 0.5 - 4 * error):
        raise ValueError(
            f"AUROC is {area:.4f} on {n_id} ID and {n_ood} OOD scores: they look upside down. Here a higher "
            'score means more OOD; for confidences use as_outlier_scores(scores, higher_is="id"), and check '
            f"that labels < 0 are the OOD samples. Turned round, AUROC is {1 - area:.4f}."
        )
    return area
