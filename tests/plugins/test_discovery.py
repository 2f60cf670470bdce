"""Entry points of each distribution once, who a plug-in is, and how its faults are told."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from energy_plugin.discovery import Plugin, Problem, canonical, entry_points, told
from energy_plugin.errors import UnknownNameError
from energy_plugin.manager import PluginManager

Install = Callable[..., str]


def test_names_are_compared_as_package_indexes_do() -> None:
    assert canonical(" Some_.Name-") == "some-name-"
    plugin = Plugin(name="my_plugin", distribution="My.Dist", version="1.0")
    assert str(plugin) == "plug-in 'my_plugin' of My.Dist 1.0"
    assert str(Plugin(name="by hand")) == "plug-in 'by hand'"
    for switch in ("my-plugin", "my-dist", "my-dist:my-plugin"):
        assert plugin.matches({switch})
    assert not plugin.matches({"my", "", "dist:my-plugin"})
    assert not Plugin(name="x").matches({""})


def test_other_groups_are_left_alone(install: Install) -> None:
    install("other-group", entry_points="[ood_benchmark_elsewhere]\nx = other_group\n")
    problems: list[Problem] = []
    assert "other-group" not in {found.metadata["Name"] for _, found in entry_points(problems)}
    assert problems == []


def test_an_error_is_told_in_one_line() -> None:
    with pytest.raises(ValueError, match="one") as caught:
        raise ValueError("one\n  two")
    assert told(caught.value).startswith("ValueError: one two (")
    assert "test_discovery.py:" in told(caught.value)
    assert told(KeyError("x")) == "KeyError: 'x'"


def test_the_place_of_the_fault_is_told(install: Install) -> None:
    module = install("breaks-on-import", "x = 1\n\n1 / 0\n")
    (problem,) = PluginManager().discover().problems
    assert f"{module}.py:3)" in problem.what


def test_a_distribution_in_two_folders_counts_once(install: Install) -> None:
    install("twice", loss="shadowed", version="1.0", folder="later")
    install("twice", loss="seen", version="2.0", folder="earlier")  # prepended last, so first on the path
    manager = PluginManager().discover()
    assert manager.problems == ()
    assert [p.version for p in manager.plugins if p.distribution == "twice"] == ["2.0"]
    assert manager.get("loss", "seen")
    with pytest.raises(UnknownNameError):
        manager.get("loss", "shadowed")


def test_a_newer_version_without_the_plugin_hides_the_older(install: Install) -> None:
    install("twice", loss="shadowed", version="1.0", folder="later")
    install("twice", version="2.0", folder="earlier", entry_points="[console_scripts]\nx = y:z\n")
    assert "twice" not in {p.distribution for p in PluginManager().discover().plugins}


def test_broken_metadata_of_one_distribution_stops_nobody(install: Install) -> None:
    install("good-one", loss="good")
    install("garbled", "x = 1", entry_points="[ood_benchmark]\nno equals sign\n")
    manager = PluginManager().discover().discover()
    assert manager.get("loss", "good")
    (problem,) = manager.problems
    assert problem.stage == "metadata"
    assert "cannot be read" in problem.what
