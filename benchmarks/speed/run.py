"""Time every goal against its peer in one run: `python benchmarks/speed/run.py [--quick]`.

Prints a table, writes JSON and a plot to benchmarks/speed/results/. `python benchmarks/speed/tables.py` puts
the latest results into the README and docs/speed.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import goals
import gpu
import torch
from goals import MAPS, ROWS, Outcome
from measuring import ALLOCATOR, machine
from tables import HEADS, RESULTS, conditions, shown


def measured(*, quick: bool, wanted: set[int]) -> Iterator[Outcome]:
    """Yield the outcomes of the goals that are wanted; all of them where none is named."""
    shapes = [ROWS[0], MAPS[0]] if quick else [*ROWS, *MAPS]
    single = {
        3: lambda: goals.small_batch(201),
        10: lambda: goals.low_resolution(5 if quick else 11, (512, 1024) if quick else (1024, 2048)),
        11: lambda: goals.exact_metrics(1_000_000, 3 if quick else 7),
        12: lambda: goals.streaming(10_000_000 if quick else 100_000_000),
        13: lambda: goals.harness(8 if quick else 32, 20_000),
        14: goals.importing,
        15: lambda: () if quick else goals.growth(5),
    }
    for goal in sorted(wanted or range(1, 16)):
        if goal in single:
            yield from single[goal]()
        else:
            yield from _over_shapes(goal, shapes, quick=quick)
    yield from (found for found in gpu.outcomes() if not wanted or found.goal in wanted)


def _over_shapes(goal: int, shapes: list[tuple[int, ...]], *, quick: bool) -> Iterator[Outcome]:
    """Yield the outcomes of a goal that is measured at several shapes."""
    for shape in shapes:
        large = torch.Size(shape).numel() > 10_000_000
        if goal in (1, 2):
            kernel = "compile" if goal == 1 else "eager"
            yield from goals.loss_speed(goal, kernel, shape, torch.float32, 7 if quick or large else 21)
            if goal == 1 and not quick and shape in (ROWS[2], MAPS[1]):
                yield from goals.loss_speed(goal, kernel, shape, torch.bfloat16, 7)
        elif goal == 4:
            yield from goals.memory(shape)
        elif goal == 5 and shape in (ROWS[0], MAPS[0]):
            yield from goals.half_precision(shape)
        elif goal == 9:
            yield from goals.detector(shape, 9)


def plot(outcomes: list[Outcome], path: Path, title: str) -> None:
    """Draw each outcome as a part of its target; left of the line it is met."""
    from matplotlib.figure import Figure  # only where a plot is drawn

    known = [found for found in reversed(outcomes) if found.measured is not None and found.target > 0]
    figure = Figure(figsize=(10, 1.5 + 0.22 * len(known)), layout="constrained")
    axes = figure.add_subplot()
    shares = [(found.measured or 0.0) / found.target for found in known]
    colours = ["tab:green" if found.met else "tab:red" for found in known]
    axes.barh([f"{found.goal}: {found.case} / {found.against}" for found in known], shares, color=colours)
    axes.axvline(1.0, color="black", linewidth=1)
    axes.set_xlabel("measured / target")
    axes.set_title(title, fontsize=7, wrap=True)
    axes.tick_params(labelsize=7)
    figure.savefig(path, dpi=120)


def report(outcomes: list[Outcome], where: dict[str, Any]) -> None:
    """Print the table."""
    from rich.console import Console  # only where a table is printed
    from rich.table import Table

    table = Table(*HEADS, title=conditions(where))
    for outcome in outcomes:
        table.add_row(*shown(vars(outcome)), style=None if outcome.met is not False else "red")
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer shapes and rounds; two minutes")
    parser.add_argument("--goals", type=int, nargs="*", default=[], help="only these; 15 is the growth")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the JSON and the plot")
    options = parser.parse_args()
    if any(os.environ.get(name) != value for name, value in ALLOCATOR.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], os.environ | ALLOCATOR)  # noqa: S606  # ourselves
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    where = machine()
    outcomes = []
    for outcome in measured(quick=options.quick, wanted=set(options.goals)):
        outcomes.append(outcome)
        sys.stderr.write(" | ".join(shown(vars(outcome))) + "\n")
    report(outcomes, where)
    options.out.mkdir(parents=True, exist_ok=True)
    stem = options.out / (
        f"{where['date'][:10]}-{'gpu' if where['gpu'] else 'cpu'}" + ("-quick" * options.quick)
    )
    document = {"machine": where, "outcomes": [dataclasses.asdict(outcome) for outcome in outcomes]}
    stem.with_suffix(".json").write_text(json.dumps(document, indent=1) + "\n")
    plot(outcomes, stem.with_suffix(".png"), conditions(where))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
