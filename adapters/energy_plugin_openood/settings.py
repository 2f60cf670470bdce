"""Reading a configuration of OpenOOD, whose attributes raise KeyError where they are missing."""

from __future__ import annotations

from typing import Any


def setting(config: Any, path: str, default: Any = None) -> Any:
    """Return what a dotted path names, or the default where a part of it is missing or empty.

    Args:
        config: OpenOOD's `Config`, a mapping, any object with attributes, or None.
        path: Such as `postprocessor.postprocessor_args.temperature`.
        default: What counts otherwise.
    """
    found = config
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except (AttributeError, KeyError):  # `getattr` with a default lets a KeyError through
            return default
    return default if found is None else found
