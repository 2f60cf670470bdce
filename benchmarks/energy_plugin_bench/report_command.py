"""The command `energy-plugin report`: published against measured, for people to read."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from energy_plugin.manager import PluginManager
from energy_plugin_bench.apply.processes import Process
from energy_plugin_bench.measuring import EXIT_CODES, USAGE, add_choice, exit_code, guarded, measured, output
from energy_plugin_bench.report.formats import ENDINGS, FORMATS, format_of, rendered
from energy_plugin_bench.report.page import is_page
from energy_plugin_bench.report.reading import COMMANDS
from energy_plugin_bench.report.report import Report
from energy_plugin_bench.verdicts.comparison import BESIDE, third_party

_DEFAULT = Path("report.html")


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
    kind = options.format or format_of(options.output)
    if not kind and options.output and not options.output.is_dir():  # a folder is told of in its own words
        known = ", ".join(ENDINGS)
        sys.stderr.write(f"error: --output {options.output}: expected an ending of {known}, or --format\n")
        return USAGE
    kind = kind or "html"
    path = options.output or (_DEFAULT if kind == "html" else None)
    again = path is not None and path.exists()

    def measure(process: Process) -> Report:
        if options.output is None and path is not None:
            _not_a_stranger(path)
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
        over = " over what was there" if again else ""
        sys.stderr.write(f"{report.summary()}. Written{over}: {path}\n")
    return exit_code(report)


def _not_a_stranger(path: Path) -> None:
    """Refuse to write over a file that nobody named and that is no report."""
    if path.is_file() and not is_page(path.read_text(encoding="utf-8", errors="replace")):
        raise FileExistsError(f"{path} is there and is no report of this command; name a file by --output")


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
