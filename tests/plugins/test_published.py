"""Published values are found by their source and table, without the harness and without torch."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from energy_plugin import cli, hookimpl
from energy_plugin.cli import main
from energy_plugin.discovery import HOUSE
from energy_plugin.manager import PluginManager
from energy_plugin.published import by_owner, published, read
from energy_plugin.records import PublishedSpec

SOURCE = """
[source]
name = "paper"
title = "A paper"

[[tables]]
name = "Table 2"
place = "page 7,"
id_set = "digits"
metric = "auroc"
unit = "percent"
rows = [
  { id = "paper-1", place = "line 1", method = "energy", value = 97.5 },
  { id = "paper-2", place = "line 2", method = "msp", value = 90.0, caveats = ["by eye"] },
]

[[tables]]
name = "Table 2"
place = "page 7,"
id_set = "letters"
metric = "auroc"
unit = "percent"
rows = [{ id = "paper-3", method = "energy", value = 55.25 }]
"""
FOLDER: Path


class Plugin:
    @hookimpl
    def ood_published(self):
        return [PublishedSpec(name="theirs", target="test_published:FOLDER")]


@pytest.fixture
def manager(tmp_path, monkeypatch):
    (tmp_path / "paper.toml").write_text(SOURCE)
    (tmp_path / "recipe.toml").write_text('[recipe]\nsource = "paper"\n')
    (tmp_path / "notes.txt").write_text("not TOML")
    monkeypatch.setitem(sys.modules, "test_published", sys.modules[__name__])
    monkeypatch.setattr(sys.modules[__name__], "FOLDER", tmp_path, raising=False)
    return PluginManager().add(Plugin())


def test_tables_give_their_fields_to_their_rows_and_parts_of_one_table_stand_together(manager):
    (source,) = published(manager)
    (table,) = source.tables
    assert (source.name, source.size, table.name) == ("paper", 3, "Table 2")
    assert [row["id_set"] for row in table.rows] == ["digits", "digits", "letters"]
    assert [row["place"] for row in table.rows] == ["page 7, line 1", "page 7, line 2", "page 7,"]
    assert {row["table"] for row in table.rows} == {"Table 2"}


def test_an_unknown_source_is_told_with_its_neighbours(manager):
    with pytest.raises(LookupError, match="Did you mean 'paper'"):
        published(manager, "papers")


BROKEN = [
    "[source",
    "[source]\ntitle = 'no name'",
    "tables = 3\n[source]\nname='x'",
    "source = 'x'",
    "[source]\nname = 5",
    "[source]\nname = 'x'\n[tables]\nrows = []",
    "[source]\nname = 'x'\n[[tables]]\nrows = 5",
    "[source]\nname = 'x'\n[[tables]]\nrows = [5]",
    "[source]\nname = 'x'\n[[tables]]\nrows = [{ value = 1.0 }]",
    "[source]\nname = 'x'\n[[tables]]\nrows = [{ id = 'x', value = '1.0' }]",
]


@pytest.mark.parametrize("text", BROKEN)
def test_a_file_that_cannot_be_read_sets_its_plug_in_aside_by_name(manager, tmp_path, text):
    (tmp_path / "broken.toml").write_text(text)
    sources, (aside,) = read(manager)
    assert sources == ()
    assert aside.plugin.name == "Plugin"
    assert aside.sources == ("paper",)
    assert "broken.toml cannot be read" in str(aside)
    with pytest.raises(LookupError, match=r"(?s)'paper' cannot be read: .*'Plugin'.*broken\.toml"):
        published(manager, "paper")


class Nowhere:
    @hookimpl
    def ood_published(self):
        return [PublishedSpec(name="nowhere", target="stranger.missing:FOLDER")]


class Again:
    @hookimpl
    def ood_published(self):
        return [PublishedSpec(name="theirs", target="test_published:FOLDER")]


def test_a_folder_that_is_not_there_stops_nobody_else(manager):
    sources, (aside,) = read(manager.add(Nowhere()))
    assert [source.name for source in sources] == ["paper"]
    assert "'nowhere' (stranger.missing:FOLDER) does not load: ModuleNotFoundError" in str(aside)


def test_of_two_plug_ins_with_one_source_the_first_keeps_it(manager):
    sources, (aside,) = read(manager.add(Again()))
    assert [source.name for source in sources] == ["paper"]
    assert aside.plugin.name == "Plugin"
    said = "paper.toml: the source 'paper' stands in paper.toml of the plug-in 'Again' already"
    assert aside.faults == (said,)
    assert published(manager, "paper") == sources


@pytest.fixture
def broken(manager, monkeypatch):
    """The command line with a plug-in whose folder is not there, beside this package's."""
    together = PluginManager().add(importlib.import_module("energy_plugin_bench")).add(Nowhere())
    monkeypatch.setattr(cli, "default_manager", lambda: together)


