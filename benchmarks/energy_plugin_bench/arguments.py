"""Kinds of command-line arguments, checked while they are read: argparse then names the option."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path


def at_least(low: int) -> Callable[[str], int]:
    """Whole numbers from `low` on."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if value < low:
            raise argparse.ArgumentTypeError(f"expected a whole number, {low} or more, got {text!r}")
        return value

    return read


def number(low: float = -math.inf, *, beyond: bool = False) -> Callable[[str], float]:
    """Finite numbers; from `low` on, or only those beyond it."""

    def read(text: str) -> float:
        value = _float(text)
        if not math.isfinite(value) or value < low or (beyond and value == low):
            limit = f" above {low:g}" if beyond else f" of {low:g} or more" * math.isfinite(low)
            raise argparse.ArgumentTypeError(f"expected a number{limit}, got {text!r}")
        return value

    return read


def share(*, whole: bool) -> Callable[[str], float]:
    """Shares above 0 and below 1, or up to 1 where the whole is allowed."""

    def read(text: str) -> float:
        value = _float(text)
        if not (0 < value < 1 or (whole and value == 1)):
            raise argparse.ArgumentTypeError(
                f"expected a share between 0 and 1, such as 0.95 for 95 %, got {text!r}"
            )
        return value

    return read


def folder(text: str) -> Path:
    """A folder to write to, there already or to be made."""
    path = Path(text)
    there = next((one for one in (path, *path.parents) if one.exists()), path)
    if there.exists() and not there.is_dir():
        raise argparse.ArgumentTypeError(f"{there} is a file; expected a folder")
    return path


def _float(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
