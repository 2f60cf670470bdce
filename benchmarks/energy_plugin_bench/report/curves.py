"""What lies behind a figure: histograms of in-distribution and OOD scores, and the ROC with the threshold."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Self

import torch
from torch import Tensor

from energy_plugin.metrics import CONVENTIONS
from energy_plugin_bench.passes.threads import one_thread
from energy_plugin_bench.values.rows import ANOMALOUS_PIXELS
from energy_plugin_bench.verdicts.runner import Runner
from energy_plugin_bench.verdicts.verdict import Question, Verdict

BINS = 40
POINTS = 64
_TAIL = 0.005
"""Share of scores at either end that the outer bins take in: one far score does not squeeze the rest."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Scores of one detector on two sets, small enough for a report.

    Attributes:
        source: Whose recipe it is.
        network: Network and weights.
        id_set: In-distribution set.
        ood_set: OOD set.
        method: Detector.
        positive: The kind whose rate is the true positive one.
        n_id: In-distribution images.
        n_ood: OOD images.
        low: Left end of the histogram, an outlier score (higher = more OOD).
        high: Its right end.
        inward: In-distribution images a bin.
        outward: OOD images a bin.
        roc: (false positive rate, true positive rate), from (0, 0) to (1, 1).
        threshold: Score at which 95 % of the positive kind are found.
        point: Its place on the ROC.
    """

    source: str
    network: str
    id_set: str
    ood_set: str
    method: str
    positive: Literal["id", "ood"]
    n_id: int
    n_ood: int
    low: float
    high: float
    inward: tuple[int, ...]
    outward: tuple[int, ...]
    roc: tuple[tuple[float, float], ...]
    threshold: float
    point: tuple[float, float]

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)

    @classmethod
    def of(cls, data: dict[str, Any]) -> Self:
        """Make one of what `to_dict` gave."""
        pairs = {"roc": tuple(map(tuple, data["roc"])), "point": tuple(data["point"])}
        return cls(**{**data, **pairs, **{name: tuple(data[name]) for name in ("inward", "outward")}})


def curves(runner: Runner, verdicts: Iterable[Verdict]) -> Iterator[Curve]:
    """Curves of every detector, network and pair of sets that was measured on images."""
    seen = set()
    for verdict in verdicts:
        asked = verdict.asked
        if verdict.measured is None or asked.ood_set in (None, ANOMALOUS_PIXELS) or not asked.convention:
            continue
        key = (verdict.source, asked.network, asked.id_set, asked.ood_set, asked.method)
        if key not in seen:
            seen.add(key)
            recipe = runner.registry.recipes[verdict.source]
            parts = recipe.parts(asked.network, asked.id_set, asked.ood_set)
            if len(parts) > 1:  # a mean over sets or networks has no scores of its own
                continue
            one = replace(asked, network=parts[0][0], ood_set=parts[0][1])
            with one_thread():
                yield curve(verdict.source, asked, *runner.scores(verdict.source, one))


def curve(source: str, asked: Question, inward: Tensor, outward: Tensor) -> Curve:
    """Sum up scores.

    Args:
        source: Name of the source.
        asked: What they are of.
        inward: (N,) outlier scores of in-distribution images.
        outward: (M,) of OOD images.
    """
    positive = CONVENTIONS[str(asked.convention)].positive
    inward, outward = inward.double(), outward.double()
    both = torch.cat([inward, outward]).sort().values
    both = both[both.isfinite()] if both.isfinite().any() else torch.zeros(1)
    low, high = (float(both[round(share * (len(both) - 1))]) for share in (_TAIL, 1 - _TAIL))
    # Signs such that a high value speaks for the positive kind.
    found, others = (outward, inward) if positive == "ood" else (-inward, -outward)
    threshold = float(found.sort(descending=True).values[_reached(len(found)) - 1])
    point = (_share(others, threshold), _share(found, threshold))
    return Curve(
        source=source, network=asked.network, id_set=asked.id_set, ood_set=str(asked.ood_set),
        method=asked.method, positive=positive, n_id=len(inward), n_ood=len(outward), low=low, high=high,
        inward=_counts(inward, low, high), outward=_counts(outward, low, high), roc=_roc(found, others),
        threshold=threshold if positive == "ood" else -threshold, point=point,
    )  # fmt: skip


def _reached(count: int) -> int:
    """How many are 95 %, at least."""
    return max(1, -(-95 * count // 100))


def _share(scores: Tensor, threshold: float) -> float:
    return round(float((scores >= threshold).double().mean()), 5)


def _counts(scores: Tensor, low: float, high: float) -> tuple[int, ...]:
    width = (high - low) or 1.0
    places = ((scores.clamp(low, high) - low) / width * BINS).long().clamp(0, BINS - 1)
    return tuple(torch.bincount(places, minlength=BINS).tolist())


def _roc(found: Tensor, others: Tensor) -> tuple[tuple[float, float], ...]:
    """Points of the curve at evenly spread ranks of both kinds."""
    ranks = torch.linspace(0, 1, POINTS // 2, dtype=torch.float64)
    at = torch.cat([found.quantile(ranks), others.quantile(ranks)]).sort(descending=True).values
    points = [(0.0, 0.0), *((_share(others, float(t)), _share(found, float(t))) for t in at), (1.0, 1.0)]
    return tuple(dict.fromkeys(points))
