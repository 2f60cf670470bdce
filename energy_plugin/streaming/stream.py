"""Metrics of a stream of scores: exact up to a stated size, binned with stated bounds beyond it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from energy_plugin.batches import codes
from energy_plugin.metrics.conventions import Convention
from energy_plugin.metrics.conventions import convention as look_up
from energy_plugin.metrics.evaluation import Results, evaluate
from energy_plugin.metrics.scores import as_tensor, divide, join
from energy_plugin.metrics.sides import Kind
from energy_plugin.streaming.bounds import (
    BinnedSide,
    Bounded,
    bounded_fpr,
    bounded_precision_recall_area,
    bounded_roc_area,
)
from energy_plugin.streaming.histogram import Histogram

_KINDS: tuple[Kind, Kind] = ("id", "ood")
_DTYPES = {None: None, "float32": torch.float32, "float16": torch.float16}


@dataclasses.dataclass(frozen=True, kw_only=True)
class BoundedResults:
    """Figures under one convention, fractions in [0, 1], each with its bounds.

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
        exact: whether the figures come from the scores themselves; all bounds are 0 then.
    """

    convention: str
    positive: Kind
    auroc: Bounded
    aupr_in: Bounded | None
    aupr_out: Bounded | None
    fpr95: Bounded
    fpr99: Bounded
    n_id: int
    n_ood: int
    exact: bool

    @property
    def values(self) -> Results:
        """The figures without their bounds."""
        figures: dict[str, Any] = {name: figure and figure.value for name, figure in self._figures()}
        return Results(
            convention=self.convention,
            positive=self.positive,
            n_id=self.n_id,
            n_ood=self.n_ood,
            **figures,
        )

    def to_dict(self) -> dict[str, Any]:
        """The figures by name, each followed by its bound under `<name>_bound`."""
        found: dict[str, Any] = {"convention": self.convention, "positive": self.positive}
        for name, figure in self._figures():
            found[name] = None if figure is None else figure.value
            found[f"{name}_bound"] = None if figure is None else figure.bound
        return {**found, "n_id": self.n_id, "n_ood": self.n_ood, "exact": self.exact}

    def _figures(self) -> Iterable[tuple[str, Bounded | None]]:
        for name in ("auroc", "aupr_in", "aupr_out", "fpr95", "fpr99"):
            yield name, getattr(self, name)


class StreamingMetrics:
    """Collect scores batch by batch in memory that does not grow with their number.

    Up to `exact_up_to` scores are kept and the figures are exact. Beyond that they are counted in bins whose
    range grows with the scores (adjacent bins merge), and each figure comes with a rigorous bound: of all
    ways in which the scores may lie inside their bins, none gives a figure further away. A single far-off
    score widens all bins; the bounds then say so.

    The result does not depend on the order of the scores, on how they are cut into batches, or on how they
    are spread over streams that are merged at the end.

    Args:
        convention: whose figures `compute` gives; a key of `CONVENTIONS` or a record of one's own.
        exact_up_to: number of scores, both kinds together, up to which figures are exact (8 bytes each at
            most).
        bins: number of bins beyond that, at least 2; between half and all of them are used, 16 bytes each.
        void: label code or codes that `update` drops.

    Raises:
        LookupError: no convention has this name.
        ValueError: a number is out of range, or the convention does not pool its scores.

    Example:
        >>> metrics = StreamingMetrics("fishyscapes-server", void={255})
        >>> metrics.update(torch.tensor([0.1, 0.7, 0.9]), torch.tensor([0, 255, -1]))
        >>> metrics.compute().auroc.value
        1.0
    """

    def __init__(
        self,
        convention: str | Convention = "pytorch_ood",
        *,
        exact_up_to: int = 1 << 20,
        bins: int = 1 << 17,
        void: int | Iterable[int] = (),
    ) -> None:
        if exact_up_to < 0 or bins < 2:
            raise ValueError(f"exact_up_to must be >= 0 and bins >= 2, got {exact_up_to} and {bins}")
        self.convention = _pooling(look_up(convention))
        self.exact_up_to, self.bins, self.void = exact_up_to, bins, frozenset(codes(void))
        self.reset()

    def reset(self) -> None:
        """Forget all scores."""
        self._numbers = {"id": 0, "ood": 0}
        self._kept: dict[Kind, list[Tensor]] = {"id": [], "ood": []}
        self._histogram: Histogram | None = None

    @property
    def n_id(self) -> int:
        """Number of in-distribution scores so far."""
        return self._numbers["id"]

    @property
    def n_ood(self) -> int:
        """Number of out-of-distribution scores so far."""
        return self._numbers["ood"]

    @property
    def exact(self) -> bool:
        """Whether all scores are still kept."""
        return self._histogram is None

    def update(self, scores: Tensor, labels: Tensor) -> None:
        """Take labelled scores: `>= 0` in-distribution, `< 0` out-of-distribution, void codes dropped.

        Args:
            scores: outlier scores of any shape and real dtype.
            labels: integer labels of the same shape.

        Raises:
            TypeError: scores or labels of a wrong kind.
            ValueError: shapes differ, or scores are NaN; nothing was taken then.
        """
        parts = divide(scores, labels, void=self.void)
        for part in parts:
            _refuse_nan(part)
        for kind, part in zip(_KINDS, parts, strict=True):
            self._take(part, kind)

    def add(self, scores: Tensor, kind: Kind) -> None:
        """Take scores of one kind.

        Args:
            scores: outlier scores of any shape and real dtype.
            kind: `"id"` or `"ood"`.

        Raises:
            TypeError: scores that are no real numbers.
            ValueError: an unknown kind, or scores are NaN; nothing was taken then.
        """
        if kind not in _KINDS:
            raise ValueError(f"kind must be 'id' or 'ood', got {kind!r}")
        flat = as_tensor(scores, "scores").reshape(-1)
        _refuse_nan(flat)
        self._take(flat, kind)

    def merge(self, other: StreamingMetrics) -> StreamingMetrics:
        """Add the scores of another stream, say of another process, and return self.

        Raises:
            TypeError: `other` is no StreamingMetrics.
            ValueError: the two differ in `bins`, `exact_up_to` or the rounding of scores.
        """
        if not isinstance(other, StreamingMetrics):
            raise TypeError(f"expected a StreamingMetrics, got {type(other).__name__}")
        mine, theirs = (
            (stream.bins, stream.exact_up_to, stream.convention.score_dtype) for stream in (self, other)
        )
        if mine != theirs:
            raise ValueError(
                f"streams differ in (bins, exact_up_to, score_dtype): {mine} and {theirs}; make both alike"
            )
        for kind in _KINDS:
            self._kept[kind].extend(other._kept[kind])
            self._numbers[kind] += other._numbers[kind]
        if other._histogram is not None:
            self._binned().merge(other._histogram)
        self._bin_if_many()
        return self

    def compute(self, convention: str | Convention | None = None) -> BoundedResults:
        """Figures of all scores so far; more may follow.

        Args:
            convention: another convention than the stream's own; it must round scores in the same way.

        Raises:
            LookupError: no convention has this name.
            ValueError: one kind is missing, or the convention cannot be computed from a stream.
        """
        rules = self.convention if convention is None else _pooling(look_up(convention))
        if rules.score_dtype != self.convention.score_dtype:
            raise ValueError(
                f"convention {rules.name!r} rounds scores to {rules.score_dtype}, this stream rounded "
                f"them to {self.convention.score_dtype}: make a stream with StreamingMetrics({rules.name!r})"
            )
        if not self.n_id or not self.n_ood:
            raise ValueError(f"both kinds are needed, got {self.n_id} ID and {self.n_ood} OOD scores")
        if self._histogram is None:
            return _exactly(evaluate(join(self._kept["id"]), join(self._kept["ood"]), rules))
        return _within_bounds(self._histogram.counts, rules)

    def state_dict(self) -> dict[str, Any]:
        """All that was collected, as tensors and plain numbers (loads with `weights_only=True`)."""
        kept = {kind: join(parts).cpu() if parts else torch.empty(0) for kind, parts in self._kept.items()}
        return {
            "settings": self._settings(),
            "numbers": dict(self._numbers),
            "kept": kept,
            "histogram": None if self._histogram is None else self._histogram.state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what another stream with the same settings had collected.

        Raises:
            ValueError: the settings differ.
        """
        if state["settings"] != self._settings():
            raise ValueError(
                f"the state is of a stream with {state['settings']}, this stream has {self._settings()}"
            )
        self.reset()
        self._numbers = {kind: int(state["numbers"][kind]) for kind in _KINDS}
        self._kept = {kind: [state["kept"][kind]] if len(state["kept"][kind]) else [] for kind in _KINDS}
        if state["histogram"] is not None:
            self._binned().restore(state["histogram"])

    def _settings(self) -> dict[str, Any]:
        """What two streams must share."""
        return {
            "bins": self.bins,
            "exact_up_to": self.exact_up_to,
            "score_dtype": self.convention.score_dtype,
            "void": sorted(self.void),
        }

    def _take(self, scores: Tensor, kind: Kind) -> None:
        """Keep or count scores, shape (N,), that are known to be sound."""
        if not scores.numel():
            return
        dtype = _DTYPES[self.convention.score_dtype]
        scores = scores if dtype is None else as_tensor(scores.to(dtype), "scores")
        self._numbers[kind] += scores.numel()
        if self._histogram is None and sum(self._numbers.values()) <= self.exact_up_to:
            self._kept[kind].append(scores.clone())  # the caller may reuse the memory
        else:
            self._bin_if_many()
            self._binned().add(scores, _KINDS.index(kind))

    def _bin_if_many(self) -> None:
        """Move kept scores into bins once there are more than are to be kept."""
        if sum(self._numbers.values()) <= self.exact_up_to:
            return
        for index, kind in enumerate(_KINDS):
            for part in self._kept[kind]:
                self._binned().add(part, index)
            self._kept[kind] = []

    def _binned(self) -> Histogram:
        """The histogram, made on first use."""
        if self._histogram is None:
            self._histogram = Histogram(self.bins)
        return self._histogram


