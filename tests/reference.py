"""The loss once more, sample by sample in NumPy float64, from the equation and from nothing of ours."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def log_sum_exp(row: Array) -> float:
    peak = row.max()
    return float(peak + np.log(np.exp(row - peak).sum()))


def sample_terms(
    row: Array,
    target: int,
    *,
    margin_in: float,
    margin_out: float,
    smoothing: float = 0.0,
    weight: Array | None = None,
) -> tuple[float, float]:
    """Cross-entropy and hinge of one sample."""
    lse = log_sum_exp(row)
    if target < 0:
        return 0.0, max(0.0, margin_out + lse) ** 2
    weights = np.ones(len(row)) if weight is None else weight
    log_p = row - lse
    entropy = (
        -(1 - smoothing) * weights[target] * log_p[target] - smoothing / len(row) * (weights * log_p).sum()
    )
    return float(entropy), max(0.0, -lse - margin_in) ** 2


def loss(
    logits: Array,
    targets: npt.NDArray[np.int64],
    *,
    alpha: float,
    margin_in: float,
    margin_out: float,
    reduction: str,
    void: int | None = None,
    smoothing: float = 0.0,
    weight: Array | None = None,
) -> Array | float:
    """B x C x ... logits and B x ... targets to the loss; loops, so that nothing can broadcast."""
    rows = np.moveaxis(logits, 1, -1).reshape(-1, logits.shape[1])
    flat = targets.reshape(-1)
    entropies, hinges = np.zeros(len(flat)), np.zeros(len(flat))
    for i, (row, target) in enumerate(zip(rows, flat, strict=True)):
        if target != void:
            entropies[i], hinges[i] = sample_terms(
                row,
                int(target),
                margin_in=margin_in,
                margin_out=margin_out,
                smoothing=smoothing,
                weight=weight,
            )
    known, outlier = (flat >= 0) & (flat != void), (flat < 0) & (flat != void)
    if reduction == "none":
        return (entropies + alpha * hinges).reshape(targets.shape)
    if reduction == "sum":
        return float((entropies + alpha * hinges).sum())
    mass = known.sum() if weight is None else weight[flat[known]].sum()
    entropy = entropies.sum() / mass if mass else 0.0
    total = known.sum() + outlier.sum()
    if reduction == "mean":
        return float(entropy * known.sum() / max(total, 1) + alpha * hinges.sum() / max(total, 1))
    means = [hinges[group].mean() if group.any() else 0.0 for group in (known, outlier)]
    return float(entropy + alpha * sum(means))
