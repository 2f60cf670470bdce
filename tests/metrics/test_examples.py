"""The examples in the docstrings are true."""

from __future__ import annotations

import doctest
import importlib

import pytest


@pytest.mark.parametrize("module", ["metrics.evaluation", "metrics.scores", "streaming.stream"])
def test_examples_give_what_they_say(module):
    found = doctest.testmod(importlib.import_module(f"energy_plugin.{module}"))
    assert found.attempted > 0
    assert found.failed == 0
