"""How figures are called and printed, alike in every form of the report."""

from __future__ import annotations

import math
from collections.abc import Iterable

from energy_plugin_bench.verdicts.verdict import Question, Verdict

TITLES = {
    "error_rate": "error rate", "accuracy": "accuracy", "fpr95": "FPR95", "tnr95": "TNR95", "tnr99": "TNR99",
    "auroc": "AUROC", "aupr": "AUPR", "aupr_in": "AUPR-in", "aupr_out": "AUPR-out",
}  # fmt: skip


def title(metric: str) -> str:
    """A metric as readers know it."""
    return TITLES.get(metric, metric)


def sets_of(asked: Question) -> str:
    """In-distribution and OOD set; of pixels the first one says which images they are of."""
    return asked.id_set if asked.ood_set is None else f"{asked.id_set} / {asked.ood_set}"


def score_of(verdict: Verdict) -> str:
    """The detector, or the metric where the network's classes alone are looked at."""
    return title(verdict.asked.metric) if verdict.asked.method == "argmax" else verdict.asked.method


def figure_of(verdict: Verdict) -> str:
    """Detector, metric, and the unit where it is not percent."""
    asked = verdict.asked
    unit = "" if verdict.unit == "percent" else f" ({verdict.unit})"
    return (
        f"{title(asked.metric)}{unit}"
        if asked.method == "argmax"
        else f"{asked.method} {title(asked.metric)}{unit}"
    )


def order(verdict: Verdict) -> tuple[object, ...]:
    """Where a figure stands: those of one network, one pair of sets and one convention together."""
    asked = verdict.asked
    return (
        asked.network, asked.id_set, asked.ood_set is not None, asked.ood_set or "", asked.convention or "",
        not verdict.published, asked.method, verdict.unit,
    )  # fmt: skip


def in_order(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """What was run, in that order."""
    return sorted((verdict for verdict in verdicts if verdict.status != "not run"), key=order)


class Conventions:
    """Says the convention of a figure where the same network and sets stand under several.

    Args:
        verdicts: What stands together, of one source.
    """

    def __init__(self, verdicts: Iterable[Verdict]) -> None:
        self._found: dict[tuple[object, ...], set[str | None]] = {}
        for verdict in verdicts:
            self._found.setdefault(self._key(verdict.asked), set()).add(verdict.asked.convention)

    def __call__(self, asked: Question) -> str:
        """The convention in brackets, after a blank; empty where there is only one."""
        several = len(self._found.get(self._key(asked), ())) > 1
        return f" ({asked.convention})" if several and asked.convention else ""

    @staticmethod
    def _key(asked: Question) -> tuple[object, ...]:
        return asked.network, asked.id_set, asked.ood_set


def digits(verdict: Verdict) -> int:
    """Digits after the point: as many as were published, two at least."""
    return max(2, len(verdict.published.partition(".")[2]))


def measured(verdict: Verdict) -> str:
    """Our figure; empty where there is none."""
    return "" if verdict.measured is None else f"{verdict.measured:.{digits(verdict)}f}"


def exact(verdict: Verdict) -> str:
    """Our figure with a digit more."""
    return "" if verdict.measured is None else f"{verdict.measured:.{digits(verdict) + 1}f}"


def off(verdict: Verdict) -> str:
    """How far our figure is from the target; empty where one of them is missing or no number."""
    if verdict.measured is None or verdict.tolerance is None or math.isnan(verdict.measured):
        return ""
    text = f"{verdict.measured - verdict.tolerance.target:+.{digits(verdict) + 1}f}"
    return text if float(text) else text[1:]  # nothing has no sign


def width(verdict: Verdict) -> str:
    """How far it may be."""
    return f"{verdict.tolerance.width:.{digits(verdict) + 1}f}" if verdict.tolerance else ""


def within(verdict: Verdict) -> str:
    """The tolerance, with what it is around where that is not the printed figure."""
    if verdict.tolerance is None:
        return ""
    target = f"{verdict.tolerance.target:.{digits(verdict)}f}"
    return f"{'' if target == verdict.published else target} ± {width(verdict)}".strip()
