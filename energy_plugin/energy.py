"""The maths in plain PyTorch: the specification that everything faster is held against.

Source: Liu, Wang, Owens, Li, "Energy-based Out-of-distribution Detection", NeurIPS 2020: the energy score is
equation 4, the fine-tuning objective stands in section 3.3.

One log-sum-exp per sample serves both terms: the cross-entropy is ``lse - x_y`` and the energy ``-lse``.
Nothing here reads a value back to the host (no boolean indexing, no branch on data), so a GPU never waits and
`torch.compile` never breaks the graph; `nonfinite="raise"` is the one exception, by its nature.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

Reduction = Literal["none", "mean", "group_mean", "sum"]
Nonfinite = Literal["propagate", "raise", "skip"]

REDUCTIONS: tuple[str, ...] = ("none", "mean", "group_mean", "sum")
NONFINITE: tuple[str, ...] = ("propagate", "raise", "skip")

_NO_CLASS = -100  # what `nll_loss` skips; labels are rewritten to it, so it claims no label of the user's


def energy(logits: Tensor, *, temperature: float = 1.0, dim: int = 1) -> Tensor:
    """Return the energy E(x) = -T * logsumexp(x / T) of every sample; higher = more OOD.

    Liu et al. 2020, equation 4.

    Args:
        logits: any shape with at least the class dimension, a floating dtype.
        temperature: T > 0, in the unit of the logits.
        dim: the class dimension.

    Returns:
        The shape of `logits` without `dim`; float32 for half precision, else the dtype of `logits`. A sample
        whose logits are all -inf has the energy +inf and a zero gradient.

    Raises:
        TypeError: `logits` are not floating point.
        ValueError: the temperature is not a positive, finite number, or there is no class.
    """
    if not 0.0 < temperature < float("inf"):
        raise ValueError(f"temperature must be a positive, finite number, got {temperature!r}.")
    wide = widen(logits, dim)
    if temperature == 1.0:
        return -log_sum_exp(wide, wide.detach().amax(dim), dim)
    scaled = wide / temperature
    return -temperature * log_sum_exp(scaled, scaled.detach().amax(dim), dim)


def widen(logits: Tensor, dim: int = 1) -> Tensor:
    """Return the logits in float32 or better, after the checks that need no value of theirs."""
    if not isinstance(logits, Tensor):
        raise TypeError(f"logits must be a torch.Tensor, got {type(logits).__name__}.")
    if not logits.is_floating_point():
        raise TypeError(f"logits must be floating point, got {logits.dtype}: use `logits.float()`.")
    if not -logits.ndim <= dim < logits.ndim:
        raise ValueError(f"logits of shape {tuple(logits.shape)} have no class dimension {dim}.")
    if logits.shape[dim] == 0:
        raise ValueError(f"logits of shape {tuple(logits.shape)} have no class in dimension {dim}.")
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def log_sum_exp(logits: Tensor, peak: Tensor, dim: int = 1) -> Tensor:
    """Return the log-sum-exp over `dim`; `peak` is the maximum over it.

    torch.logsumexp has a NaN gradient where all logits are -inf. Such samples are computed on zeros and put
    right after, so that they give -inf and no gradient.
    """
    closed = peak == -torch.inf
    lse = torch.logsumexp(logits.masked_fill(closed.unsqueeze(dim), 0.0), dim)
    return lse.masked_fill(closed, -torch.inf)


class Samples(NamedTuple):
    """What the terms of the loss need to know of each sample: one log-sum-exp, and which kind it is.

    The logits are B x C x ..., everything else B x ...
    """

    logits: Tensor  # float32 or better; zeros where the sample has no say (void, skipped, all -inf)
    lse: Tensor
    targets: Tensor  # int64, the class of an ID sample, a code that no class has elsewhere
    is_id: Tensor
    is_ood: Tensor


def samples(
    logits: Tensor,
    targets: Tensor,
    *,
    ignore_index: int | None = None,
    nonfinite: Nonfinite = "propagate",
    read_ood: bool = True,
) -> Samples:
    """Sort the samples into ID, OOD and void and take the one log-sum-exp of each.

    Args:
        logits: B x C x ..., any number of spatial dimensions, floating point.
        targets: B x ..., any integer dtype; >= 0 ID class, < 0 OOD, `ignore_index` void.
        ignore_index: the void code, whatever its sign; None where nothing is void.
        nonfinite: what a NaN or +inf logit does: spoil the value (`propagate`), `raise`, or make its sample
            void (`skip`).
        read_ood: whether the logits of OOD samples count; without a hinge they must not spoil a gradient.

    Raises:
        ValueError: `nonfinite="raise"` met a NaN or +inf logit. This reads a value, so a GPU is waited for.
    """
    wide, targets = widen(logits), targets.long()
    peak = wide.detach().amax(1)
    void = _is_void(targets, ignore_index)
    if nonfinite != "propagate":
        spoilt = ~(peak < torch.inf) & ~void  # amax hands NaN on, and NaN compares false
        if nonfinite == "raise":
            _refuse(spoilt)
        void = void | spoilt
    closed = (peak == -torch.inf) & ~void
    is_id, is_ood = (targets >= 0) & ~void, (targets < 0) & ~void
    mute = void | closed if read_ood else ~is_id | closed
    quiet = wide.masked_fill(mute.unsqueeze(1), 0.0)
    return Samples(
        logits=quiet,
        lse=torch.logsumexp(quiet, 1).masked_fill(closed, -torch.inf),
        targets=torch.where(is_id, targets, _NO_CLASS),
        is_id=is_id,
        is_ood=is_ood,
    )


def _is_void(targets: Tensor, ignore_index: int | None) -> Tensor:
    """Return where the void code stands; the targets are int64, since a narrow type would wrap the code."""
    if ignore_index is None:
        return torch.zeros_like(targets, dtype=torch.bool)
    return targets == ignore_index


def _refuse(spoilt: Tensor) -> None:
    """Raise if any sample is spoilt, saying how many and where the first one is."""
    where = spoilt.nonzero()
    if len(where):
        raise ValueError(
            f"{len(where)} of {spoilt.numel()} samples have a NaN or +inf logit, the first at index "
            f"{tuple(where[0].tolist())}. nonfinite='skip' leaves such samples out."
        )


def cross_entropy(rows: Samples, *, weight: Tensor | None = None, label_smoothing: float = 0.0) -> Tensor:
    """Return the cross-entropy of every ID sample, 0 elsewhere; as PyTorch's with the reduction `none`.

    Args:
        rows: of `samples`.
        weight: C values, the weight of each class.
        label_smoothing: the share of the target that is spread over all classes, in [0, 1].

    Returns:
        B x ..., the weight of the class already in it.
    """
    loss = rows.lse + _minus_chosen(rows)
    if weight is not None:
        loss = loss * class_weights(rows, weight)
    if label_smoothing:
        spread = _spread(rows, weight)
        loss = (1.0 - label_smoothing) * loss + label_smoothing * spread
    # An ID sample whose classes are all masked has no probability left for its class.
    loss = loss.masked_fill(rows.lse == -torch.inf, torch.inf)
    return torch.where(rows.is_id, loss, 0.0)


def _minus_chosen(rows: Samples) -> Tensor:
    """Return -x_y of each ID sample (`nll_loss` of plain logits), or say what a class too many may mean."""
    try:
        return functional.nll_loss(rows.logits, rows.targets, reduction="none", ignore_index=_NO_CLASS)
    except IndexError as error:  # on a CPU; on a GPU it is PyTorch's device assertion
        code = re.search(r"-?\d+", str(error))
        raise IndexError(
            f"{error} The logits have {rows.logits.shape[1]} classes (counted from 0). If the label means "
            f"void, say ignore_index={code[0] if code else '...'}; labels of another suite are brought to "
            "ours by `energy_plugin.labels.translate`."
        ) from error


def _spread(rows: Samples, weight: Tensor | None) -> Tensor:
    """Return the weighted mean over the classes of -log p: the smoothed part of the target."""
    classes = rows.logits.shape[1]
    if weight is None:
        return rows.lse - rows.logits.mean(1)
    shape = [1, classes] + [1] * (rows.logits.ndim - 2)
    mass = weight.to(rows.logits.dtype)
    return (rows.lse * mass.sum() - (rows.logits * mass.view(shape)).sum(1)) / classes


def class_weights(rows: Samples, weight: Tensor) -> Tensor:
    """Return the weight of each ID sample's class, 0 for every other sample."""
    chosen = weight.to(rows.logits.dtype)[rows.targets.clamp(min=0)]
    return torch.where(rows.is_id, chosen, 0.0)


