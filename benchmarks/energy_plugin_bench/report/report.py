"""Verdicts for people and programs: a terminal table, Markdown, JSON."""

from __future__ import annotations

import json
import platform
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import groupby
from typing import Any, Self

import torch
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from energy_plugin.errors import near_misses
from energy_plugin_bench.passes.computing import Computing
from energy_plugin_bench.report.curves import Curve
from energy_plugin_bench.report.reading import SCHEMA, checked, finite
from energy_plugin_bench.report.wording import (
    Conventions,
    exact,
    figure_of,
    in_order,
    measured,
    order,
    score_of,
    sets_of,
    title,
    within,
)
from energy_plugin_bench.values.registry import matcher
from energy_plugin_bench.verdicts.verdict import ALSO, STATUSES, Question, Verdict

COLOURS = {"reproduced": "green", "differs": "bold red", "measured": "cyan", "not run": "dim"}
COLOURS = {"reproduced": "green", "differs": "bold red", "measured": "cyan", "not run": "dim"}
_CARRIED = "figures from carried logits"
LIBRARIES = ("energy-plugin", "torch", "numpy")


def environment(computing: Computing | None = None, processes: int = 1) -> dict[str, str]:
    """Where figures were computed, for reports."""
    made_on = (computing or Computing()).made_on()
    versions = {name: version(name) for name in LIBRARIES}
    when = datetime.now(UTC).isoformat(timespec="seconds")
    machine = {name: str(value) for name, value in made_on.items()}
    machine |= {"threads": str(torch.get_num_threads()), "processes": str(processes)}
    return (
        {"time": when, "python": platform.python_version(), "platform": platform.platform()}
        | versions
        | machine
    )


