"""The command `energy-plugin reproduce`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from energy_plugin_bench.apply.processes import Process
from energy_plugin_bench.measuring import EXIT_CODES, USAGE, add_choice, exit_code, guarded, measured, output
from energy_plugin_bench.report.formats import ENDINGS, format_of, rendered
from energy_plugin_bench.report.report import Report, to_markdown, to_terminal
from energy_plugin_bench.verdicts.comparison import third_party


def configure(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    """Add the command's arguments and return what runs it."""
    parser.epilog = EXIT_CODES
    add_choice(parser)
    parser.add_argument(
        "--all", dest="everything", action="store_true", help="list rows that were not run, too"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON document")
    form.add_argument(
        "--markdown",
        nargs="?",
        const="full",
        choices=("full", "short"),
        help="print Markdown; short leaves out figures without a published value, and reasons",
    )
    parser.add_argument(
        "--output", type=Path, metavar="PATH", help="write JSON (or *.md, *.csv, *.html) here, too"
    )
    return run


def run(options: argparse.Namespace) -> int:
    """Measure the chosen rows, print them, and return the exit code."""
    if options.output and options.output.suffix and not format_of(options.output):
        sys.stderr.write(f"error: --output {options.output}: expected an ending of {', '.join(ENDINGS)}\n")
        return USAGE

    def measure(process: Process) -> Report:
        with output(options.output) as write:
            report = measured(options, process, lambda manager: tuple(third_party(manager)))
            write(rendered(report, format_of(options.output) or "json") if options.output else "")
            return report

    report = guarded(options, measure)
    if isinstance(report, int):
        return report
    _print(report, options)
    return exit_code(report)


def _text(report: Report, markdown: str) -> str:
    return to_markdown(report, short=markdown == "short") if markdown else report.to_json() + "\n"


def _print(report: Report, options: argparse.Namespace) -> None:
    if options.json or options.markdown:
        sys.stdout.write(_text(report, options.markdown))
    else:
        to_terminal(report, Console(), everything=options.everything)