def hinge(rows: Samples, *, margin_in: float, margin_out: float) -> Tensor:
    """Return the squared hinge of every sample's energy, 0 for void.

    relu(E - margin_in)^2 for ID, relu(margin_out - E)^2 for OOD; Liu et al. 2020, section 3.3. T = 1.
    """
    too_high = (-rows.lse - margin_in).relu()
    too_low = (margin_out + rows.lse).relu()
    excess = torch.where(rows.is_id, too_high, torch.where(rows.is_ood, too_low, 0.0))
    return excess.square()


def group_counts(targets: Tensor, *, ignore_index: int | None = None, weight: Tensor | None = None) -> Tensor:
    """Count the ID and the OOD samples, so that means can be taken over more than one batch.

    Args:
        targets: any shape, integer; >= 0 ID, < 0 OOD, `ignore_index` void.
        ignore_index: the void code.
        weight: class weights of the loss, where it has any.

    Returns:
        Two int64 values, ID and OOD, on the device of `targets`; with `weight` three of float64 (float32
        where the device has no such), the third the sum of the weights of the ID samples. Counts add up: over
        micro-batches with `+`, over processes with `torch.distributed.all_reduce`.
    """
    targets = targets.long()
    void = _is_void(targets, ignore_index)
    is_id = (targets >= 0) & ~void
    numbers = torch.stack([is_id.sum(), ((targets < 0) & ~void).sum()])
    if weight is None:
        return numbers
    # Nothing here knows the dtype of the logits: in float32 the sum would spoil a loss of float64.
    exact = torch.float32 if targets.device.type == "mps" else torch.float64
    mass = torch.where(is_id, weight[torch.where(is_id, targets, 0)], 0.0).sum(dtype=exact)
    return torch.cat([numbers.to(exact), mass.unsqueeze(0)])


