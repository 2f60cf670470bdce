"""The few exceptions of our own; each derives from the built-in that a caller would expect.

ValueError
  DuplicateNameError   two plug-ins own one name
  LabelError           a label code that the convention does not know
  NotFittedError       a threshold was asked for before `fit` (also an AttributeError, as in scikit-learn)
LookupError
  UnknownNameError     no plug-in owns the name
ImportError
  ExtraMissingError    something optional is not installed
    HostMissingError   the host of an adapter is not installed, or breaks on import
AssertionError
  ContractError        a check of `energy_plugin.testing` failed
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class DuplicateNameError(ValueError):
    """Two plug-ins own one name."""


class LabelError(ValueError):
    """A label code that the named convention does not know."""


class NotFittedError(ValueError, AttributeError):
    """A threshold was asked for before it was fitted."""


class UnknownNameError(LookupError):
    """No plug-in owns the name."""


class ExtraMissingError(ImportError):
    """Something optional is not installed; the message says what to install."""


class HostMissingError(ExtraMissingError):
    """The host of an adapter is not installed, or breaks on import."""


class ContractError(AssertionError):
    """A check of `energy_plugin.testing` failed; an AssertionError, so that any test runner counts it so."""


def near_misses(name: str, known: Iterable[str], *, most: int = 8) -> str:
    """Say which known names resemble `name`, or list the first few, as the tail of an error message."""
    names = sorted(set(known))
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if close:
        return f"Did you mean {' or '.join(repr(match) for match in close)}?"
    if not names:
        return "None is known."
    shown = ", ".join(repr(known_name) for known_name in names[:most])
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return f"Known: {shown}{rest}."
