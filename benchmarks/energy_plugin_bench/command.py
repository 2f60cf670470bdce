"""The command `energy-plugin reproduce`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from energy_plugin_bench import registry as registries
from energy_plugin_bench.assets import DATA_ROOT, Assets
from energy_plugin_bench.atomic import replacing
from energy_plugin_bench.download import fetch_for
from energy_plugin_bench.report import Report, to_markdown, to_terminal
from energy_plugin_bench.rows import PublishedValue, Source
from energy_plugin_bench.runner import Runner
from energy_plugin_bench.verdict import Verdict

ALL_REPRODUCED, SOME_DIFFER, USAGE, NOTHING_VERIFIED, INTERRUPTED = 0, 1, 2, 3, 130


def configure(parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    """Add the command's arguments and return what runs it."""
    parser.epilog = (
        "Exit codes: 0 every row that was run is reproduced, 1 some differ, 2 wrong usage or files, "
        "3 nothing could be verified."
    )
    parser.add_argument(
        "-k", dest="expression", default="", metavar="EXPR", help="rows: 'mnist and not omniglot'"
    )
    parser.add_argument("--source", default="", help="rows of this source only")
    parser.add_argument(
        "--data-root", metavar="DIR", help=f"folder with mnist/ and cifar/ (default: ${DATA_ROOT})"
    )
    parser.add_argument(
        "--from-images", action="store_true", help="compute logits anew wherever images are there"
    )
    parser.add_argument(
        "--all", dest="everything", action="store_true", help="list rows that were not run, too"
    )
    parser.add_argument(
        "--download",
        action="store_true",
        help="fetch what the rows need into the cache ($ENERGY_PLUGIN_HOME)",
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
        "--output", type=Path, metavar="PATH", help="write JSON (or Markdown: *.md) here, too"
    )
    return run


def run(options: argparse.Namespace) -> int:
    """Measure the chosen rows, print them, and return the exit code."""
    try:
        with _output(options.output) as write:
            report = reproduce(options)
            write(_text(report, "full" if options.output and options.output.suffix == ".md" else ""))
    except (LookupError, ValueError, OSError) as error:
        sys.stderr.write(f"error: {error.args[0] if isinstance(error, LookupError) else error}\n")
        return USAGE
    except KeyboardInterrupt:
        sys.stderr.write("interrupted: nothing was written.\n")
        return INTERRUPTED
    _print(report, options)
    return exit_code(report)


def exit_code(report: Report) -> int:
    """What a report means for a shell."""
    count = report.counts
    if count["differs"]:
        return SOME_DIFFER
    return ALL_REPRODUCED if count["reproduced"] else NOTHING_VERIFIED


def reproduce(options: argparse.Namespace) -> Report:
    """Measure the rows that the options choose, and what stands beside them.

    Raises:
        LookupError: An unknown source.
        ValueError: An expression or file with faults, or no row chosen.
        OSError: A data root without the files.
    """
    started = time.monotonic()
    registry = registries.load()
    rows = registry.select(source=options.source, expression=options.expression)
    if not rows:
        raise ValueError(f"no published value matches {options.expression!r}; `--json` lists all ids")
    if options.download:
        fetch_for(Runner(registry, Assets(registry.files, options.data_root)), rows)
    with _bar(len(rows)) as progress:
        assets = Assets(registry.files, options.data_root)
        runner = Runner(registry, assets, from_images=options.from_images, progress=progress.network)
        verdicts = list(_verdicts(runner, rows, options, progress))
    return Report(tuple(verdicts), seconds=time.monotonic() - started)


def _verdicts(
    runner: Runner,
    rows: list[tuple[Source, PublishedValue]],
    options: argparse.Namespace,
    progress: _Bar,
) -> Iterator[Verdict]:
    chosen = registries.matcher(options.expression)
    for name in dict.fromkeys(source.name for source, _ in rows):
        for source, row in rows:
            if source.name == name:
                yield runner.verdict(source, row)
                progress.row()
        yield from runner.extras(name, chosen)


class _Bar:
    """Progress on stderr: rows, and the network that is at work."""

    def __init__(self, bars: Progress, rows: int) -> None:
        self._bars = bars
        self._rows = bars.add_task("rows", total=rows)
        self._network = bars.add_task("", total=None, visible=False)

    def row(self) -> None:
        """One more row is done."""
        self._bars.advance(self._rows)

    def network(self, what: str, done: int, total: int) -> None:
        """A network has seen `done` of `total` images."""
        self._bars.update(self._network, description=what, completed=done, total=total, visible=done < total)


@contextmanager
def _bar(rows: int) -> Iterator[_Bar]:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        yield _Bar(bars, rows)


def _output(path: Path | None) -> AbstractContextManager[Callable[[str], object]]:
    return nullcontext(lambda _: None) if path is None else _file(path)


@contextmanager
def _file(path: Path) -> Iterator[Callable[[str], object]]:
    """Open the output before anything is computed; it appears when all is done."""
    if path.is_dir():
        raise IsADirectoryError(f"--output {path} is a folder; expected a file name")
    with ExitStack() as stack:
        try:
            part = stack.enter_context(replacing(path))
        except OSError as error:
            raise OSError(f"--output {path} cannot be written: {error.strerror}") from error
        yield partial(part.write_text, encoding="utf-8")


def _text(report: Report, markdown: str) -> str:
    return to_markdown(report, short=markdown == "short") if markdown else report.to_json() + "\n"


def _print(report: Report, options: argparse.Namespace) -> None:
    if options.json or options.markdown:
        sys.stdout.write(_text(report, options.markdown))
    else:
        to_terminal(report, Console(), everything=options.everything)
