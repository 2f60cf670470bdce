"""Published values as data: what a row says, and how a source file (TOML) is read and checked.

A source file has a head ``[source]``, then ``[[tables]]``: each gives the fields that its rows share, and
``rows``, inline tables whose fields add to the table's or override them. ``place`` of a row continues the
table's; ``name`` of a table is the ``table`` of its rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, field_validator

from energy_plugin.errors import near_misses
from energy_plugin.published import unfold
from energy_plugin_bench.values.checking import (
    Count,
    Number,
    Strict,
    Text,
    check,
    table,
    tables,
)

if TYPE_CHECKING:
    from energy_plugin.metrics.conventions import Convention

METRICS = {
    "error_rate": "share of wrongly classified images",
    "accuracy": "share of rightly classified images",
    "fpr95": "false positive rate at 95 % true positive rate",
    "tnr95": "true negative rate at 95 % true positive rate: 1 - fpr95",
    "tnr99": "true negative rate at 99 % true positive rate",
    "auroc": "area under the ROC curve",
    "aupr": "area under the precision-recall curve of the convention's positive kind",
    "aupr_in": "the same with in-distribution positive",
    "aupr_out": "the same with out-of-distribution positive",
    "autc": "area under the threshold curve",
    "f1": "best F1 over all thresholds, chosen on the test set",
    "miou": "mean intersection over union of the known classes",
    "macc": "mean accuracy of the known classes",
    "siou_gt": "component-wise intersection over union, averaged over the true components",
    "ppv": "component-wise precision",
    "f1_mean": "component-wise F1, averaged over thresholds of sIoU",
}
CLASSIFICATION_METRICS = ("error_rate", "accuracy")
AREAS = ("aupr", "aupr_in", "aupr_out")
NEGATIVE_RATES = ("tnr95", "tnr99")
KNOWN_CLASS_METRICS = (*CLASSIFICATION_METRICS, "miou", "macc")
"""Metrics that need no OOD set."""
DESCRIBED_ONLY = ("autc", "f1", "miou", "macc", "siou_gt", "ppv", "f1_mean")
"""Metrics that rows have and the harness does not measure."""

CAVEATS: Mapping[str, str] = MappingProxyType(
    {
        "by eye": "read by eye from a picture",
        "quoted": "copied by the source from somebody else, no run of its own",
        "unreleased": "the weights were never released",
        "unknown weights": "the source does not say which weights",
        "own training": "of a network that somebody trained for this figure alone",
        "other weights": "not the weights of the paper that the method is from",
        "hidden labels": "the test labels are hidden on a benchmark server",
        "another sample": "of a sample of images whose list is not published, or of another one than usual",
        "tuned": "temperature or input noise were tuned, and their values are not printed",
        "unknown rule": "how the figure was computed is not said",
        "unknown method": "which score it is of is not said",
        "wrong": "known to be wrong; kept as a warning",
    }
)
"""Why a figure cannot be compared with others of the same name, or only with care."""
PREVENTING = (
    "quoted", "unreleased", "unknown weights", "own training", "hidden labels", "tuned", "unknown rule",
    "unknown method", "wrong",
)  # fmt: skip
"""Caveats under which nobody can measure the figure, so that no recipe is written for it."""
ERROR_DETECTION = "error_detection"
"""As an OOD set: the wrongly classified images of the ID set, against the rightly classified ones."""
ANOMALOUS_PIXELS = "anomalous_pixels"
"""As an OOD set: the anomalous pixels of the ID set's images, against their known ones."""
WITHIN = (ERROR_DETECTION, ANOMALOUS_PIXELS)
"""OOD sets that lie within the ID set."""


class Repeats(Strict):
    """The same evaluation, printed several times by the source."""

    logs: Count
    mean: Number
    minimum: Number
    maximum: Number


@cache
def conventions() -> tuple[Mapping[str, Convention], Mapping[str, str]]:
    """The stated conventions by name, and why the others are described only."""
    from energy_plugin.metrics import CONVENTIONS, LEFT_OUT  # imports torch: only when rows are read

    return CONVENTIONS, LEFT_OUT


