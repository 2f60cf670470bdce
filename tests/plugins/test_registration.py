"""Registrations: all or none, undone only where still ours, one handle a host."""

from __future__ import annotations

from collections import UserDict, defaultdict
from types import ModuleType, SimpleNamespace
from typing import Any

import pluggy
import pytest

from energy_plugin.registration import ABSENT, Registration, attribute, item, once, plugin


def test_attributes_are_set_and_restored() -> None:
    host = ModuleType("suite")
    host.old = "theirs"  # type: ignore[attr-defined]
    handle = Registration("suite", [attribute(host, "old", "ours"), attribute(host, "new", "ours too")])
    assert (host.old, host.new) == ("ours", "ours too")
    assert [(c.key, c.before, c.after) for c in handle.changes] == [
        ("old", "theirs", "ours"),
        ("new", ABSENT, "ours too"),
    ]
    assert repr(handle) == "<Registration at suite: suite.old replaced; suite.new added>"
    assert handle.undo() == ()
    assert host.old == "theirs"
    assert not hasattr(host, "new")
    assert "undone" in repr(handle)
    assert not handle.active


def test_what_somebody_else_has_replaced_is_left_alone_and_named() -> None:
    host = SimpleNamespace(old="theirs", other=1)
    handle = Registration("suite", [attribute(host, "old", "ours"), attribute(host, "other", 2)])
    host.old = "a third party's"
    assert [change.key for change in handle.undo()] == ["old"]
    assert (host.old, host.other) == ("a third party's", 1)
    host.old = "ours"
    assert handle.undo() == ()  # the second undo touches nothing
    assert host.old == "ours"


def test_a_parent_class_is_not_mistaken_for_the_host() -> None:
    class Parent:
        method = "inherited"

    class Host(Parent):
        pass

    Registration("suite", [attribute(Host, "method", "ours")]).undo()
    assert "method" not in vars(Host)


@pytest.mark.parametrize("kind", [dict, UserDict, lambda: defaultdict(list)])
def test_mappings_are_filled_and_emptied(kind: Any) -> None:
    host = kind()
    host["old"] = "theirs"
    handle = Registration("a mapping", [item(host, "old", "ours"), item(host, "new", "ours")])
    assert dict(host) == {"old": "ours", "new": "ours"}
    assert repr(handle) == "<Registration at a mapping: ['old'] replaced; ['new'] added>"
    handle.undo()
    assert dict(host) == {"old": "theirs"}


def test_a_key_that_is_gone_is_not_deleted_again() -> None:
    host: dict[str, str] = {}
    handle = Registration("a mapping", [item(host, "new", "ours")])
    del host["new"]
    assert [change.key for change in handle.undo()] == ["new"]


def test_pluggy_managers_are_served() -> None:
    host = pluggy.PluginManager("suite")
    thing = SimpleNamespace()
    handle = Registration("a pluggy manager", [plugin(host, "ours", thing)])
    assert host.get_plugin("ours") is thing
    handle.undo()
    assert host.get_plugin("ours") is None
    assert not host.get_plugins()


def test_a_failure_in_the_middle_changes_nothing() -> None:
    class Frozen:
        __slots__ = ()

    class Half(dict[str, str]):
        def __setitem__(self, key: str, value: str) -> None:
            if key == "refused":
                raise ValueError("no")
            super().__setitem__(key, value)

    host = Half()
    with pytest.raises(ValueError, match="no"):
        Registration("a mapping", [item(host, "fine", "ours"), item(host, "refused", "ours")])
    assert host == {}
    with pytest.raises(TypeError):
        attribute(Frozen(), "x", 1)


def test_one_handle_a_host_until_it_is_undone() -> None:
    host: dict[str, str] = {}
    made = []

    def make() -> Registration:
        made.append(1)
        return Registration("a mapping", [item(host, "new", "ours")])

    first = once(host, make)
    assert once(host, make) is first
    assert len(made) == 1
    assert once({}, make) is not first  # equal, but another mapping
    first.undo()
    second = once(host, make)
    assert second is not first
    second.undo()


def test_names_are_compared_by_value() -> None:
    host: dict[str, str] = {}
    first = once("some:target", lambda: Registration("x", [item(host, "new", 1)]))
    assert once("".join(["some:", "target"]), lambda: Registration("x", [])) is first
    first.undo()


def test_leaving_the_context_undoes_once_the_last_holder_has_left() -> None:
    host: dict[str, str] = {}

    def make() -> Registration:
        return Registration("a mapping", [item(host, "new", "ours")])

    with once(host, make) as outer:
        with once(host, make) as inner:
            assert inner is outer
        assert "new" in host
    assert host == {}

    kept = once(host, make)
    with once(host, make):
        pass
    assert "new" in host  # the first caller still holds it
    kept.undo()
    assert host == {}


def test_a_bridge_must_return_a_registration() -> None:
    with pytest.raises(TypeError, match="returned None; expected a Registration"):
        once("some:bridge", lambda: None)  # type: ignore[arg-type,return-value]
