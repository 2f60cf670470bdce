"""Verdicts for people and programs: a terminal table, Markdown, JSON."""

from __future__ import annotations

import json
import platform
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import groupby
from typing import Self

import torch
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from energy_plugin_bench.passes.computing import Computing
from energy_plugin_bench.report.curves import Curve
from energy_plugin_bench.verdicts.verdict import ALSO, STATUSES, Verdict

COLOURS = {"reproduced": "green", "differs": "bold red", "measured": "cyan", "not run": "dim"}
TITLES = {
    "error_rate": "error rate", "accuracy": "accuracy", "fpr95": "FPR95", "tnr95": "TNR95", "tnr99": "TNR99",
    "auroc": "AUROC", "aupr": "AUPR", "aupr_in": "AUPR-in", "aupr_out": "AUPR-out",
}  # fmt: skip
SCHEMA = 2
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

    def summary(self) -> str:
        """One line of counts."""
        count = self.counts
        explained = count["differs"] - len(self.unexplained)
        differ = f"{count['differs']} differ" + (f" ({explained} explained)" if explained else "")
        known = f"{count['reproduced']} reproduced, {differ}, {count['not run']} not run"
        return f"{known}; {count['measured']} measured without a published value"

    def to_json(self) -> str:
        """One JSON document."""
        document = {
            "schema": SCHEMA,
            "summary": {status: self.counts[status] for status in STATUSES},
            "seconds": round(self.seconds, 1),
            "environment": dict(self.environment),
            "figures": [verdict.to_dict() for verdict in self.verdicts],
            "sources": {name: dict(said) for name, said in self.sources.items()},
            "curves": [curve.to_dict() for curve in self.curves],
            "hashes": dict(self.hashes),
        }
        return json.dumps(document, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Make one of what `to_json` gave.

        Raises:
            ValueError: It is something else; says what.
        """
        data = json.loads(text)
        if not isinstance(data, dict) or data.get("schema") != SCHEMA or "figures" not in data:
            raise ValueError(
                f"expected verdicts as `energy-plugin reproduce --json` writes them (schema {SCHEMA})"
            )
        return cls(
            tuple(Verdict.of(figure) for figure in data["figures"]),
            data.get("environment", {}),
            data.get("seconds", 0.0),
            data.get("sources", {}),
            tuple(Curve.of(curve) for curve in data.get("curves", ())),
            data.get("hashes", {}),
        )


def to_terminal(report: Report, console: Console, *, everything: bool = False) -> None:
    """Print a table for each network, the rows that were not run by reason, and a summary.

    Args:
        report: What to print.
        console: Where to.
        everything: Whether rows that were not run are listed one by one.
    """
    for source, verdicts in report.by_source().items():
        console.rule(f"[bold]{source}")
        for network, group in groupby(in_order(verdicts), key=_network):
            console.print(_table(network, group))
        for line in _notin_order(verdicts, everything=everything):
            console.print(Text(line, style="dim"))
        for line in _differing(verdicts):
            console.print(Text(line, style=COLOURS["differs"]))
    console.print(Text(f"{report.summary()}. {report.seconds:.0f} s", style="bold"))


def in_order(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """What was run, by network and set, so that figures of one set stand together."""
    return sorted((verdict for verdict in verdicts if verdict.status != "not run"), key=_place)


def _place(verdict: Verdict) -> tuple[object, ...]:
    asked = verdict.asked
    return asked.network, asked.ood_set is not None, _set(verdict), not verdict.published, asked.method


def _network(verdict: Verdict) -> str:
    return verdict.asked.network


def _set(verdict: Verdict) -> str:
    return verdict.asked.ood_set or verdict.asked.id_set


def _table(network: str, verdicts: Iterable[Verdict]) -> Table:
    table = Table(title=network, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("set", overflow="fold")
    table.add_column("figure", no_wrap=True)
    for name in ("published", "measured", "within"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    before = ""
    for verdict in verdicts:
        name = _set(verdict)
        table.add_row(
            "" if name == before else name,
            _score(verdict),
            verdict.published or "-",
            _shown(verdict.measured),
            _within(verdict),
            Text(verdict.status, style=COLOURS[verdict.status]),
        )
        before = name
    return table


def _score(verdict: Verdict) -> str:
    metric = TITLES.get(verdict.asked.metric, verdict.asked.metric)
    return metric if verdict.asked.method == "argmax" else f"{verdict.asked.method} {metric}"


def _within(verdict: Verdict) -> str:
    """The tolerance, with what it is around where that is not the printed figure."""
    if verdict.tolerance is None:
        return ""
    target = _shown(verdict.tolerance.target)
    return f"{'' if target == verdict.published else target} ± {verdict.tolerance.width:.3f}".strip()


def _shown(figure: float | None) -> str:
    return "" if figure is None else f"{figure:.2f}"


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
            f"  {verdict.id}: published {verdict.published}, measured {verdict.measured:.3f}{verdict.moved}"
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
    lines = ["| source | reproduced | differ | not run |", "|---|---:|---:|---:|"]
    for source, verdicts in report.by_source().items():
        count = Counter(verdict.status for verdict in verdicts)
        numbers = " | ".join(str(count[status]) for status in ("reproduced", "differs", "not run"))
        lines.append(f"| {source} | {numbers} |")
    for source, verdicts in report.by_source().items():
        shown = [verdict for verdict in in_order(verdicts) if verdict.published or not short]
        for metrics, rows in _by_metrics(shown).items():
            lines += [
                "",
                f"**{source}**: {' / '.join(TITLES.get(metric, metric) for metric in metrics)}, percent",
                "",
            ]
            lines += [
                "| network | set | score | published | measured | verdict |",
                "|---|---|---|---|---|---|",
            ]
            lines += [_markdown_line(row) for row in rows]
        for said in (_differing(verdicts), _notin_order(verdicts, everything=False)):
            lines += [] if short else _listed(source, list(said))
    return "\n".join(lines) + "\n"


def _listed(source: str, lines: list[str]) -> Iterator[str]:
    """Lines that stand in by two signs as a list under the line before them."""
    for before, line in zip(["  ", *lines], lines, strict=False):
        if line.startswith("  "):
            yield from ([""] if not before.startswith("  ") else [])
            yield f"- {line.strip()}"
        else:
            yield from ("", f"**{source}**: {line}")


def _by_metrics(verdicts: Iterable[Verdict]) -> dict[tuple[str, ...], list[tuple[Verdict, ...]]]:
    """Figures of one network, set and score together, under the metrics that they are."""
    found: dict[tuple[str, ...], list[tuple[Verdict, ...]]] = {}
    for _, group in groupby(verdicts, key=_place):
        row = tuple(group)
        found.setdefault(tuple(verdict.asked.metric for verdict in row), []).append(row)
    return found


def _markdown_line(row: tuple[Verdict, ...]) -> str:
    published = " / ".join(verdict.published for verdict in row if verdict.published) or "-"
    measured = " / ".join(_shown(verdict.measured) for verdict in row)
    said = ", ".join(f"{count} {status}" for status, count in Counter(v.status for v in row).items())
    score = "-" if row[0].asked.method == "argmax" else row[0].asked.method
    return f"| {' | '.join((row[0].asked.network, _set(row[0]), score, published, measured, said))} |"
