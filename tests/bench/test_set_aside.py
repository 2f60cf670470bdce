"""A plug-in whose values cannot be read costs nobody else theirs, and is named with all its faults."""

import sys
from types import ModuleType, SimpleNamespace

import pytest

from energy_plugin import hookimpl
from energy_plugin.manager import PluginManager
from energy_plugin_bench.values import registry as registries
from energy_plugin_bench.values.checking import RowsError


class Stranger:
    """A plug-in with a folder of values."""

    def __init__(self, target):
        self._target = target

    @hookimpl
    def ood_published(self):
        return [SimpleNamespace(name="rows", target=self._target)]


@pytest.fixture
def strangers(tmp_path, monkeypatch):
    """A function that makes a manager of plug-ins, each with a folder of TOML files or another target."""

    def make(**plugins):
        manager = PluginManager()
        for name, files in plugins.items():
            if isinstance(files, str):
                manager.add(Stranger(files), name)
                continue
            folder = tmp_path / name
            folder.mkdir()
            for file, text in files.items():
                (folder / f"{file}.toml").write_text(text)
            module = ModuleType(f"folder_of_{name}")
            module.FOLDER = folder
            monkeypatch.setitem(sys.modules, module.__name__, module)
            manager.add(Stranger(f"{module.__name__}:FOLDER"), name)
        return manager

    return make


def values(source, *ids, more=""):
    head = f"[source]\nname = '{source}'\ntitle = 't'\ncite = 'c'\n[[tables]]\nplace = 'p'\nid_set = 'a'\n"
    shared = "network = 'n'\nmethod = 'argmax'\nmetric = 'accuracy'\nunit = 'percent'\n"
    rows = ", ".join(f"{{ id = '{name}', value = 90.0 {more} }}" for name in ids)
    return f"{head}{shared}rows = [{rows}]\n"


GOOD = {"good": values("good", "good-1")}


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("no_such_module:FOLDER", "'rows' (no_such_module:FOLDER) does not load: ModuleNotFoundError"),
        ("os:linesep", "expected a folder"),
        ({"x": values("x", "x-1", more=", valeu = 3"), "y": "[recipe"}, "x.toml: x-1: unknown field 'valeu'"),
    ],
)
def test_a_plug_in_with_faults_is_set_aside_and_the_others_go_on(strangers, capsys, broken, said):
    found = registries.load(strangers(good=GOOD, broken=broken))
    assert list(found.sources) == ["good"]
    err = capsys.readouterr().err
    assert err.startswith("the published values of the plug-in 'broken' are set aside")
    assert said in err
    assert str(found.aside[0]) == err.rstrip("\n")
    if isinstance(broken, dict):
        assert "y.toml: not a TOML file" in err


def test_a_source_that_is_set_aside_is_not_just_unknown(strangers):
    found = registries.load(strangers(good=GOOD, broken={"x": values("x", "x-1", more=", valeu = 3")}))
    with pytest.raises(LookupError, match=r"(?s)the source 'x' cannot be read: .*'broken'.*valeu"):
        found.select(source="x")
    with pytest.raises(LookupError, match=r"there is no source 'y'\..*not looked into: plug-in 'broken'"):
        found.select(source="y")


def test_of_two_plug_ins_the_first_keeps_what_both_claim(strangers, capsys):
    second = {"b": values("second", "good-1")}
    found = registries.load(strangers(b_second=second, a_first=GOOD))
    assert list(found.sources) == ["good"]
    wanted = "b.toml: the id 'good-1' stands twice: in good.toml of plug-in 'a_first' and in b.toml"
    assert found.aside[0].faults == (wanted,)
    assert wanted in capsys.readouterr().err


def test_what_a_plug_in_claims_in_vain_others_may_claim(strangers):
    first = {"x": values("good", "good-1", more=", valeu = 3")}
    found = registries.load(strangers(a_first=first, b_second=GOOD))
    assert list(found.sources) == ["good"]
    assert [one.plugin.name for one in found.aside] == ["a_first"]


def test_what_stands_on_a_plug_in_that_is_set_aside_goes_with_it(strangers):
    user = {**GOOD, "r": "[recipe]\nsource = 'good'\ninclude = ['s']\n", "u": "[shared]\nname = 'u'\n"}
    sharing = {"s": "[shared]\nname = 's'\n"}
    assert "good" in registries.load(strangers(a_user=user, b_sharing=sharing)).recipes
    found = registries.load(strangers(c_user=user, d_sharing={**sharing, "bad": "[files"}))
    assert [one.plugin.name for one in found.aside] == ["d_sharing", "c_user"]
    assert not found.sources


def test_a_name_of_a_folder_that_two_plug_ins_have_costs_neither_its_rows(strangers):
    found = registries.load(strangers(good=GOOD, other={"o": values("other", "o-1")}))
    assert sorted(found.sources) == ["good", "other"]


def test_faults_of_this_package_are_an_error(strangers):
    with pytest.raises(RowsError, match=r"x\.toml: not a TOML file"):
        registries.load(strangers(energy_plugin_bench={"x": "[source"}, other=GOOD))


def test_this_package_keeps_what_others_claim_whatever_they_are_called(strangers):
    manager = strangers(
        a_first=GOOD, energy_plugin_a=GOOD, energy_plugin_bench={"ours": values("ours", "good-1")}
    )
    assert list(registries.load(manager).sources) == ["ours"]


def test_of_several_processes_one_says_what_is_set_aside(strangers, monkeypatch, capsys):
    monkeypatch.setenv("RANK", "1")
    assert registries.load(strangers(broken="os:linesep")).aside
    assert capsys.readouterr().err == ""
