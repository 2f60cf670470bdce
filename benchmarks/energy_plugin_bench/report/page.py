"""The report as one HTML file that needs nothing else: no network, no other file."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from energy_plugin_bench.report import wording
from energy_plugin_bench.report.curves import Curve
from energy_plugin_bench.report.report import Report
from energy_plugin_bench.report.wording import Conventions, in_order, sets_of
from energy_plugin_bench.values import places
from energy_plugin_bench.verdicts.verdict import ALSO, STATUSES, Verdict

TITLE = "Published OOD figures against measured ones"
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
        page_title=TITLE,
        report=report,
        sources=sources,
        names=list(dict.fromkeys((*report.by_score(), *map(wording.score_of, report.verdicts)))),
        statuses=STATUSES,
        symbols=SYMBOLS,
        pivot=Pivot(report.verdicts),
        title=wording.title,
        style=_trusted(environment, "report.css"),
        script=_trusted(environment, "report.js"),
    )


def is_page(text: str) -> bool:
    """Whether a text begins as such a page does."""
    return f"<title>{TITLE}</title>" in text[:2000]


def _trusted(environment: Environment, name: str) -> Markup:
    """A file of this package that goes into the page as it is."""
    return Markup(environment.loader.get_source(environment, name)[0])  # type: ignore[union-attr]  # noqa: S704


@dataclass(frozen=True)
class Row:
    """A verdict as the page shows it."""

    verdict: Verdict
    conventions: Conventions

    @property
    def sets(self) -> str:
        """What the figure is of, beside the network."""
        return sets_of(self.verdict.asked) + self.conventions(self.verdict.asked)

    @property
    def score(self) -> str:
        """What is counted and chosen by: the detector, or the class metric."""
        return wording.score_of(self.verdict)

    @property
    def figure(self) -> str:
        """Detector and metric."""
        return wording.figure_of(self.verdict)

    @property
    def measured(self) -> str:
        """Our figure."""
        return wording.measured(self.verdict)

    @property
    def off(self) -> str:
        """How far it is from the target."""
        return wording.off(self.verdict)

    @property
    def within(self) -> str:
        """How far it may be, and from what where that is not the printed figure."""
        return wording.within(self.verdict)

    @property
    def width(self) -> str:
        """How far it may be."""
        return wording.width(self.verdict)

    @property
    def link(self) -> str:
        """Address of where it was read."""
        return places.link(self.verdict.place)

    @property
    def short_place(self) -> str:
        """The last part of where it was read: file and line."""
        return re.split(r"/|: ?", self.verdict.place.rstrip("/ "))[-1] or self.verdict.place

    @property
    def said(self) -> list[str]:
        """What stands in small print."""
        verdict = self.verdict
        parts = [
            verdict.id,
            f"expected {verdict.tolerance.target:g}: {verdict.tolerance.reason}" if verdict.tolerance else "",
            f"differs: {verdict.explained}" if verdict.status == "differs" and verdict.explained else "",
            verdict.moved.removeprefix("; "),
            f"{verdict.draws} draws of ours, spread {verdict.spread:.{wording.digits(verdict)}f}"
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
        conventions = Conventions(verdicts)
        ordered = [Row(verdict, conventions) for verdict in in_order(verdicts)]
        self.tables = [
            [row for row in ordered if row.verdict.status != "measured"],
            [row for row in ordered if row.verdict.status == "measured"],
        ]
        self.ran = any(self.tables)
        self.link = places.repository(self.about["repository"])
        self._skipped = [Row(v, conventions) for v in verdicts if v.status == "not run"]
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


class Line(NamedTuple):
    """What the figures of a line have in common."""

    source: str
    network: str
    id_set: str
    ood_set: str
    metric: str
    convention: str

    @property
    def sets(self) -> str:
        """In-distribution and OOD set."""
        return f"{self.id_set} / {self.ood_set}"


class Pivot:
    """Detectors beside each other: a line for each network, pair of sets, metric and convention.

    Args:
        verdicts: Those that were measured with an OOD set count.
    """

    def __init__(self, verdicts: Iterable[Verdict]) -> None:
        cells: dict[Line, dict[str, list[Verdict]]] = {}
        for verdict in verdicts:
            asked = verdict.asked
            if verdict.measured is None or asked.ood_set is None:
                continue
            line = Line(
                verdict.source,
                asked.network,
                asked.id_set,
                asked.ood_set,
                asked.metric,
                asked.convention or "",
            )
            cells.setdefault(line, {}).setdefault(asked.method, []).append(verdict)
        self.lines = [(line, found) for line, found in cells.items() if len(found) > 1]
        methods = dict.fromkeys(method for _, found in self.lines for method in found)
        self.methods = sorted(methods, key=lambda name: (_ORDER.get(name, len(_ORDER)), name))

    def shown(self, line: Line, found: Mapping[str, list[Verdict]], method: str) -> dict[str, Any]:
        """A cell: figure in percent, whether it is the best of the line, and the verdicts on it."""
        if method not in found:
            return {"text": "", "best": False, "statuses": ()}
        values = {name: _percent(verdicts[0]) for name, verdicts in found.items()}
        numbers = [value for value in values.values() if not math.isnan(value)]
        best = (min if line.metric.startswith("fpr") else max)(numbers, default=None)
        return {
            "text": f"{values[method]:.2f}",
            "best": values[method] == best,
            # A source may print the same figure twice, and one of the two may hold.
            "statuses": tuple(dict.fromkeys(verdict.status for verdict in found[method])),
        }


_ORDER = {name: place for place, name in enumerate(("energy", "msp", "max_logit"))}


def _percent(verdict: Verdict) -> float:
    return (verdict.measured or 0.0) * (1 if verdict.unit == "percent" else 100)
