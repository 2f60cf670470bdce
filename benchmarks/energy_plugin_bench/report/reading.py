"""A report in JSON as plain data: checked before anything is made of it, and free of what is no JSON."""

from __future__ import annotations

import json
import math
import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from energy_plugin_bench.report.curves import BINS
from energy_plugin_bench.verdicts.verdict import Status

SCHEMA = 2
COMMANDS = "`energy-plugin reproduce --json` or `report --format json`"
_FAULTS = 3
"""How many are told."""

_Count = Annotated[int, Field(ge=0)]
_Bins = Annotated[list[_Count], Field(min_length=BINS, max_length=BINS)]
_Number = float | None
"""null stands where a figure was no number."""
_Point = Annotated[list[_Number], Field(min_length=2, max_length=2)]


class _Plain(BaseModel):
    """Types as they are: no text becomes a number. What a later version adds is passed over."""

    model_config = ConfigDict(strict=True, extra="ignore")


class _Tolerance(_Plain):
    target: _Number
    width: _Number
    reason: str


class _Figure(_Plain):
    id: str
    source: str
    status: Status
    network: str
    id_set: str
    ood_set: str | None
    method: str
    metric: str
    convention: str | None
    unit: Literal["percent", "fraction"]
    printed: Annotated[str, Field(pattern=r"^(-?\d+(\.\d+)?)?$")]
    tolerance: _Tolerance | None
    place: str = ""
    measured: _Number = None
    spread: _Number = None
    draws: _Count = 0
    origin: str = ""
    elsewhere: _Number = None
    explained: str = ""
    temperature: _Number = 1.0
    failed: bool = False
    reason: str = ""
    note: str = ""


class _Curve(_Plain):
    source: str
    network: str
    id_set: str
    ood_set: str
    method: str
    positive: Literal["id", "ood"]
    n_id: _Count
    n_ood: _Count
    low: FiniteFloat
    high: FiniteFloat
    inward: _Bins
    outward: _Bins
    roc: Annotated[list[_Point], Field(min_length=1)]
    threshold: _Number
    point: _Point


class _Document(_Plain):
    version: Annotated[Literal[2], Field(alias="schema")]
    figures: Annotated[list[_Figure], Field(min_length=1)]
    seconds: FiniteFloat = 0.0
    environment: dict[str, str] = {}
    sources: dict[str, dict[str, str]] = {}
    curves: list[_Curve] = []
    hashes: dict[str, str] = {}


def checked(text: str) -> dict[str, Any]:
    """Parse a report.

    Returns:
        Figures, curves and the rest as their classes take them; what was no number is NaN again.

    Raises:
        ValueError: It is none; says what is wrong.
    """
    try:
        data = json.loads(text, parse_constant=lambda _: None)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"no JSON document: {error}") from error
    try:
        document = _Document.model_validate(data)
    except ValidationError as error:
        faults = error.errors(include_url=False)
        told = "; ".join(f"{_path(fault['loc'])}{_said(fault['msg'])}" for fault in faults[:_FAULTS])
        more = f"; and {len(faults) - _FAULTS} more" if len(faults) > _FAULTS else ""
        raise ValueError(f"{told}{more}") from error
    found = document.model_dump()
    for figure in found["figures"]:
        if figure["measured"] is None and figure["status"] != "not run":
            figure["measured"] = math.nan
        _numbers(figure["tolerance"] or {}, "target", "width")
    for curve in found["curves"]:
        _numbers(curve, "threshold")
        curve["point"] = [_number(value) for value in curve["point"]]
        curve["roc"] = [[_number(value) for value in point] for point in curve["roc"]]
    return found


def finite(value: Any) -> Any:
    """The same data with null for every number that JSON has no word for."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: finite(inner) for name, inner in value.items()}
    return [finite(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def _numbers(data: dict[str, Any], *names: str) -> None:
    data.update({name: _number(data[name]) for name in names if name in data})


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _path(parts: tuple[int | str, ...]) -> str:
    """Where in the document, as one would write it."""
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).lstrip(".")
    return f"{path}: " if path else ""


def _said(message: str) -> str:
    return re.sub(r" or instance of \w+", "", message)
