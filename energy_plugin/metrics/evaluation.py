"""The metrics themselves: single figures, and all figures of one source's convention at once."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import torch
from torch import Tensor

from energy_plugin.errors import near_misses
from energy_plugin.metrics.areas import precision_recall_area
from energy_plugin.metrics.conventions import Convention
from energy_plugin.metrics.conventions import convention as look_up
from energy_plugin.metrics.rules import FPR_RULES
from energy_plugin.metrics.scores import as_tensor, sorted_pair
from energy_plugin.metrics.sides import Kind, Ranked, Side


def auroc(id_scores: Tensor, ood_scores: Tensor) -> float:
    """Area under the ROC curve: the share of pairs whose OOD score is higher; ties count half.

    It is the same whichever kind is called positive.

    Args:
        id_scores: outlier scores of in-distribution samples, any shape and real dtype; infinities rank
            as such.
        ood_scores: those of out-of-distribution samples.

    Returns:
        A fraction in [0, 1], from exact counts.

    Raises:
        TypeError: scores that are no real numbers.
        ValueError: one kind is missing, or scores are NaN.

    Example:
        >>> auroc(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 2.0]))
        0.875
    """
    return Ranked(*sorted_pair(id_scores, ood_scores)).roc_area()


def aupr(
    id_scores: Tensor,
    ood_scores: Tensor,
    *,
    positive: Kind = "ood",
    rule: Literal["step", "trapezoid", "trapezoid-zero"] = "step",
) -> float:
    """Area under the precision-recall curve of the positive kind, tied scores entering together.

    Args:
        id_scores: outlier scores of in-distribution samples, any shape and real dtype.
        ood_scores: those of out-of-distribution samples.
        positive: `"ood"` (AUPR-OUT) or `"id"` (AUPR-IN; low scores are then the confident ones).
        rule: `"step"` is the average precision; `"trapezoid"` draws straight lines and starts at recall 0
            with precision 1, as scikit-learn's `auc(recall, precision)`; `"trapezoid-zero"` starts with
            precision 0.

    Returns:
        A fraction in [0, 1], float64.

    Raises:
        TypeError: scores that are no real numbers.
        ValueError: one kind is missing, scores are NaN, or an argument has another value.
    """
    return precision_recall_area(Ranked(*sorted_pair(id_scores, ood_scores)).side(positive), rule)


def fpr_at_tpr(
    id_scores: Tensor, ood_scores: Tensor, *, tpr: float = 0.95, positive: Kind = "ood", rule: str = "first"
) -> float:
    """False positive rate at a threshold that reaches a true positive rate.

    Args:
        id_scores: outlier scores of in-distribution samples, any shape and real dtype.
        ood_scores: those of out-of-distribution samples.
        tpr: true positive rate, in (0, 1].
        positive: `"ood"` or `"id"`; the two give different figures.
        rule: which threshold is taken, a name of `FPR_RULES`; `"first"` is the highest one with TPR >= `tpr`.

    Returns:
        A fraction in [0, 1], from exact counts.

    Raises:
        TypeError: scores that are no real numbers.
        ValueError: one kind is missing, scores are NaN, or an argument has another value.
    """
    if not 0 < tpr <= 1:
        hint = " (a fraction is expected, not per cent)" if 1 < tpr <= 100 else ""
        raise ValueError(f"tpr must be in (0, 1], got {tpr}{hint}")
    if rule not in FPR_RULES:
        raise ValueError(f"unknown rule {rule!r}. {near_misses(rule, FPR_RULES, most=len(FPR_RULES))}")
    return FPR_RULES[rule].fpr(Ranked(*sorted_pair(id_scores, ood_scores)).side(positive), tpr)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Results:
    """Figures under one convention, fractions in [0, 1].

    Attributes:
        convention: name of the convention.
        positive: its positive kind.
        auroc: area under the ROC curve.
        aupr_in: area under the precision-recall curve, ID positive; None where the source gives none.
        aupr_out: the same with OOD positive.
        fpr95: false positive rate at 95 % true positive rate.
        fpr99: the same at 99 %.
        n_id: number of in-distribution scores.
        n_ood: number of out-of-distribution scores.
        n_images: number of images (or batches) that the figures are means of; None for one metric over all.
        n_skipped: number of images that lacked one kind and were left out.
    """

    convention: str
    positive: Kind
    auroc: float
    aupr_in: float | None
    aupr_out: float | None
    fpr95: float
    fpr99: float
    n_id: int
    n_ood: int
    n_images: int | None = None
    n_skipped: int = 0

    @property
    def aupr(self) -> float | None:
        """What the source calls just AUPR: the area of its positive kind."""
        return self.aupr_in if self.positive == "id" else self.aupr_out

    @property
    def tnr95(self) -> float:
        """Share of negatives rejected at 95 % true positive rate, as some logs print it."""
        return 1 - self.fpr95

    @property
    def tnr99(self) -> float:
        """Share of negatives rejected at 99 % true positive rate."""
        return 1 - self.fpr99

    def to_dict(self) -> dict[str, Any]:
        """The fields by name."""
        return dataclasses.asdict(self)


def evaluate(id_scores: Tensor, ood_scores: Tensor, convention: str | Convention = "pytorch_ood") -> Results:
    """Compute all figures of one source's convention.

    Args:
        id_scores: outlier scores (higher = more OOD) of in-distribution samples, any shape and real dtype.
        ood_scores: those of out-of-distribution samples.
        convention: a key of `CONVENTIONS`, or a record of one's own.

    Raises:
        TypeError: scores that are no real numbers.
        ValueError: one kind is missing, or scores are NaN.
        LookupError: no convention has this name.

    Example:
        >>> evaluate(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 2.0]), "energy_ood").fpr95
        0.5
    """
    rules = look_up(convention)
    id_scores, ood_scores = as_tensor(id_scores, "id_scores"), as_tensor(ood_scores, "ood_scores")
    if rules.score_dtype is not None:
        dtype = {"float32": torch.float32, "float16": torch.float16}[rules.score_dtype]
        id_scores, ood_scores = id_scores.to(dtype), ood_scores.to(dtype)
    ranked = Ranked(*sorted_pair(id_scores, ood_scores))
    if rules.turns_round and ranked.roc_area() < 0.5:
        ranked = Ranked(*sorted_pair(-id_scores, -ood_scores))
    sides: dict[Kind, Side] = {"id": ranked.side("id"), "ood": ranked.side("ood")}
    side = sides[rules.positive]
    rule, areas = FPR_RULES[rules.fpr_rule], rules.aupr_rule
    return Results(
        convention=rules.name,
        positive=rules.positive,
        auroc=ranked.roc_area() if rules.auroc_rule == "exact" else _area_on_grid(side, 4),
        aupr_in=None if areas is None else precision_recall_area(sides["id"], areas),
        aupr_out=None if areas is None else precision_recall_area(sides["ood"], areas),
        fpr95=rule.fpr(side, 0.95),
        fpr99=rule.fpr(side, 0.99),
        n_id=sides["id"].positives,
        n_ood=sides["ood"].positives,
    )


def _area_on_grid(side: Side, step: int) -> float:
    """Area under the ROC curve by the trapezoidal rule over every `step`-th joint score."""
    tp, fp = side.grid(step)
    tpr, fpr = (
        torch.nn.functional.pad(counts.double() / total, (1, 0), value=1.0)
        for counts, total in ((tp, side.positives), (fp, side.negatives))
    )
    tpr, fpr = (torch.nn.functional.pad(rates, (0, 1)) for rates in (tpr, fpr))
    return float(torch.trapezoid(1 - fpr, tpr).neg())