def unmeasurable(metric: str, convention: str, ood_set: str | None) -> str:
    """Why figures of a metric that detects cannot be computed so; empty if they can.

    Args:
        metric: A key of `METRICS`.
        convention: A stated one; of others nothing is said.
        ood_set: Images, or `anomalous_pixels`.
    """
    stated = conventions()[0].get(convention)
    if metric in KNOWN_CLASS_METRICS or stated is None or ood_set is None:
        return ""
    if metric in AREAS and stated.aupr_rule is None:
        return f"the convention {convention!r} has no area under the precision-recall curve"
    if ood_set != ANOMALOUS_PIXELS and stated.pooling != "pooled":
        return f"the convention {convention!r} is a mean over maps of pixels, and {ood_set!r} are images"
    if ood_set == ANOMALOUS_PIXELS and metric in NEGATIVE_RATES:
        return f"of pixels there is no {metric}, but fpr95"
    return ""


def _within_unit(row: PublishedValue) -> Iterator[str]:
    top = 100.0 if row.unit == "percent" else 1.0
    if not 0 <= row.value <= top:
        yield f"value {row.value} is outside [0, {top:g}] {row.unit}"


def _detecting(row: PublishedValue) -> Iterator[str]:
    if row.metric not in KNOWN_CLASS_METRICS and not (row.ood_set and row.convention):
        yield f"{row.metric} needs an ood_set and a convention"


def _same_positive(row: PublishedValue) -> Iterator[str]:
    """`aupr_in` and `aupr_out` say themselves what is positive, and AUROC is the same for both."""
    stated = conventions()[0].get(row.convention or "")
    if row.metric not in ("fpr95", *NEGATIVE_RATES, "aupr") or stated is None:
        return
    if row.positive in ("id", "ood") and row.positive != stated.positive:
        yield f"{row.positive} is positive here, but {stated.positive} in {row.convention!r}"


def _all_digits(row: PublishedValue) -> Iterator[str]:
    """Rounding is what tolerances start from: fewer decimals than were printed would reproduce anything."""
    exponent = Decimal(repr(row.value)).normalize().as_tuple().exponent
    written = -exponent if isinstance(exponent, int) else 0
    if written > row.decimals:
        yield (
            f"value {row.value} has {written} digits after the point, and decimals is {row.decimals}: "
            f"say decimals = {written}, or what was printed"
        )


def _can_be_measured(row: PublishedValue) -> Iterator[str]:
    reason = unmeasurable(row.metric, row.convention or "", row.ood_set)
    if reason and not row.obstacle:
        yield f"{reason}; correct the row, or say in 'not_run' why it is not measured"


