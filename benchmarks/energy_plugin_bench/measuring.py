"""What the commands that measure share: options, exit codes, progress, one process or several."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, redirect_stdout
from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from energy_plugin.manager import PluginManager
from energy_plugin_bench.apply.processes import Process, joined
from energy_plugin_bench.atomic import replacing
from energy_plugin_bench.inputs.assets import DATA_ROOT, Assets
from energy_plugin_bench.interrupts import StoppedError, ending
from energy_plugin_bench.options import add_options, said
from energy_plugin_bench.passes.cache import PassCache
from energy_plugin_bench.passes.computing import Computing
from energy_plugin_bench.passes.passes import ALONE, quiet
from energy_plugin_bench.passes.passes import Progress as Told
from energy_plugin_bench.report.curves import curves
from energy_plugin_bench.report.report import Report, environment
from energy_plugin_bench.values import registry as registries
from energy_plugin_bench.values.registry import Registry
from energy_plugin_bench.values.rows import ANOMALOUS_PIXELS, PublishedValue, Source
from energy_plugin_bench.verdicts.comparison import beside, scoring_pixels
from energy_plugin_bench.verdicts.needs import fetch_for
from energy_plugin_bench.verdicts.runner import Runner
from energy_plugin_bench.verdicts.verdict import Verdict

ALL_REPRODUCED, SOME_DIFFER, USAGE, NOTHING_VERIFIED, INTERRUPTED = 0, 1, 2, 3, 130
EXIT_CODES = (
    "Exit codes: 0 every row that was run is reproduced, or differs and the recipe says why; 1 some "
    "differ otherwise; 2 wrong usage, or files or plug-ins at fault; 3 nothing could be verified; 130 Ctrl-C."
)


def add_choice(parser: argparse.ArgumentParser) -> None:
    """Add which rows are measured, on what files, and how networks are run."""
    parser.add_argument(
        "-k", dest="expression", default="", metavar="EXPR", help="rows: 'mnist and not omniglot'"
    )
    parser.add_argument("--source", default="", help="rows of this source only")
    parser.add_argument(
        "--data-root",
        metavar="DIR",
        help=f"folder of weights and images; what is not run says which it needs (default: ${DATA_ROOT})",
    )
    parser.add_argument(
        "--from-images",
        action="store_true",
        help="take images, not carried logits, wherever they are there",
    )
    parser.add_argument(
        "--download",
        action="store_true",
        help="fetch what the rows need into the cache ($ENERGY_PLUGIN_HOME)",
    )
    add_options(parser.add_argument_group("computing").add_argument)


def guarded(options: argparse.Namespace, measure: Callable[[Process], Report]) -> Report | int:
    """Measure, in this process or as one of several, and say what goes wrong.

    Args:
        options: What the user said.
        measure: Called in the first process.

    Returns:
        Its report; an exit code where something went wrong, or in the other processes.
    """
    try:
        computing = Computing(**said(partial(getattr, options)))
        # What plug-ins print must not get between the lines of a document.
        with ending(), redirect_stdout(sys.stderr), joined(computing.device) as process:
            if process.first:
                return measure(process)
            _runner(options, registries.load(), process).share(())
            return ALL_REPRODUCED
    except (LookupError, ValueError, OSError, RuntimeError) as error:
        rank = os.environ.get("RANK", "0")
        which = "" if rank == "0" else f"process {rank}: "
        sys.stderr.write(f"error: {which}{error.args[0] if isinstance(error, LookupError) else error}\n")
        return USAGE
    except KeyboardInterrupt as error:
        kept = "" if options.no_cache else " What networks gave is kept: run it again to go on."
        sys.stderr.write(f"interrupted: nothing was written.{kept}\n")
        return 128 + error.number if isinstance(error, StoppedError) else INTERRUPTED


def exit_code(report: Report) -> int:
    """What a report means for a shell."""
    if report.unexplained:
        return SOME_DIFFER
    if any(verdict.failed for verdict in report.verdicts):
        return USAGE
    run = report.counts["reproduced"] + report.counts["differs"]
    return ALL_REPRODUCED if run else NOTHING_VERIFIED


def measured(
    options: argparse.Namespace,
    process: Process = ALONE,
    detectors: Callable[[PluginManager], Sequence[str]] = lambda _: (),
    *,
    with_curves: bool = False,
) -> Report:
    """Measure the rows that the options choose, and what stands beside them; with the other processes.

    Args:
        options: What the user said.
        process: The first of those that share the images.
        detectors: Which are compared on the same images.
        with_curves: Whether the distributions of scores are wanted, too.

    Raises:
        LookupError: An unknown source.
        ValueError: An expression or file with faults, or no row chosen.
        OSError: A data root without the files.
    """
    started = time.monotonic()
    registry = registries.load()
    rows = registry.select(source=options.source, expression=options.expression)
    if not rows:
        raise ValueError(
            f"no published value matches {options.expression!r}; `energy-plugin list --published --source "
            "NAME` lists their ids"
        )
    if options.download:
        fetch_for(_runner(options, registry, process), rows)
    with _bar(len(rows)) as progress:
        runner = _runner(options, registry, process, progress.network)
        names = detectors(runner.manager)
        if any(row.ood_set == ANOMALOUS_PIXELS for _, row in rows):
            runner.beside_pixels = scoring_pixels(runner.manager, names)
        if process.world > 1:
            runner.share(rows, registries.matcher(options.expression))
        verdicts = list(_verdicts(runner, rows, options, progress))
        verdicts += beside(runner, rows, names, known=verdicts)
        _say_failures(verdicts)
        found = reported(runner, tuple(verdicts), process.world, with_curves=with_curves)
    return replace(found, seconds=time.monotonic() - started)


def _say_failures(verdicts: Iterable[Verdict]) -> None:
    """Say what could not be run for faults of files or code, each reason once."""
    found: dict[str, list[str]] = {}
    for verdict in verdicts:
        if verdict.failed:
            found.setdefault(verdict.reason, []).append(verdict.id)
    for reason, ids in found.items():
        more = f" and {len(ids) - 1} more" if len(ids) > 1 else ""
        sys.stderr.write(f"error: {ids[0]}{more}: {reason}\n")


def reported(
    runner: Runner, verdicts: tuple[Verdict, ...], processes: int = 1, *, with_curves: bool = False
) -> Report:
    """Put verdicts together with what they came from.

    Args:
        runner: Who reached them.
        verdicts: At least those of the report.
        processes: How many shared the images.
        with_curves: Whether the distributions of scores are wanted, too.
    """
    known = runner.registry.sources
    return Report(
        verdicts,
        environment(runner.passes.computing, processes),
        sources={name: _about(known[name]) for name in dict.fromkeys(v.source for v in verdicts)},
        curves=tuple(curves(runner, verdicts)) if with_curves else (),
        hashes=dict(sorted(runner.passes.used.items())),
    )


def _about(source: Source) -> dict[str, str]:
    return {name: str(getattr(source, name)) for name in ("title", "cite", "repository", "kind", "note")}


def _runner(
    options: argparse.Namespace, registry: Registry, process: Process, progress: Told = quiet
) -> Runner:
    computing = Computing(**said(partial(getattr, options)))
    return Runner(
        registry,
        Assets(registry.files, options.data_root),
        from_images=options.from_images,
        progress=progress,
        computing=replace(computing, device=str(process.device)) if process.world > 1 else computing,
        cache=None if options.no_cache else PassCache(),
        process=process,
    )


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
                yield runner.attempt(source, row)
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
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        yield _Bar(bars, rows)


def output(path: Path | None) -> AbstractContextManager[Callable[[str], object]]:
    """Open a file before anything is computed; it appears when all is done. None: write nowhere."""
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
        yield partial(_written, part, path)


def _written(part: Path, path: Path, text: str) -> None:
    try:
        part.write_text(text, encoding="utf-8")
    except OSError as error:
        raise OSError(
            f"--output {path} cannot be written: {error.strerror}. Nothing is left of it; free space there "
            "or name another file. What networks gave is kept."
        ) from error
