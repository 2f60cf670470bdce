"""Published values as data: what a row says, and how a source file (TOML) is read and checked.

A source file has a head ``[source]``, then ``[[tables]]``: each gives the fields that its rows share, and
``rows``, inline tables whose fields add to the table's or override them. ``place`` of a row continues the
table's; ``name`` of a table is the ``table`` of its rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from energy_plugin.errors import near_misses
from energy_plugin.published import unfold

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

Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Count = Annotated[int, Field(strict=True, ge=1)]
Text = Annotated[str, Field(strict=True, min_length=1)]
_M = TypeVar("_M", bound=BaseModel)


class RowsError(ValueError):
    """Files of rows, recipes or assets with faults, all of them in `faults`."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        many = "one fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
        super().__init__("\n  ".join([f"{many} in the published values:", *self.faults]))


class Strict(BaseModel):
    """A frozen model that refuses fields it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Repeats(Strict):
    """The same evaluation, printed several times by the source."""

    logs: Count
    mean: Number
    minimum: Number
    maximum: Number


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
        temperature: Of the energy score; other scores have their own.
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

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        top = 100.0 if self.unit == "percent" else 1.0
        if not 0 <= self.value <= top:
            raise ValueError(f"value {self.value} is outside [0, {top:g}] {self.unit}")
        if self.metric not in KNOWN_CLASS_METRICS and not (self.ood_set and self.convention):
            raise ValueError(f"{self.metric} needs an ood_set and a convention")
        stated = conventions()[0].get(self.convention or "", "")
        if self.metric == "fpr95" and stated and self.positive in ("id", "ood") and self.positive != stated:
            raise ValueError(f"{self.positive} is positive here, but {stated} in {self.convention!r}")
        return self

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


@cache
def conventions() -> tuple[Mapping[str, str], Mapping[str, str]]:
    """Positive kinds of the stated conventions by name, and why the others are described only."""
    from energy_plugin.metrics import CONVENTIONS, LEFT_OUT  # imports torch: only when rows are read

    return {name: known.positive for name, known in CONVENTIONS.items()}, LEFT_OUT


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
    for place, fields in _unfold(data.get("tables", []), label, faults):
        rows += check(PublishedValue, fields, place, faults)
    return check(Source, {**data["source"], "rows": rows}, f"{label}: source", faults)


def _unfold(tables: object, label: str, faults: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each row's place in the file and its fields, those of its table included."""
    if not isinstance(tables, list):
        faults.append(f"{label}: tables is {type(tables).__name__}; expected [[tables]]")
        return
    for number, table in enumerate(tables, start=1):
        for index, fields in enumerate(unfold(table), start=1):
            yield f"{label}: {fields.get('id', f'table {number}, row {index}')}", fields


def check(model: type[_M], fields: Mapping[str, Any], place: str, faults: list[str]) -> list[_M]:
    """Validate fields against a model: the model alone, or nothing and its faults appended, one line each."""
    try:
        return [model.model_validate(fields)]
    except ValidationError as error:
        for fault in error.errors(include_url=False):
            faults.append(f"{place}: {_told(model, fault)}")  # noqa: PERF401 - the list is the caller's
        return []


def _told(model: type[BaseModel], fault: Mapping[str, Any]) -> str:
    path = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        return f"unknown field {path!r}. {near_misses(path, model.model_fields)}"
    if fault["type"] == "missing":
        return f"field {path!r} is missing"
    message = str(fault["msg"]).removeprefix("Value error, ")
    came = "" if fault["type"] == "value_error" else f", got {fault['input']!r}"
    return f"{path}: {message}{came}" if path else message