class PublishedValue(Strict):
    """One figure that somebody published.

    Attributes:
        id: Stable name, unique over all sources; it never changes.
        place: Where the figure was read: file and line, table, or page.
        id_set: In-distribution set.
        ood_set: OOD set; `error_detection` for wrong against right images,
            `anomalous_pixels` for the pixels of the ID set's images; None for classification metrics.
        network: Network and weights, by the recipe's name.
        method: Detector that scored, `argmax` for classification metrics, or `unknown`.
        metric: A key of `METRICS`.
        convention: How the figure was computed: a key of `energy_plugin.metrics.CONVENTIONS` (or of its
            `LEFT_OUT`); None for classification metrics.
        value: The figure as printed, in `unit`.
        std: Spread over the draws (population form), as printed.
        draws: Number of draws that value and std are over; 0 where there was no draw or none is known.
        decimals: Digits printed after the point.
        unit: `percent` or `fraction`.
        repeats: Where the source prints the same evaluation several times.
        temperature: What logits are divided by before they are scored; of an energy `unknown` is no number.
        table: The source's table, by a name of its own.
        weights: Which weights, in the source's words.
        positive: The kind whose recall is 95 % in FPR95, as read in the source; empty where it was not noted.
        runs: Networks trained that value and std are over; 0 if unknown.
        caveats: Keys of `CAVEATS`.
        not_run: Why nobody can measure the figure, beyond what its caveats say.
        same_as: Id of a row of another source that is this same figure, not another one like it.
        note: What a reader must know before comparing.
    """

    id: Text
    place: Text
    id_set: Text
    ood_set: Text | None = None
    network: Text
    method: Text
    metric: Literal[tuple(METRICS)]  # type: ignore[valid-type]  # the keys, known when the module is loaded
    convention: Text | None = None
    value: Number
    std: Annotated[Number, Field(ge=0)] | None = None
    draws: Annotated[int, Field(strict=True, ge=0)] = 0
    decimals: Annotated[int, Field(strict=True, ge=0, le=6)] = 2
    unit: Literal["percent", "fraction"]
    repeats: Repeats | None = None
    temperature: Number | Literal["unknown"] = 1.0
    table: str = ""
    weights: str = ""
    positive: Literal["id", "ood", "unknown", "n/a", ""] = ""
    runs: Annotated[int, Field(strict=True, ge=0)] = 0
    caveats: tuple[Literal[tuple(CAVEATS)], ...] = ()  # type: ignore[valid-type]  # as for METRICS
    not_run: str = ""
    same_as: str = ""
    note: str = ""

    @field_validator("convention")
    @classmethod
    def _known(cls, name: str | None) -> str | None:
        stated, described = conventions()
        if name is not None and name not in stated and name not in described:
            raise ValueError(f"unknown convention {name!r}. {near_misses(name, (*stated, *described))}")
        return name

    rules = (_within_unit, _detecting, _same_positive, _all_digits, _can_be_measured)

    @property
    def obstacle(self) -> str:
        """Why no recipe can measure the figure; empty if nothing in the row itself speaks against it."""
        if self.same_as:
            return "the same figure stands in another source, where it counts (same_as)"
        preventing = [CAVEATS[caveat] for caveat in self.caveats if caveat in PREVENTING]
        if self.not_run or preventing:
            return f"no recipe: {self.not_run or '; '.join(preventing)}"
        if self.metric in DESCRIBED_ONLY:
            return f"no recipe: the harness does not measure the {METRICS[self.metric]}"
        described = conventions()[1].get(self.convention or "", "")
        return f"no recipe: {described}" if described else ""

    @property
    def remark(self) -> str:
        """What a reader must know: the caveats in words, then the note."""
        return "; ".join(text for text in (*(CAVEATS[caveat] for caveat in self.caveats), self.note) if text)

    @property
    def scale(self) -> float:
        """What a fraction is multiplied by to stand in this row's unit."""
        return 100.0 if self.unit == "percent" else 1.0

    @property
    def printed(self) -> str:
        """The figure with the digits that the source printed."""
        return f"{self.value:.{self.decimals}f}"


class Source(Strict):
    """Where values come from, and its rows."""

    name: Text
    title: Text
    cite: Text
    repository: str = ""
    kind: Literal["original", "quoted", "user reproduction", "secondary"] = "original"
    note: str = ""
    rows: tuple[PublishedValue, ...] = ()


def parse_source(data: Mapping[str, Any], label: str, faults: list[str]) -> list[Source]:
    """Turn the parsed TOML of one source into a `Source`.

    Args:
        data: The file's content.
        label: How messages call the file.
        faults: Every fault found is appended here; the others are still looked for.

    Returns:
        The source with its good rows; nothing where its head has faults.
    """
    faults += [f"{label}: unknown table {key!r}" for key in sorted(set(data) - {"source", "tables"})]
    rows: list[PublishedValue] = []
    for place, fields in written_rows(data, label, faults):
        rows += check(PublishedValue, fields, f"{label}: {fields.get('id', place)}", faults)
    if not isinstance(data["source"], Mapping):
        table(data["source"], f"{label}: source", faults)
        return []
    return check(Source, {**data["source"], "rows": rows}, f"{label}: source", faults)


def written_rows(
    data: Mapping[str, Any], label: str, faults: list[str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each row's place in the file and its fields, those of its table included, not yet checked."""
    for number, shared in tables(data.get("tables", []), f"{label}: tables", faults, f"{label}: table"):
        where = f"table {number}"
        if "rows" not in shared:
            faults.append(f"{label}: {where}: field 'rows' is missing")
            continue
        each = f"{label}: {where}, row"
        for index, row in tables(shared["rows"], f"{label}: {where}: rows", faults, each):
            for fields in unfold({**shared, "rows": [row]}):
                yield f"{where}, row {index}", fields
