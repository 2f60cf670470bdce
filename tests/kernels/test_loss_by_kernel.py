"""All tests of the loss once more, by every kernel."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

# The functions that are compiled run uncompiled: every test has shapes of its own, and each costs seconds.
ENVIRONMENTS = {
    "reference": {},
    "eager": {},
    "compile": {"TORCH_COMPILE_DISABLE": "1"},
    "triton": {"TRITON_INTERPRET": "1"},
}


@pytest.mark.long
@pytest.mark.parametrize("kernel", sorted(ENVIRONMENTS))
def test_the_tests_of_the_loss_pass(kernel: str) -> None:
    files = sorted(map(str, TESTS.glob("test_loss*.py")))
    environment = os.environ | ENVIRONMENTS[kernel] | {"ENERGY_PLUGIN_KERNEL": kernel}
    quiet = ["-W", "ignore::RuntimeWarning"]  # the interpreter computes lanes that are masked
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *quiet, *files],
        cwd=TESTS.parent, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
