"""The log of a training: one JSON object a line, cut back on resuming so that no step stands twice."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Log:
    """Rows with a `step`, counted from 1.

    Args:
        path: The file.
        write: Whether to write at all (one process does).
    """

    def __init__(self, path: Path, *, write: bool = True) -> None:
        self.path = path
        self.write = write

    def back_to(self, step: int) -> None:
        """Forget the rows after `step`, and one that was cut off while it was written."""
        if not self.write:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        kept = [line for line in self._lines() if json.loads(line)["step"] <= step]
        self.path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")

    def add(self, row: Mapping[str, Any]) -> None:
        """Append a row."""
        if self.write:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")

    def _lines(self) -> list[str]:
        if not self.path.exists():
            return []
        whole, _, _ = self.path.read_text(encoding="utf-8").rpartition("\n")
        return whole.splitlines()
