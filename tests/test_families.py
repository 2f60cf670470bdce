"""Families of backbones: one record, many names, nothing imported until one is asked for."""

from __future__ import annotations

import functools

import pytest

from energy_plugin import hookimpl
from energy_plugin.errors import UnknownNameError
from energy_plugin.manager import PluginManager
from energy_plugin.records import BackboneSpec


class Plugin:
    @hookimpl
    def ood_backbones(self):
        return [
            BackboneSpec(name="zoo", target="functools:partial", family=True),
            BackboneSpec(name="zoo:lion", target="functools:reduce"),
            BackboneSpec(name="cage", target="functools:partial"),
        ]


@pytest.fixture
def manager():
    found = PluginManager().add(Plugin())
    assert not found.problems
    return found


def test_a_member_is_looked_up_in_its_family_and_handed_to_the_factory(manager):
    spec = manager.get("backbone", "zoo:polar bear/white:v1")
    assert (spec.name, spec.member) == ("zoo", "polar bear/white:v1")
    made = spec.load()
    assert isinstance(made, functools.partial)
    assert made.args == ("polar bear/white:v1",)


def test_a_record_with_the_whole_name_goes_before_the_family(manager):
    assert manager.get("backbone", "zoo:lion").load() is functools.reduce


def test_the_family_itself_loads_its_factory(manager):
    assert manager.get("backbone", "zoo").load() is functools.partial


@pytest.mark.parametrize("name", ["zoos:lion", "cage:lion", "zoo:"])
def test_members_of_what_is_no_family_are_unknown(manager, name):
    with pytest.raises(UnknownNameError, match="Did you mean"):
        manager.get("backbone", name)


def test_a_family_must_be_one_to_have_members_and_its_name_has_no_colon():
    with pytest.raises(ValueError, match="no family"):
        BackboneSpec(name="a", target="a:b", member="c")
    with pytest.raises(ValueError, match="no colon"):
        BackboneSpec(name="a:b", target="a:b", family=True)