def test_the_command_tells_what_is_set_aside_and_shows_the_rest(broken, capsys):
    assert main(["list", "--published"]) == 0
    out, err = capsys.readouterr()
    assert "5207 values of 46 sources" in out
    assert "energy-plugin: the published values of the plug-in 'Nowhere' are set aside, one fault:" in err
    assert main(["list", "--source", "nowhere"]) == 2
    assert "Set aside, and not looked into: plug-in 'Nowhere'." in capsys.readouterr().err


def test_the_doctor_tells_it_too(broken, capsys):
    assert main(["doctor", "--json"]) == 1
    (problem,) = json.loads(capsys.readouterr().out)["problems"]
    assert problem["plugins"][0]["name"] == "Nowhere"
    assert "are set aside" in problem["what"]


@pytest.mark.parametrize("option", [["--source", "song_energy_ood"], ["--published"]])
def test_the_command_refuses_a_kind_beside_published_values(capsys, option):
    assert main(["list", "loss", *option]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert f"{option[0]} shows published values: leave 'loss' away" in printed.err
    assert main(["list", "published", *option]) == 0


def test_the_command_shows_tables_of_all_sources_and_values_of_one(capsys):
    assert main(["list", "--published"]) == 0
    every = capsys.readouterr().out
    assert "energy_ood  10 values  Energy-based Out-of-distribution Detection" in every
    assert "  readme-cifar10: 5  (wetliu/energy_ood@77f3c09b78:README.md, section 3)" in every
    assert "33.01" not in every
    assert "5207 values of 46 sources, 311 of them figures of another source (same_as)" in every
    assert main(["list", "--published", "--source", "energy_ood"]) == 0
    one = capsys.readouterr().out
    assert (
        "energy  fpr95  33.01 percent  energy_ood-readme_cifar10-cifar10-wrn_40_2-energy-mean6-fpr95" in one
    )
    assert "song" not in one


def test_json_has_every_value_with_its_place(capsys):
    assert main(["list", "--source", "mos", "--json"]) == 0
    (source,) = json.loads(capsys.readouterr().out)["sources"]
    assert source["values"] == 30
    (table,) = source["tables"]
    assert table["name"] == "imagenet-bit"
    row = table["rows"][-1]
    assert row["value"] == 71.03
    assert row["caveats"] == ["by eye"]
    assert row["place"] == "deeplearning-wisc/large_scale_ood@af75ddd311:demo_figs/main_result.png"


def test_an_unknown_source_is_wrong_usage(capsys):
    assert main(["list", "--source", "energy_od"]) == 2
    assert "Did you mean 'energy_ood'" in capsys.readouterr().err


def test_nothing_heavy_is_imported():
    code = (
        "import sys; from energy_plugin.cli import main; main(['list', '--published']);"
        "print(sorted({'torch', 'pydantic', 'numpy', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_our_own_plug_ins_are_those_of_the_project_s_entry_points():
    declared = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    assert set(declared["project"]["entry-points"]["ood_benchmark"]) == HOUSE


def test_a_stranger_whose_name_begins_like_ours_comes_after_us():
    class Values:
        @hookimpl
        def ood_published(self):
            return [PublishedSpec(name="values", target="nowhere:FOLDER")]

    manager = PluginManager().add(Values(), "energy_plugin_another").add(Values(), "energy_plugin_bench")
    assert [plugin.name for plugin, _ in by_owner(manager)] == [
        "energy_plugin_bench",
        "energy_plugin_another",
    ]
