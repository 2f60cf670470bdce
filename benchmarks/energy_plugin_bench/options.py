"""Options of commands and of pytest that say how networks are run; imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

BATCH = 200
AMP = ("bfloat16", "float16")


def add_options(add: Callable[..., Any], prefix: str = "--") -> None:
    """Add the options.

    Args:
        add: `add_argument` of an argparse parser, or `addoption` of a group of pytest's.
        prefix: Of the options' names.
    """
    add(f"{prefix}device", default="cpu", metavar="NAME", help="cpu, cuda, cuda:1 (default: cpu)")
    add(f"{prefix}batch-size", type=int, default=BATCH, metavar="N", help=f"images a batch ({BATCH})")
    add(f"{prefix}workers", type=int, default=0, metavar="N", help="threads that read image files (0)")
    add(
        f"{prefix}amp",
        nargs="?",
        const=AMP[0],
        default="",
        choices=AMP,
        help="automatic mixed precision; bfloat16 if no dtype is named",
    )
    add(
        f"{prefix}no-cache",
        action="store_true",
        help="neither read nor keep logits (in ENERGY_PLUGIN_HOME, else ~/.cache/energy_plugin)",
    )


def said(get: Callable[[str], Any], prefix: str = "") -> dict[str, Any]:
    """Return what was given, as arguments of `Computing`.

    Args:
        get: Gives the value of an option by its name with underscores.
        prefix: Of these names.
    """
    return {name: get(f"{prefix}{name}") for name in ("device", "batch_size", "workers", "amp")}
