"""Whether a measured figure is the published one: target, tolerance with its reason, verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, Literal, Self

from energy_plugin_bench.values.networks import Set
from energy_plugin_bench.values.recipe import Protocol
from energy_plugin_bench.values.rows import PublishedValue
from energy_plugin_bench.verdicts.measure import Figure

Status = Literal["reproduced", "differs", "not run", "measured"]
STATUSES: tuple[Status, ...] = ("reproduced", "differs", "not run", "measured")
ALSO = "; also "
"""Between the reasons for which one figure was not run."""

_LAST_BIT = 1e-9  # a difference of exactly half a digit is within rounding


@dataclass(frozen=True)
class Question:
    """What a figure is of.

    Attributes:
        network: Network and weights, by the recipe's name.
        id_set: In-distribution set.
        ood_set: OOD set, `error_detection`, or None.
        method: Detector.
        metric: Metric.
        convention: How the figure is computed; None for classification metrics.
        temperature: Of the score; None where the source does not state it.
    """

    network: str
    id_set: str
    ood_set: str | None
    method: str
    metric: str
    convention: str | None
    temperature: float | None = 1.0


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """How far from where a measured figure may lie, in the row's unit."""

    target: float
    width: float
    reason: str


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What came of one figure, published or only measured.

    Attributes:
        id: Of the row; for a figure without a published value, made from what was measured.
        source: Name of the source.
        status: `reproduced`, `differs`, `not run` or `measured` (nobody published a value).
        asked: What the figure is of.
        unit: Of all figures here.
        published: As printed; empty if nobody published it.
        place: Where it was read.
        measured: Our figure; None where not run.
        spread: Over our draws; None without draws.
        draws: Number of our draws.
        tolerance: None where there is nothing to compare.
        origin: What the figure was computed from.
        elsewhere: How far other devices' rounding moves our figure at most; None where that was not played.
        explained: Why the recipe expects the figures to differ; empty if it does not.
        reason: Why it was not run.
        failed: Whether it was tried, and something was wrong with the files or the code; `reason` says what.
        note: What a reader must know.
    """

    id: str
    source: str
    status: Status
    asked: Question
    unit: str
    published: str = ""
    place: str = ""
    measured: float | None = None
    spread: float | None = None
    draws: int = 0
    tolerance: Tolerance | None = None
    origin: str = ""
    elsewhere: float | None = None
    explained: str = ""
    reason: str = ""
    failed: bool = False
    note: str = ""

    def __str__(self) -> str:
        if self.status == "not run":
            return f"{self.id}: not run: {self.reason}"
        if self.measured is None or self.tolerance is None:
            return f"{self.id}: measured {self.measured:.2f} {self.unit}, no published value"
        expected = f"{self.tolerance.target:.3f} +- {self.tolerance.width:.3f} ({self.tolerance.reason})"
        came = f"published {self.published} {self.unit}, measured {self.measured:.3f}, expected {expected}"
        known = f"; {self.explained}" if self.status == "differs" and self.explained else ""
        return f"{self.id}: {self.status}: {came}{self.moved}{known}"

    @property
    def moved(self) -> str:
        """What other devices do to the figure, in words; empty where that was not played."""
        if self.elsewhere is None:
            return ""
        return f"; other devices' rounding moves it by up to {self.elsewhere:.3f}"

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        data = {**vars(self), **vars(self.asked)}
        del data["asked"]
        data["published"] = float(self.published) if self.published else None
        data["printed"] = self.published
        data["tolerance"] = vars(self.tolerance) if self.tolerance else None
        return data

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Self:
        """Make one of what `to_dict` gave.

        Raises:
            ValueError: It is something else.
        """
        try:
            known = (f.name for f in fields(Question) if f.default is MISSING or f.name in data)
            asked = Question(**{name: data[name] for name in known})
            own = {field.name: data[field.name] for field in fields(cls) if field.name in data}
            allowed = Tolerance(**data["tolerance"]) if data["tolerance"] else None
            return cls(**own | {"asked": asked, "tolerance": allowed, "published": data["printed"]})
        except (KeyError, TypeError) as error:
            raise ValueError(f"a figure lacks or has too much: {error}") from error


def tolerance(row: PublishedValue, protocol: Protocol, figure: Figure, ood: Set) -> Tolerance:
    """How far a measured figure may lie from the published one.

    Without draws: half the last printed digit, the protocol's allowance, and the bound of a figure that is
    not exact. With them: half the last printed digit, and `protocol.errors` standard errors of the difference
    between the two means:
    with s the spread of one draw, s^2 (1 / draws of the source + 1 / our draws) for the draws, where images
    were drawn. Where the images themselves are another sample, each of the two sets of N adds s^2 n / (N -
    n), n images a draw: that is the variance of a set's own mean, seen from the spread of draws out of it. s
    is the upper end of what the source's rounded spread can have been, in the unbiased form; ours, where the
    source drew and printed none. Where the source printed the same evaluation several times, the target is
    the mean of all and its draws are those of all.

    Args:
        row: The published value.
        protocol: How ours was measured.
        figure: Ours; the source drew as many images at a time.
        ood: The OOD set.
    """
    logs = row.repeats.logs if row.repeats else 1
    target = row.repeats.mean if row.repeats else row.value
    half_digit = 0.5 * 10.0**-row.decimals
    spread = _spread(row, figure, half_digit)
    if spread is None:
        bound = row.scale * figure.bound
        width = half_digit + row.scale * protocol.allowance + bound + _LAST_BIT
        binned = f"; pixels were counted in bins, which moves it by {bound:.1g} at most" if bound else ""
        return Tolerance(target=target, width=width, reason=f"{protocol.reason}{binned}")
    variance = 1 / (row.draws * logs) + (1 / figure.draws if figure.draws else 0.0)
    reason = protocol.reason
    if ood.fresh:
        sizes = (ood.published_size or figure.n_ood, figure.n_ood)
        if min(sizes) <= figure.drawn:
            raise ValueError(
                f"a draw takes {figure.drawn} of {min(sizes)} images, so nothing is known of how sets differ "
                "that are sampled anew: the protocol needs a smaller draw, or the set no `fresh`."
            )
        variance += sum(figure.drawn / (size - figure.drawn) for size in sizes)
        reason += f"; {ood.note or 'the images are generated anew'}"
    if row.repeats:
        reason += f"; the source printed it {logs} times"
    width = protocol.errors * spread * math.sqrt(variance) + half_digit
    return Tolerance(target=target, width=width, reason=reason)


def _spread(row: PublishedValue, figure: Figure, half_digit: float) -> float | None:
    """Unbiased spread of one draw, in the row's unit; None where nobody drew, or it is not known."""
    if row.draws < 2:
        return None
    if row.std is not None:
        return (row.std + half_digit) * math.sqrt(row.draws / (row.draws - 1))
    if figure.draws < 2:
        return None
    return row.scale * figure.spread * math.sqrt(figure.draws / (figure.draws - 1))


def judged(figure: float, allowed: Tolerance) -> Status:
    """Compare a figure in the row's unit."""
    return "reproduced" if abs(figure - allowed.target) <= allowed.width else "differs"
