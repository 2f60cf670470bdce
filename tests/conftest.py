"""Settings that every test shares."""

from __future__ import annotations

import pytest
import torch
from hypothesis import settings

collect_ignore = [
    "openood_standin",
    "example_host",
]  # packages that tests install, with files named like tests

settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")


@pytest.fixture(autouse=True)
def _same_numbers_every_time() -> None:
    torch.manual_seed(0)
