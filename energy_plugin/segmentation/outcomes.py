"""What an evaluation finds for each detector, and how it is collected image by image."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor

from energy_plugin.metrics import Convention, Results, fpr_at_tpr
from energy_plugin.metrics import evaluate as figures_of
from energy_plugin.streaming import StreamingMetrics

EXACT_UP_TO = 1 << 22
BINS = 1 << 20


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figures:
    """Figures of one detector under one convention, fractions in [0, 1].

    Attributes:
        convention: its name.
        positive: its positive kind, of which `fpr95` and `aupr` are.
        auroc: area under the ROC curve.
        aupr_in: area under the precision-recall curve with ID positive; None where the source gives none.
        aupr_out: the same with OOD positive: the average precision that anomaly segmentation reports.
        fpr95_ood: share of ID pixels flagged where 95 % of the OOD pixels are found.
        fpr95_id: share of OOD pixels accepted where 95 % of the ID pixels are.
        n_id: ID pixels.
        n_ood: OOD pixels.
        n_images: images that count.
        n_skipped: images left out for lack of one kind, as the convention has it.
        bound: largest possible distance of a figure from the exact one; 0 where they are exact.
    """

    convention: str
    positive: str
    auroc: float
    aupr_in: float | None
    aupr_out: float | None
    fpr95_ood: float
    fpr95_id: float
    n_id: int
    n_ood: int
    n_images: int
    n_skipped: int = 0
    bound: float = 0.0

    @property
    def fpr95(self) -> float:
        """The FPR95 that the convention means."""
        return self.fpr95_ood if self.positive == "ood" else self.fpr95_id

    @property
    def aupr(self) -> float | None:
        """The area that the convention means."""
        return self.aupr_out if self.positive == "ood" else self.aupr_in


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageFigures:
    """Figures of one image; None where it lacks a kind."""

    name: str
    n_id: int
    n_ood: int
    auroc: float | None = None
    aupr_out: float | None = None
    fpr95: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What was found for one detector.

    Attributes:
        detector: its name.
        figures: by convention.
        images: of each image, under the first convention's rules; empty unless asked for.
    """

    detector: str
    figures: Mapping[str, Figures]
    images: tuple[ImageFigures, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "detector": self.detector,
            "figures": {name: dataclasses.asdict(found) for name, found in self.figures.items()},
            "images": [dataclasses.asdict(found) for found in self.images],
        }


class Tally:
    """Collects the scores of one detector, image by image.

    Args:
        rules: the conventions.
        exact_up_to: scores that are kept before they are counted in bins (`StreamingMetrics`).
        bins: number of bins.
        per_image: whether figures of each image are wanted.
    """

    def __init__(
        self, rules: Sequence[Convention], *, exact_up_to: int, bins: int, per_image: bool = False
    ) -> None:
        self.rules = tuple(rules)
        self.wants_images = per_image
        self.images: list[ImageFigures] = []
        self._means = {rule.name: _Means(rule) for rule in self.rules if rule.pooling != "pooled"}
        self._streams: dict[tuple[str | None, bool], StreamingMetrics] = {}
        for rule in self.rules:
            if rule.pooling == "pooled" and _stream_key(rule) not in self._streams:
                stream = StreamingMetrics(rule, exact_up_to=exact_up_to, bins=bins)
                self._streams[_stream_key(rule)] = stream
        self._kept: dict[bool, int] = {True: 0, False: 0}
        self._seen = 0

    def add(self, id_scores: Tensor, ood_scores: Tensor, name: str) -> None:
        """Take the scores of one image, shapes (N,) and (M,).

        Raises:
            ValueError: scores are NaN.
        """
        self._seen += 1
        for lacking_joins in (True, False):
            self._kept[lacking_joins] += bool(lacking_joins or len(ood_scores))
        for (_, lacking_joins), stream in self._streams.items():
            if lacking_joins or len(ood_scores):
                stream.add(id_scores, "id")
                stream.add(ood_scores, "ood")
        for means in self._means.values():
            means.add(id_scores, ood_scores)
        if self.wants_images:
            self.images.append(_image(name, id_scores, ood_scores, self.rules[0]))

    def merge(self, other: Tally) -> None:
        """Add what another tally of the same settings has collected, in another process say."""
        for key, stream in self._streams.items():
            stream.merge(other._streams[key])
        for name, means in self._means.items():
            means.merge(other._means[name])
        self.images += other.images
        self._seen += other._seen
        for lacking_joins, count in other._kept.items():
            self._kept[lacking_joins] += count

    def figures(self) -> dict[str, Figures]:
        """Figures under every convention.

        Raises:
            ValueError: a kind of pixels is missing altogether.
        """
        return {rule.name: self._figures(rule) for rule in self.rules}

    def _figures(self, rule: Convention) -> Figures:
        if rule.name in self._means:
            return self._means[rule.name].figures()
        key = _stream_key(rule)
        stream, kept = self._streams[key], self._kept[key[1]]
        own = stream.compute(rule)
        other = stream.compute(dataclasses.replace(rule, positive="id" if rule.positive == "ood" else "ood"))
        found = own.values
        rates = {rule.positive: own.fpr95, other.positive: other.fpr95}
        shown = [own.auroc, own.aupr_in, own.aupr_out, *rates.values()]
        return Figures(
            convention=rule.name,
            positive=rule.positive,
            auroc=found.auroc,
            aupr_in=found.aupr_in,
            aupr_out=found.aupr_out,
            fpr95_ood=rates["ood"].value,
            fpr95_id=rates["id"].value,
            n_id=found.n_id,
            n_ood=found.n_ood,
            n_images=kept,
            n_skipped=self._seen - kept,
            bound=max(figure.bound for figure in shown if figure is not None),
        )


