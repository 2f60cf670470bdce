"""A report as text of any kind: HTML, Markdown, JSON, CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from energy_plugin_bench.report.page import to_html
from energy_plugin_bench.report.report import Report, to_markdown
from energy_plugin_bench.values import places

COLUMNS = (
    "id", "source", "status", "network", "id_set", "ood_set", "method", "temperature", "metric",
    "convention", "unit",
    "published", "measured", "target", "tolerance", "tolerance_reason", "spread", "draws", "origin",
    "elsewhere", "explained", "failed", "reason", "place", "link", "note",
)  # fmt: skip


def to_csv(report: Report) -> str:
    """A line for each figure, with a head; figures in their own unit, empty where there are none."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for verdict in report.verdicts:
        allowed = verdict.tolerance
        more = {
            "published": verdict.published,
            "target": allowed.target if allowed else None,
            "tolerance": allowed.width if allowed else None,
            "tolerance_reason": allowed.reason if allowed else "",
            "link": places.link(verdict.place),
        }
        writer.writerow(verdict.to_dict() | more)
    return stream.getvalue()


def _json(report: Report) -> str:
    return report.to_json() + "\n"


FORMATS: Mapping[str, Callable[[Report], str]] = MappingProxyType(
    {"html": to_html, "markdown": to_markdown, "json": _json, "csv": to_csv}
)
ENDINGS = {".html": "html", ".htm": "html", ".md": "markdown", ".json": "json", ".csv": "csv"}


def rendered(report: Report, kind: str) -> str:
    """The report in a format, a key of `FORMATS`."""
    return FORMATS[kind](report)


def format_of(path: Path | None) -> str:
    """What the ending of a file's name asks for; empty if nothing."""
    return "" if path is None else ENDINGS.get(path.suffix.lower(), "")
