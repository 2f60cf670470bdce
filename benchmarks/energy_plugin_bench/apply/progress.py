"""How far a run is, on stderr: a bar on a terminal, a line a phase elsewhere."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar


class Progress:
    """What is done, and of how much.

    Args:
        show: Whether to tell of progress; messages are told in any case.
    """

    def __init__(self, *, show: bool = True) -> None:
        self.console = Console(stderr=True)
        self.show = show
        self._bar: Bar | None = None
        self._task: TaskID | None = None

    @contextlib.contextmanager
    def phase(self, name: str, total: int, done: int = 0) -> Iterator[None]:
        """Say that something begins, of so many parts, some of them done."""
        if self.show and not self.console.is_terminal:
            self.console.print(f"{name}: {done} of {total} done" if done else f"{name}: {total}")
        columns = [TextColumn("{task.description:<20}"), BarColumn(), MofNCompleteColumn()]
        clocks = [TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[note]}")]
        with Bar(
            *columns, *clocks, console=self.console, disable=not (self.show and self.console.is_terminal)
        ) as bar:
            self._bar, self._task = bar, bar.add_task(name, total=total, completed=done, note="")
            try:
                yield
            finally:
                self._bar = self._task = None

    def advance(self, parts: int, note: str = "") -> None:
        """Say that so many parts more are done."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, advance=parts, note=note)

    def say(self, message: str) -> None:
        """Print a line."""
        self.console.print(message, markup=False, highlight=False, soft_wrap=True)