@dataclass(frozen=True)
class Report:
    """Verdicts and where they were reached.

    Attributes:
        verdicts: One a figure.
        environment: Versions, device, time.
        seconds: How long it took.
        sources: What is said of each source: title, cite, repository, kind, note.
        curves: What lies behind the figures.
        hashes: SHA-256 of the files that figures came from.
    """

    verdicts: tuple[Verdict, ...]
    environment: Mapping[str, str] = field(default_factory=environment)
    seconds: float = 0.0
    sources: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    curves: tuple[Curve, ...] = ()
    hashes: Mapping[str, str] = field(default_factory=dict)

    @property
    def counts(self) -> Counter[str]:
        """Number of figures by status."""
        return Counter(verdict.status for verdict in self.verdicts)

    @property
    def unexplained(self) -> tuple[Verdict, ...]:
        """Figures that differ, and no recipe says why."""
        return tuple(v for v in self.verdicts if v.status == "differs" and not v.explained)

    def by_source(self) -> dict[str, tuple[Verdict, ...]]:
        """Verdicts of each source."""
        found: dict[str, tuple[Verdict, ...]] = {}
        for verdict in self.verdicts:
            found[verdict.source] = (*found.get(verdict.source, ()), verdict)
        return found

    def by_score(self) -> dict[str, Counter[str]]:
        """Verdicts on published figures by detector or class metric: energy first, then what was run most."""
        found: dict[str, Counter[str]] = {}
        for verdict in self.verdicts:
            if verdict.published:
                found.setdefault(score_of(verdict), Counter())[verdict.status] += 1
        names = sorted(
            found, key=lambda name: (name != "energy", -_ran(found[name]), -found[name].total(), name)
        )
        return {name: found[name] for name in names}

    def scores(self) -> list[tuple[str, Counter[str]]]:
        """The same for readers: energy and what was run, then all others as one."""
        found = self.by_score()
        shown = [(name, count) for name, count in found.items() if _ran(count) or name == "energy"]
        others = [count for name, count in found.items() if not _ran(count) and name != "energy"]
        if others:
            shown.append((f"{len(others)} other{'s' if len(others) > 1 else ''}", sum(others, Counter())))
        return shown

    def summary(self) -> str:
        """One line of counts."""
        count = self.counts
        explained = count["differs"] - len(self.unexplained)
        differ = f"{count['differs']} differ" + (f" ({explained} explained)" if explained else "")
        known = f"{count['reproduced']} reproduced, {differ}, {count['not run']} not run"
        return f"{known}; {count['measured']} measured without a published value"

    def surroundings(self) -> dict[str, str]:
        """Where figures were computed; carried logits were not computed there."""
        ran = [verdict.origin for verdict in self.verdicts if verdict.measured is not None]
        carried = sum("carried logits" in origin for origin in ran)
        said = f"{carried} of {len(ran)}; these logits were computed beforehand, on a CPU in float32"
        return dict(self.environment) | ({_CARRIED: said} if carried else {})

    def to_json(self) -> str:
        """One JSON document."""
        document = {
            "schema": SCHEMA,
            "summary": {status: self.counts[status] for status in STATUSES},
            "scores": {
                name: {status: count[status] for status in STATUSES if status != "measured"}
                for name, count in self.by_score().items()
            },
            "seconds": round(self.seconds, 1),
            "environment": self.surroundings(),
            "figures": [verdict.to_dict() for verdict in self.verdicts],
            "sources": {name: dict(said) for name, said in self.sources.items()},
            "curves": [curve.to_dict() for curve in self.curves],
            "hashes": dict(self.hashes),
        }
        return json.dumps(finite(document), indent=1, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Make one of what `to_json` gave.

        Raises:
            ValueError: It is something else; says what.
        """
        data = checked(text)
        return cls(
            tuple(map(Verdict.of, data["figures"])),
            {name: said for name, said in data["environment"].items() if name != _CARRIED},
            data["seconds"],
            data["sources"],
            tuple(map(Curve.of, data["curves"])),
            data["hashes"],
        )

    def only(self, source: str = "", expression: str = "") -> Self:
        """The part of one source, of figures whose ids match an expression, with their curves.

        Raises:
            LookupError: There is no such source in it; with near misses.
            ValueError: The expression is none, or nothing matches.
        """
        known = self.by_source()
        if source and source not in known:
            raise LookupError(f"the report has no source {source!r}. {near_misses(source, known)}")
        chosen = matcher(expression)
        verdicts = tuple(v for v in self.verdicts if source in ("", v.source) and chosen(v.id))
        if not verdicts:
            raise ValueError(f"no figure of the report matches {expression!r}")
        kept = {_drawn(v.source, v.asked) for v in verdicts}
        names = {v.source for v in verdicts}
        return replace(
            self,
            verdicts=verdicts,
            sources={name: said for name, said in self.sources.items() if name in names},
            curves=tuple(curve for curve in self.curves if _drawn(curve.source, curve) in kept),
        )


def _drawn(source: str, of: Curve | Question) -> tuple[object, ...]:
    return source, of.network, of.id_set, of.ood_set, of.method


def to_terminal(report: Report, console: Console, *, everything: bool = False) -> None:
    """Print a table for each network, the rows that were not run by reason, and a summary.

    Args:
        report: What to print.
        console: Where to.
        everything: Whether rows that were not run are listed one by one.
    """
    for source, verdicts in report.by_source().items():
        console.rule(Text(source, style="bold"))
        conventions = Conventions(verdicts)
        for _, group in groupby(in_order(verdicts), key=_together):
            console.print(_table(list(group), conventions, console.width))
        for line in _notin_order(verdicts, everything=everything):
            console.print(Text(line, style="dim"))
        for line in _differing(verdicts):
            console.print(Text(line, style=COLOURS["differs"]))
    for line in _scores(report):
        console.print(Text(line))
    console.print(Text(f"{report.summary()}. {report.seconds:.0f} s", style="bold"))


def _scores(report: Report) -> Iterator[str]:
    """What came of each score's published figures, where anything was run."""
    for name, count in report.scores():
        if _ran(count):
            ran = f"{count['reproduced']} reproduced, {count['differs']} differ"
            yield f"{name}: {ran}, {count['not run']} not run"


def _ran(count: Counter[str]) -> int:
    return count["reproduced"] + count["differs"]


def _together(verdict: Verdict) -> tuple[str, str]:
    return verdict.asked.network, verdict.asked.id_set


def _table(verdicts: Sequence[Verdict], conventions: Conventions, room: int) -> Table:
    """Figures of one network and in-distribution set, in so many columns of a screen."""
    title = Text(" on ".join(_together(verdicts[0])), style="italic")
    table = Table(
        title=title, title_justify="left", box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False,
        padding=(0, 1, 0, 0),
    )  # fmt: skip
    before, lines = "", []
    for verdict in verdicts:
        name = f"{verdict.asked.ood_set or '-'}{conventions(verdict.asked)}"
        shown = verdict.published or "-", measured(verdict), within(verdict), verdict.status
        lines.append(("" if name == before else name, figure_of(verdict), *shown))
        before = name
    widths = _widths(lines, room)
    for (heading, numeric), width in zip(_COLUMNS.items(), widths, strict=True):
        table.add_column(heading, justify="right" if numeric else "left", overflow="fold", width=width)
    for *cells, allowed, status in lines:
        if len(allowed) > widths[4]:
            allowed = allowed.replace(" ± ", "\n± ")
        # As texts: a name with brackets is no markup.
        table.add_row(*map(Text, (*cells, allowed)), Text(status, style=COLOURS[status]))
    return table


_COLUMNS = {
    "OOD set": False, "figure": False, "published": True, "measured": True, "within": True, "verdict": False,
}  # fmt: skip
_GAP = 2


def _widths(lines: Sequence[Sequence[str]], room: int) -> tuple[int, ...]:
    """Widths of the columns: where it is narrow, names are folded; numbers and the verdict stay whole."""
    sets, figures, *rest = (max(map(len, column)) for column in zip(_COLUMNS, *lines, strict=True))
    left = room - sum(rest) - _GAP * (len(_COLUMNS) - 1)
    if left < min(sets + figures, 24):  # the tolerance goes below what it is around
        folded = max(
            len(part) for line in lines for part in ("within", *line[4].replace(" ±", "\n±").split("\n"))
        )
        left, rest[2] = left + rest[2] - folded, folded
    figures = max(1, min(figures, max(left // 2, left - sets)))
    return max(1, min(sets, left - figures)), figures, *rest


def _notin_order(verdicts: Iterable[Verdict], *, everything: bool) -> Iterator[str]:
    """How many rows each reason keeps from being run, or each row with all of its reasons."""
    skipped = [verdict for verdict in verdicts if verdict.status == "not run"]
    if everything:
        yield from (str(verdict) for verdict in skipped)
    elif skipped:
        reasons = Counter(reason for verdict in skipped for reason in verdict.reason.split(ALSO))
        several = " (some for several reasons)" if reasons.total() > len(skipped) else ""
        yield f"{len(skipped)} rows not run{several}:"
        yield from (f"  {count}: {reason}" for reason, count in reasons.items())


def _differing(verdicts: Iterable[Verdict]) -> Iterator[str]:
    """What differs: figures that no recipe explains one by one, the others under their reason."""
    explained: dict[str, list[str]] = {}
    for verdict in verdicts:
        if verdict.status != "differs":
            continue
        explained.setdefault(verdict.explained or "not explained", []).append(
            f"  {verdict.id}: published {verdict.published}, measured {exact(verdict)}{verdict.moved}"
        )
    for reason, lines in explained.items():
        yield f"{len(lines)} differ: {reason}:"
        yield from lines


def to_markdown(report: Report, *, short: bool = False) -> str:
    """Counts by source, then the figures: a line for each network, set and score.

    Args:
        report: What to show.
        short: Leave out figures that nobody published, and why rows were not run.
    """
    by_source = [(name, Counter(v.status for v in verdicts)) for name, verdicts in report.by_source().items()]
    lines = [*_counts("source", by_source), "", *scores_table(report)]
    for source, verdicts in report.by_source().items():
        shown = [verdict for verdict in in_order(verdicts) if verdict.published or not short]
        for heading, rows in _by_heading(shown).items():
            lines += ["", f"**{source}**: {heading}", ""]
            lines += [
                "| network | ID set / OOD set | score | published | measured | verdict |",
                "|---|---|---|---|---|---|",
            ]
            lines += [_markdown_line(row) for row in rows]
        for said in (_differing(verdicts), _notin_order(verdicts, everything=False)):
            lines += [] if short else _listed(source, list(said))
    return "\n".join(lines) + "\n"


def scores_table(report: Report) -> list[str]:
    """Lines of a table: what came of published figures by score."""
    return _counts("score", report.scores())


def _counts(what: str, counts: Iterable[tuple[str, Mapping[Any, int]]]) -> list[str]:
    lines = [f"| {what} | reproduced | differ | not run |", "|---|---:|---:|---:|"]
    for name, count in counts:
        numbers = " | ".join(str(count[status]) for status in ("reproduced", "differs", "not run"))
        lines.append(f"| {name} | {numbers} |")
    return lines


def _listed(source: str, lines: list[str]) -> Iterator[str]:
    """Lines that stand in by two signs as a list under the line before them."""
    for before, line in zip(["  ", *lines], lines, strict=False):
        if line.startswith("  "):
            yield from ([""] if not before.startswith("  ") else [])
            yield f"- {line.strip()}"
        else:
            yield from ("", f"**{source}**: {line}")


def _by_heading(verdicts: Iterable[Verdict]) -> dict[str, list[tuple[Verdict, ...]]]:
    """Figures of one network, pair of sets and score as a line each, under metrics, unit and convention."""
    found: dict[str, list[tuple[Verdict, ...]]] = {}
    for _, group in groupby(verdicts, key=order):
        for row in _lines(group):
            metrics = " / ".join(title(verdict.asked.metric) for verdict in row)
            convention = row[0].asked.convention
            said = f", convention {convention}" if convention else ""
            found.setdefault(f"{metrics}, {row[0].unit}{said}", []).append(row)
    return found


def _lines(group: Iterable[Verdict]) -> Iterator[tuple[Verdict, ...]]:
    """Split figures so that no line holds two of one metric: sources print some twice."""
    lines: list[list[Verdict]] = []
    for verdict in group:
        metric = verdict.asked.metric
        free = (line for line in lines if all(other.asked.metric != metric for other in line))
        line = next(free, None)
        if line is None:
            lines.append(line := [])
        line.append(verdict)
    yield from map(tuple, lines)


def _markdown_line(row: tuple[Verdict, ...]) -> str:
    published = " / ".join(verdict.published for verdict in row if verdict.published) or "-"
    ours = " / ".join(map(measured, row))
    said = ", ".join(f"{count} {status}" for status, count in Counter(v.status for v in row).items())
    asked = row[0].asked
    score = "-" if asked.method == "argmax" else asked.method
    cells = (asked.network, sets_of(asked), score, published, ours, said)
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"