def counts_of(rows: Samples, weight: Tensor | None = None) -> Tensor:
    """Return `group_counts` of the samples that have a say in this batch."""
    numbers = torch.stack([rows.is_id.sum(), rows.is_ood.sum()])
    if weight is None:
        return numbers
    return torch.cat([numbers.to(rows.lse.dtype), class_weights(rows, weight).sum().unsqueeze(0)])


def reduce(
    classification: Tensor | None, penalty: Tensor | None, rows: Samples, counts: Tensor, reduction: Reduction
) -> Tensor:
    """Join the two terms of every sample into the loss.

    Args:
        classification: the per-sample criterion, 0 for OOD and void; None without one.
        penalty: alpha times the hinge of every sample; None without one.
        rows: of `samples`.
        counts: of `counts_of` or `group_counts`; what the means divide by.
        reduction: `none` gives B x ...; `sum`, `mean` and `group_mean` a scalar.

    Returns:
        `mean`: the mean over all ID and OOD samples. `group_mean`: the criterion's mean over ID plus the
        penalty's mean over ID plus its mean over OOD (Liu et al. 2020, section 3.3). A group without a sample
        adds nothing. With class weights the criterion's mean over ID is the weighted one, as in
        `torch.nn.CrossEntropyLoss`.
    """
    if reduction in ("none", "sum"):
        parts = [part for part in (classification, penalty) if part is not None]
        whole = sum(parts[1:], parts[0])
        return whole if reduction == "none" else whole.sum()
    numbers = counts.to(rows.lse.dtype)
    id_count, ood_count = numbers[0], numbers[1]
    total = torch.zeros((), dtype=rows.lse.dtype, device=rows.lse.device)
    if classification is not None:
        mean = classification.sum() / at_least_one(numbers[2] if len(numbers) > 2 else id_count)
        share = id_count / at_least_one(id_count + ood_count)
        total = total + (mean * share if reduction == "mean" else mean)
    if penalty is not None and reduction == "mean":
        total = total + penalty.sum() / at_least_one(id_count + ood_count)
    elif penalty is not None:
        total = total + torch.where(rows.is_id, penalty, 0.0).sum() / at_least_one(id_count)
        total = total + torch.where(rows.is_ood, penalty, 0.0).sum() / at_least_one(ood_count)
    return total


def at_least_one(count: Tensor) -> Tensor:
    """Return the divisor of a mean: 1 for a group without a sample (or without weight), whose sum is 0."""
    return torch.where(count > 0, count, torch.ones_like(count))


def is_on(alpha: float | Tensor) -> bool:
    """Say whether there is a hinge to compute: with alpha = 0, 0 * inf would spoil a plain cross-entropy."""
    return isinstance(alpha, Tensor) or alpha != 0


def regularized_cross_entropy(
    logits: Tensor,
    targets: Tensor,
    *,
    alpha: float | Tensor = 1.0,
    margin_in: float = -1.0,
    margin_out: float = -1.0,
    reduction: Reduction = "mean",
    weight: Tensor | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    nonfinite: Nonfinite = "propagate",
    counts: Tensor | None = None,
) -> Tensor:
    """Return the energy-regularised cross-entropy: CE + alpha * squared hinge of the energy.

    Liu et al. 2020, section 3.3. The function behind `energy_plugin.EnergyRegularizedLoss`, which checks the
    arguments; here they are taken as they are.

    Args:
        logits: B x C x ..., floating point.
        targets: B x ..., integer; >= 0 ID class, < 0 OOD, `ignore_index` void.
        alpha: weight of the hinge; a tensor may be learnt.
        margin_in: energy that ID samples are pushed below.
        margin_out: energy that OOD samples are pushed above.
        reduction: `none`, `sum`, `mean` (over all samples) or `group_mean` (the paper's objective).
        weight: C class weights of the cross-entropy.
        label_smoothing: of the cross-entropy.
        ignore_index: the void code.
        nonfinite: `propagate`, `raise` or `skip`.
        counts: `group_counts` of more than this batch, for the means.

    Returns:
        A scalar, or B x ... with `none`; float32 or float64.
    """
    hinged = is_on(alpha)
    rows = samples(logits, targets, ignore_index=ignore_index, nonfinite=nonfinite, read_ood=hinged)
    classification = cross_entropy(rows, weight=weight, label_smoothing=label_smoothing)
    penalty = alpha * hinge(rows, margin_in=margin_in, margin_out=margin_out) if hinged else None
    if counts is None:
        counts = counts_of(rows, weight)
    return reduce(classification, penalty, rows, counts, reduction)
