"""The command `energy-plugin report`: published against measured, for people to read."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from energy_plugin.manager import PluginManager
from energy_plugin_bench.apply.processes import Process
from energy_plugin_bench.measuring import EXIT_CODES, add_choice, exit_code, guarded, measured, output
from energy_plugin_bench.report.formats import FORMATS, format_of, rendered
from energy_plugin_bench.report.reading import COMMANDS
from energy_plugin_bench.report.report import Report
from energy_plugin_bench.verdicts.comparison import BESIDE, third_party


def configure(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    """Add the command's arguments and return what runs it."""
    parser.epilog = f"Example: energy-plugin report --output report.html. {EXIT_CODES}"
    parser.add_argument(
        "--from",
        dest="verdicts",
        type=Path,
        metavar="PATH",
        help="show these verdicts (`reproduce --json`, `report --format json`); nothing is measured, "
        "-k and --source choose among them",
    )
    parser.add_argument(
        "--output", type=Path, metavar="PATH", help="write here (default: stdout; for HTML report.html)"
    )
    parser.add_argument(
        "--format", choices=tuple(FORMATS), help="default: what the ending of --output says, else html"
    )
    parser.add_argument(
        "--detector",
        dest="detectors",
        action="append",
        metavar="NAME",
        help=f"compare it on the same images; repeatable (default: {', '.join(BESIDE)}, and every "
        "detector of other plug-ins)",
    )
    add_choice(parser)
    return run


def run(options: argparse.Namespace) -> int:
    """Measure or read, write the report, and return the exit code."""
    kind = options.format or format_of(options.output) or "html"
    path = options.output or (Path("report.html") if kind == "html" else None)

    def measure(process: Process) -> Report:
        with output(path) as write:
            report = _read(options) if options.verdicts else _measured(options, process)
            write(rendered(report, kind))
            return report

    report = guarded(options, measure)
    if isinstance(report, int):
        return report
    if path is None:
        sys.stdout.write(rendered(report, kind))
    else:
        sys.stderr.write(f"{report.summary()}: {path}\n")
    return exit_code(report)


def _measured(options: argparse.Namespace, process: Process) -> Report:
    def detectors(manager: PluginManager) -> Sequence[str]:
        return options.detectors or (*BESIDE, *third_party(manager))

    return measured(options, process, detectors, with_curves=True)


def _read(options: argparse.Namespace) -> Report:
    path = options.verdicts
    if options.detectors:
        raise ValueError("--detector is for what is measured; --from shows what was measured before")
    try:
        report = Report.from_json(path.read_text(encoding="utf-8"))
    except ValueError as error:  # bytes that are no text are one, too
        raise ValueError(f"{path} is no report of {COMMANDS}: {error}") from error
    return report.only(options.source, options.expression)
