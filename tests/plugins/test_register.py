"""The one line for hosts: by name, at a pluggy manager, at a mapping."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pluggy
import pytest

import energy_plugin
from energy_plugin import EnergyDetector, EnergyRegularizedLoss, Registration, plugin, register
from energy_plugin.errors import DuplicateNameError, HostMissingError, UnknownNameError
from energy_plugin.manager import default_manager

Install = Callable[..., str]

HOST = """
import pluggy
from types import SimpleNamespace as S
suite = S(loss="theirs")

@pluggy.HookimplMarker("ood_benchmark")
def ood_hosts():
    return [
        S(name="suite", target="{module}:at_suite"),
        S(name="gone", target="{module}:at_suite", requires=("no_such_suite",), extra="some[gone]"),
        S(name="odd", target="{module}:at_odd"),
    ]

def at_suite():
    from energy_plugin.registration import Registration, attribute
    return Registration("suite", [attribute(suite, "loss", object())])

def at_odd():
    return 42
"""


@pytest.fixture
def host(install: Install) -> Any:
    module = install("host-adapter", HOST.format(module="host_adapter"))
    default_manager()
    return sys.modules[module].suite


def test_by_name_twice_is_once_and_undone(host: Any) -> None:
    first = register("suite")
    ours = host.loss
    assert ours != "theirs"
    assert register("suite") is first
    assert host.loss is ours
    first.undo()
    assert host.loss == "theirs"
    with register("suite") as again:
        assert host.loss != "theirs"
        assert again.active
    assert host.loss == "theirs"


def test_an_unknown_host_gets_its_near_miss(host: Any) -> None:
    with pytest.raises(UnknownNameError, match=r"'pytorch-ood'.*'pytorch_ood'"):
        register("pytorch-ood")


def test_a_missing_host_gets_its_extra(host: Any) -> None:
    with pytest.raises(HostMissingError, match=r"'no_such_suite'.*pip install 'some\[gone\]'"):
        register("gone")


def test_a_bridge_that_returns_nonsense(host: Any) -> None:
    with pytest.raises(TypeError, match="returned 42"):
        register("odd")


def test_only_the_named_host_is_imported(install: Install) -> None:
    suites = [install(f"suite-{name}", "x = 1", entry_points="[none]\n") for name in ("one", "two")]
    install(
        "two-hosts",
        """
        import pluggy
        from types import SimpleNamespace as S

        @pluggy.HookimplMarker("ood_benchmark")
        def ood_hosts():
            return [S(name=n, target="two_hosts:at_suite", requires=(n,)) for n in ("suite_one", "suite_two")]

        def at_suite():
            from energy_plugin.registration import Registration
            return Registration("suite", [])
        """,
    )
    register("suite_one").undo()
    assert [suite in sys.modules for suite in suites] == [True, False]


def test_a_mapping_gets_loss_and_detector() -> None:
    registry: dict[str, Any] = {"theirs": 1}
    with register(registry) as handle:
        assert registry == {
            "theirs": 1,
            "energy_regularized": EnergyRegularizedLoss,
            "energy": EnergyDetector,
        }
        with register(registry) as again:
            assert again is handle
        assert repr(handle) == "<Registration at a mapping: ['energy_regularized'] added; ['energy'] added>"
    assert registry == {"theirs": 1}


def test_a_registry_of_losses_gets_the_loss_alone() -> None:
    registry: dict[str, Any] = {}
    with register(registry, kinds=("loss",)):
        assert list(registry) == ["energy_regularized"]
    with pytest.raises(ValueError, match=r"kinds holds \['metric'\]"):
        register(registry, kinds=("loss", "metric"))


def test_an_entry_of_the_same_name_is_not_replaced_unasked() -> None:
    registry: dict[str, Any] = {"energy": "theirs"}
    with pytest.raises(DuplicateNameError, match="has 'energy' already; replace=True"):
        register(registry)
    assert registry == {"energy": "theirs"}
    with register(registry, replace=True):
        assert registry["energy"] is EnergyDetector
    assert registry == {"energy": "theirs"}


def test_a_pluggy_manager_gets_our_plugin() -> None:
    host = pluggy.PluginManager("ood_benchmark")
    host.add_hookspecs(energy_plugin.hookspecs)
    with register(host):
        assert [r.name for records in host.hook.ood_losses() for r in records] == ["energy_regularized"]
        host.check_pending()
    assert not host.hook.ood_losses()


def test_a_pluggy_manager_that_has_us_already_is_left_as_it_is() -> None:
    host = pluggy.PluginManager("ood_benchmark")
    host.register(plugin, name="found by itself")
    with register(host) as handle:
        assert handle.changes == ()
        assert repr(handle) == "<Registration at a pluggy manager: nothing to change>"
    assert host.get_plugin("found by itself") is plugin


def test_a_pluggy_manager_of_another_project_would_not_see_us() -> None:
    with pytest.raises(ValueError, match="project 'suite' would not see hooks marked 'ood_benchmark'"):
        register(pluggy.PluginManager("suite"))


@pytest.mark.parametrize("host", [None, 3, ["energy"], ("a", "b"), object(), Registration])
def test_anything_else_is_refused(host: Any) -> None:
    with pytest.raises(
        TypeError, match="expected the name of a suite, a pluggy manager or a mutable mapping"
    ):
        register(host)
