"""Settings that every test shares."""

from __future__ import annotations

import signal

import pytest
import torch
from hypothesis import settings

collect_ignore = [
    "openood_standin",
    "example_host",
]  # packages that tests install, with files named like tests

settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_counts() -> None:
    """A shell has what it starts in the background ignore SIGINT; what is tested must hear it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _same_numbers_every_time() -> None:
    torch.manual_seed(0)
