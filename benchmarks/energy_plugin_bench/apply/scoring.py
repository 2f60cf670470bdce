"""Scores and decisions for every image of a source; what cannot be read stands there as such."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from torch import Tensor

from energy_plugin.detector import EnergyDetector
from energy_plugin_bench.apply.images import Images

Decision = Literal["ID", "OOD", "unreadable"]


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What was found of one image.

    Attributes:
        image: Path under the folder, or position.
        decision: `ID`, `OOD`, or `unreadable`.
        score: Energy, higher = more OOD; None for an unreadable image, and where the network gave no number.
        predicted: Name or number of the class with the highest logit; empty for an unreadable image.
        error: Why it could not be read.
    """

    image: str
    decision: Decision
    score: float | None = None
    predicted: str = ""
    error: str = ""


def judge(
    source: Images,
    passes: Iterable[tuple[list[int], Tensor]],
    detector: EnergyDetector,
    classes: Sequence[str],
) -> list[Judged]:
    """Return one entry for every image of the source, in its order.

    Args:
        source: The images.
        passes: Positions and logits of those that can be read, of `measure.passes`.
        detector: With a threshold.
        classes: Names of the classes; numbers stand in where there is none.
    """
    found: dict[int, Judged] = {}
    for positions, logits in passes:
        scores = detector.score(logits)
        rows = zip(
            scores.tolist(), detector.is_ood(scores=scores).tolist(), logits.argmax(1).tolist(), strict=True
        )
        for position, (score, refused, number) in zip(positions, rows, strict=True):
            found[position] = Judged(
                image=source.names[position],
                decision="OOD" if refused else "ID",
                score=None if math.isnan(score) else score,
                predicted=classes[number] if number < len(classes) else str(number),
            )
    return [
        found.get(position)
        or Judged(image=name, decision="unreadable", error=source.unreadable.get(name, "not read"))
        for position, name in enumerate(source.names)
    ]


def ranked(judged: Sequence[Judged]) -> list[int]:
    """Positions of the scored images, the most ID-like first; those without a number come last."""
    scored = [(math.inf if e.score is None else e.score, i) for i, e in enumerate(judged) if not e.error]
    return [position for _, position in sorted(scored)]


def counts(judged: Sequence[Judged]) -> dict[str, int]:
    """How many images got which decision."""
    return {kind: sum(e.decision == kind for e in judged) for kind in ("ID", "OOD", "unreadable")}


def as_csv(judged: Sequence[Judged]) -> str:
    """A table with a head; scores with all their digits."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(asdict(judged[0])), lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: "" if v is None else v for k, v in asdict(e).items()} for e in judged)
    return text.getvalue()


def as_document(judged: Sequence[Judged], source: Images, detector: EnergyDetector, **more: Any) -> str:
    """Everything as JSON."""
    fitted = detector.fitted
    document = {
        "source": source.source,
        "threshold": detector.threshold,
        "tpr": fitted.share if fitted else None,
        "id_images": fitted.count if fitted else None,
        "temperature": detector.temperature,
        "counts": counts(judged),
        "not_images": list(source.passed_over),
        **more,
        "images": [asdict(e) for e in judged],
    }
    return json.dumps(document, indent=1, allow_nan=False) + "\n"
