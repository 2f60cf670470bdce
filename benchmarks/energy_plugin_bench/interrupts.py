"""Ctrl-C, SIGTERM and SIGHUP: an end with a message, at once or, where a step is in hand, after it."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType

_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))

TOGETHER = 1.0
"""Seconds within which signals are one: Ctrl-C under `torchrun` comes from the terminal and from torchrun."""


class StoppedError(KeyboardInterrupt):
    """Somebody wants the command to end; like its base, no `except Exception` takes it for a fault.

    Args:
        number: Of the signal.
        message: What the user is told.
    """

    def __init__(self, number: int = signal.SIGINT, message: str = "interrupted") -> None:
        super().__init__(message)
        self.number = number


@dataclass
class Wish:
    """Whether somebody wishes the work in hand to be the last.

    Attributes:
        number: Of the signal that came; 0 while none did.
    """

    number: int = 0


@contextlib.contextmanager
def ending() -> Iterator[None]:
    """Within the block each of the signals raises `StoppedError` at once."""
    with _handled(_stop):
        yield


@contextlib.contextmanager
def held(told: Callable[[], None]) -> Iterator[Wish]:
    """Within the block a signal becomes a wish, for the work to look at; a second one ends it at once.

    Args:
        told: Called when the first one comes.
    """
    wish, came = Wish(), 0.0

    def handler(number: int, frame: FrameType | None) -> None:
        nonlocal came
        if not wish.number:
            wish.number, came = number, time.monotonic()
            told()
        elif time.monotonic() - came > TOGETHER:
            _stop(number, frame)

    with _handled(handler):
        yield wish


def _stop(number: int, _: FrameType | None) -> None:
    raise StoppedError(number)


@contextlib.contextmanager
def _handled(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # Python allows handlers there alone
        yield
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    # Who was started with a signal ignored, behind nohup or `&`, is to go on ignoring it; what came from C
    # (None) could not be put back.
    own = [number for number in _SIGNALS if before[number] not in (signal.SIG_IGN, None)]
    for number in own:
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number in own:
            signal.signal(number, before[number])