def _refuse_nan(scores: Tensor) -> None:
    """Refuse NaN by ValueError."""
    if scores.is_floating_point() and bool(scores.isnan().any()):
        raise ValueError(
            f"scores contain {int(scores.isnan().sum())} NaN of {scores.numel()}; NaN has no rank, "
            "find out where the network or the score produced it"
        )


def _pooling(rules: Convention) -> Convention:
    """Refuse a convention that is not one metric over all scores."""
    if rules.pooling != "pooled":
        raise ValueError(
            f"convention {rules.name!r} takes the mean over each {rules.pooling}, a stream knows none: "
            "use energy_plugin.metrics.per_image"
        )
    return rules


def _exactly(results: Results) -> BoundedResults:
    """Results whose bounds are zero."""
    figures: dict[str, Any] = {
        name: None if (value := getattr(results, name)) is None else Bounded(value, value, value)
        for name in ("auroc", "aupr_in", "aupr_out", "fpr95", "fpr99")
    }
    return BoundedResults(
        convention=results.convention,
        positive=results.positive,
        n_id=results.n_id,
        n_ood=results.n_ood,
        exact=True,
        **figures,
    )


def _within_bounds(counts: Tensor, rules: Convention) -> BoundedResults:
    """Results of binned scores: counts of ID and OOD, lowest bin first, shape (2, B)."""
    if rules.turns_round or rules.auroc_rule != "exact":
        raise ValueError(
            f"convention {rules.name!r} needs the scores themselves, and they were binned: raise exact_up_to"
        )
    inside, outside = counts
    sides = {"id": BinnedSide(inside, outside), "ood": BinnedSide(outside.flip(0), inside.flip(0))}
    side, areas = sides[rules.positive], rules.aupr_rule
    return BoundedResults(
        convention=rules.name,
        positive=rules.positive,
        auroc=bounded_roc_area(sides["ood"]),
        aupr_in=None if areas is None else bounded_precision_recall_area(sides["id"], areas),
        aupr_out=None if areas is None else bounded_precision_recall_area(sides["ood"], areas),
        fpr95=bounded_fpr(side, rules.fpr_rule, 0.95),
        fpr99=bounded_fpr(side, rules.fpr_rule, 0.99),
        n_id=int(inside.sum()),
        n_ood=int(outside.sum()),
        exact=False,
    )
