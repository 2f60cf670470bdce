"""The report as one HTML file that needs nothing else: no network, no other file."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from energy_plugin_bench.report.curves import Curve
from energy_plugin_bench.report.report import TITLES, Report, in_order
from energy_plugin_bench.values import places
from energy_plugin_bench.verdicts.verdict import ALSO, STATUSES, Verdict

SYMBOLS = {"reproduced": "✓", "differs": "✗", "measured": "○", "not run": "-"}


def to_html(report: Report) -> str:
    """Render the report.

    Args:
        report: Its curves are drawn, its sources named, where it has them.
    """
    environment = Environment(
        loader=PackageLoader("energy_plugin_bench.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    sources = [SourcePart(name, verdicts, report) for name, verdicts in report.by_source().items()]
    # Those with something to see first; the order within is that of the files.
    sources.sort(key=lambda part: not part.ran)
    return environment.get_template("report.html.j2").render(
        report=report,
        sources=sources,
        statuses=STATUSES,
        symbols=SYMBOLS,
        pivot=Pivot(report.verdicts),
        style=_trusted(environment, "report.css"),
        script=_trusted(environment, "report.js"),
    )


def _trusted(environment: Environment, name: str) -> Markup:
    """A file of this package that goes into the page as it is."""
    return Markup(environment.loader.get_source(environment, name)[0])  # type: ignore[union-attr]  # noqa: S704


@dataclass(frozen=True)
class Row:
    """A verdict as the page shows it."""

    verdict: Verdict

    @property
    def set(self) -> str:
        """What the figure is of, beside the network."""
        asked = self.verdict.asked
        return asked.ood_set or asked.id_set

    @property
    def score(self) -> str:
        """Detector and metric."""
        asked = self.verdict.asked
        metric = TITLES.get(asked.metric, asked.metric)
        unit = "" if self.verdict.unit == "percent" else f" ({self.verdict.unit})"
        return f"{metric}{unit}" if asked.method == "argmax" else f"{asked.method} {metric}{unit}"

    @property
    def digits(self) -> int:
        """Digits after the point."""
        return max(2, len(self.verdict.published.partition(".")[2]))

    @property
    def measured(self) -> str:
        """Our figure."""
        return "" if self.verdict.measured is None else f"{self.verdict.measured:.{self.digits}f}"

    @property
    def off(self) -> str:
        """How far it is from the target."""
        if self.verdict.measured is None or self.verdict.tolerance is None:
            return ""
        return f"{self.verdict.measured - self.verdict.tolerance.target:+.{self.digits + 1}f}"

    @property
    def within(self) -> str:
        """How far it may be."""
        return f"{self.verdict.tolerance.width:.{self.digits + 1}f}" if self.verdict.tolerance else ""

    @property
    def link(self) -> str:
        """Address of where it was read."""
        return places.link(self.verdict.place)

    @property
    def short_place(self) -> str:
        """The last part of where it was read: file and line."""
        return re.split(r"/|: ?", self.verdict.place)[-1]

    @property
    def said(self) -> list[str]:
        """What stands in small print."""
        verdict = self.verdict
        parts = [
            verdict.id,
            f"expected {verdict.tolerance.target:g}: {verdict.tolerance.reason}" if verdict.tolerance else "",
            f"differs: {verdict.explained}" if verdict.status == "differs" and verdict.explained else "",
            verdict.moved.removeprefix("; "),
            f"{verdict.draws} draws of ours, spread {verdict.spread:.2f}"
            if verdict.spread is not None
            else "",
            f"from {verdict.origin}" if verdict.origin else "",
            f"convention {verdict.asked.convention}" if verdict.asked.convention else "",
            verdict.note,
        ]
        return [part for part in parts if part]


class SourcePart:
    """The section of one source.

    Args:
        name: Of the source.
        verdicts: Its own.
        report: For what is said of it, and its curves.
    """

    def __init__(self, name: str, verdicts: Sequence[Verdict], report: Report) -> None:
        self.name = name
        self.about = dict.fromkeys(("title", "cite", "repository", "kind", "note"), "") | dict(
            report.sources.get(name, {})
        )
        self.count = Counter(verdict.status for verdict in verdicts)
        ordered = [Row(verdict) for verdict in in_order(verdicts)]
        self.tables = [
            [row for row in ordered if row.verdict.status != "measured"],
            [row for row in ordered if row.verdict.status == "measured"],
        ]
        self.ran = any(self.tables)
        self.link = places.repository(self.about["repository"])
        self._skipped = [Row(verdict) for verdict in verdicts if verdict.status == "not run"]
        self._curves = [curve for curve in report.curves if curve.source == name]

    @cached_property
    def reasons(self) -> list[tuple[list[str], list[Row]]]:
        """Rows that were not run, by everything that they lack."""
        found: dict[str, list[Row]] = {}
        for row in self._skipped:
            found.setdefault(row.verdict.reason, []).append(row)
        by_size = sorted(found.items(), key=lambda item: -len(item[1]))
        return [(reason.split(ALSO), rows) for reason, rows in by_size]

    @cached_property
    def pictures(self) -> list[tuple[str, Markup]]:
        """Titles and pictures of score distributions, one for each network and pair of sets."""
        groups: dict[tuple[str, str, str], list[Curve]] = {}
        for curve in self._curves:
            groups.setdefault((curve.network, curve.id_set, curve.ood_set), []).append(curve)
        return [(_title(key), _picture(group, _title(key))) for key, group in groups.items()]


def _title(key: tuple[str, str, str]) -> str:
    network, id_set, ood_set = key
    return f"{network}: {id_set} against {ood_set}"


def _picture(group: list[Curve], title: str) -> Markup:
    from energy_plugin_bench.report.figures import drawn  # matplotlib: only where there is something to draw

    ours_first = sorted(group, key=lambda curve: curve.method != "energy")
    return Markup(drawn(ours_first, title))  # noqa: S704 - our own picture; its words are escaped


class Pivot:
    """Detectors beside each other: a line for each network, pair of sets and metric.

    Args:
        verdicts: Those that were measured with an OOD set count.
    """

    def __init__(self, verdicts: Iterable[Verdict]) -> None:
        cells: dict[tuple[str, ...], dict[str, Row]] = {}
        for verdict in verdicts:
            asked = verdict.asked
            if verdict.measured is None or asked.ood_set is None:
                continue
            metric = TITLES.get(asked.metric, asked.metric)
            key = (verdict.source, asked.network, asked.ood_set, metric, asked.convention or "")
            cells.setdefault(key, {})[asked.method] = Row(verdict)
        self.lines = [(key, found) for key, found in cells.items() if len(found) > 1]
        methods = dict.fromkeys(method for _, found in self.lines for method in found)
        self.methods = sorted(methods, key=lambda name: (_ORDER.get(name, len(_ORDER)), name))

    def shown(self, found: Mapping[str, Row], method: str) -> dict[str, Any]:
        """A cell: figure in percent, whether it is the best of the line, and its verdict."""
        if method not in found:
            return {"text": "", "best": False, "status": ""}
        values = {name: _percent(row.verdict) for name, row in found.items()}
        verdict = found[method].verdict
        lower = verdict.asked.metric.startswith("fpr")
        best = (min if lower else max)(values.values())
        return {
            "text": f"{values[method]:.2f}",
            "best": values[method] == best,
            "status": verdict.status,
        }


_ORDER = {name: place for place, name in enumerate(("energy", "msp", "max_logit"))}


def _percent(verdict: Verdict) -> float:
    return (verdict.measured or 0.0) * (1 if verdict.unit == "percent" else 100)