class _Means:
    """Sums of the figures of single images, under a convention that takes their mean."""

    def __init__(self, rule: Convention) -> None:
        self._rule = rule
        self._found: list[tuple[Results, dict[str, float]]] = []
        self._ones = self._skipped = self._n_id = self._n_ood = 0

    def add(self, id_scores: Tensor, ood_scores: Tensor) -> None:
        """Take one image."""
        lacking = not len(id_scores) or not len(ood_scores)
        if lacking and self._rule.lacking != "one":
            self._skipped += 1
            return
        self._n_id, self._n_ood = self._n_id + len(id_scores), self._n_ood + len(ood_scores)
        if lacking:
            self._ones += 1
            return
        found = figures_of(id_scores, ood_scores, self._rule)
        self._found.append((found, _rates(id_scores, ood_scores, self._rule)))

    def merge(self, other: _Means) -> None:
        """Add another's."""
        self._found += other._found
        for name in ("_ones", "_skipped", "_n_id", "_n_ood"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def figures(self) -> Figures:
        """Return the means."""
        if not self._found:
            lacking = self._ones + self._skipped
            raise ValueError(f"no image has both kinds of pixels; {lacking} lack ID or OOD pixels.")
        return Figures(
            convention=self._rule.name,
            positive=self._rule.positive,
            auroc=self._mean(found.auroc for found, _ in self._found),
            aupr_in=self._area("aupr_in"),
            aupr_out=self._area("aupr_out"),
            fpr95_ood=self._mean(rates["ood"] for _, rates in self._found),
            fpr95_id=self._mean(rates["id"] for _, rates in self._found),
            n_id=self._n_id,
            n_ood=self._n_ood,
            n_images=len(self._found) + self._ones,
            n_skipped=self._skipped,
        )

    def _area(self, name: str) -> float | None:
        values = [getattr(found, name) for found, _ in self._found]
        return None if None in values else self._mean(values)

    def _mean(self, values: Iterable[float]) -> float:
        """The mean over images; those that count as one in every figure included."""
        return (sum(values) + self._ones) / (len(self._found) + self._ones)


def _rates(id_scores: Tensor, ood_scores: Tensor, rule: Convention) -> dict[str, float]:
    return {
        "ood": fpr_at_tpr(id_scores, ood_scores, positive="ood", rule=rule.fpr_rule),
        "id": fpr_at_tpr(id_scores, ood_scores, positive="id", rule=rule.fpr_rule),
    }


def _image(name: str, id_scores: Tensor, ood_scores: Tensor, rule: Convention) -> ImageFigures:
    counts = {"n_id": len(id_scores), "n_ood": len(ood_scores)}
    if not len(id_scores) or not len(ood_scores):
        return ImageFigures(name=name, **counts)
    found = figures_of(id_scores, ood_scores, rule)
    return ImageFigures(name=name, **counts, auroc=found.auroc, aupr_out=found.aupr_out, fpr95=found.fpr95)


def _stream_key(rule: Convention) -> tuple[str | None, bool]:
    """What two conventions must share to be computed from one stream."""
    return rule.score_dtype, rule.lacking == "keep"
