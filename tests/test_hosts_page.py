"""The page for host authors: its ten lines keep the contract, and the example host is built from it."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

from energy_plugin import EnergyDetector, EnergyRegularizedLoss, trial
from energy_plugin.errors import ContractError
from energy_plugin.testing import check_host

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "hosts.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE)
EXAMPLE = ROOT / "tests" / "example_host" / "example_ood_suite" / "plugins.py"


@pytest.fixture
def page() -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(compile(BLOCKS[0], "hosts.md", "exec"), names)
    return names


def example() -> Any:
    spec = importlib.util.spec_from_file_location("example_plugins", EXAMPLE)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_ten_lines_are_ten() -> None:
    body = BLOCKS[0].split("def offers(hook):\n")[1].split("\n\n")[0]
    assert len(body.splitlines()) <= 10
    assert len(BLOCKS[0].split("def find(hook, name):\n")[1].splitlines()) <= 5


def test_the_ten_lines_find_ours_and_keep_the_contract(page: dict[str, Any]) -> None:
    assert page["find"]("ood_losses", "energy_regularized") is EnergyRegularizedLoss
    assert page["find"]("ood_detectors", "energy") is EnergyDetector
    check_host(lookup=page["find"])
    with trial.installed():
        _, broken = page["offers"]("ood_detectors")
    told = {line.split(" of ")[0] for line in broken}
    assert told == {"contract_trial_import", "contract_trial_hook"}


def test_the_ten_lines_say_whose_a_name_is(page: dict[str, Any]) -> None:
    with trial.installed():
        with pytest.raises(LookupError, match=r"has 2 owners: \['contract_trial_first', '.*_second'\]"):
            page["find"]("ood_detectors", trial.CLAIMED)
        with pytest.raises(LookupError, match=f"'{trial.ABSENT}' has 0 owners"):
            page["find"]("ood_detectors", trial.ABSENT)


def test_the_example_host_is_the_pages() -> None:
    assert EXAMPLE.read_text() in BLOCKS


def test_the_example_host_keeps_the_contract() -> None:
    check_host(lookup=lambda hook, name: example().Plugins().get(hook, name)[0])


def test_nothing_is_left_of_the_trial(page: dict[str, Any]) -> None:
    with trial.installed():
        assert trial.GOOD in page["offers"]("ood_detectors")[0]
    assert not any(name.startswith("contract_trial") for name in page["offers"]("ood_detectors")[0])


def test_lookups_that_break_the_contract_are_caught(page: dict[str, Any]) -> None:
    guessing = BLOCKS[0].replace("if len(owners) != 1:", "if not owners:")
    unguarded = BLOCKS[0].replace("except Exception as error:", "except KeyError as error:")
    silent = BLOCKS[0].replace("    if len(owners)", "    if not owners: return None\n    if len(owners)")
    curt = BLOCKS[0].replace(": {[owner for owner, _ in owners]}", "")
    for source, told in (
        (guessing, "a name with two owners must be an error"),
        (unguarded, "with broken plug-ins installed, looking up a good one raised"),
        (silent, "a name that nobody has must be an error, but the lookup gave None"),
        (curt, "a name with two owners: the error must name both, got LookupError"),
    ):
        assert source != BLOCKS[0]
        names: dict[str, Any] = {}
        exec(compile(source, "hosts.md", "exec"), names)
        with pytest.raises(ContractError, match=told):
            check_host(lookup=names["find"])
    with pytest.raises(ContractError, match="expected what the target names, got 3"):
        check_host(lookup=lambda hook, name: 3)
    with pytest.raises(ContractError, match="makes no detector"):
        check_host(lookup=lambda hook, name: dict)
    with pytest.raises(TypeError, match=r"a host .* or lookup"):
        check_host()
