"""The command line: what it prints, where, and with which exit code."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from energy_plugin.cli import main

Install = Callable[..., str]

COMMANDS = """
import pluggy
from types import SimpleNamespace as S

@pluggy.HookimplMarker("ood_benchmark")
def ood_commands():
    return [
        S(name="greet", target="with_commands:configure", summary="Say hello to 100% of people."),
        S(name="list", target="with_commands:configure"),
        S(name="needy", target="json:dumps", requires=("no_such_module",), extra="suite[bench] two==2"),
        S(name="broken", target="with_commands:gone"),
    ]

def configure(parser):
    parser.add_argument("--name", default="world")
    def run(options):
        print("hello", options.name)
        return 7
    return run
"""


@pytest.fixture
def commands(install: Install) -> None:
    install("with-commands", COMMANDS)


def document(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    assert main([*arguments, "--json"]) == code
    printed = capsys.readouterr()
    assert printed.err == ""
    return json.loads(printed.out)


def test_list_shows_what_was_found_with_its_owner(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    printed = capsys.readouterr().out
    for part in (
        "loss\n  energy_regularized  energy-plugin",
        "detector\n  energy",
        "host\n  detectors",
        "  pytorch_ood ",
        "timm",
    ):
        assert part in printed
    assert "\x1b" not in printed


def test_list_of_one_kind(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "host"]) == 0
    assert "energy_regularized  energy-plugin" not in capsys.readouterr().out
    with pytest.raises(SystemExit) as caught:
        main(["list", "hosts"])
    assert caught.value.code == 2


def test_list_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, "list")
    ours = {"name": "energy_plugin", "distribution": "energy-plugin", "version": version("energy-plugin")}
    assert ours in found["plugins"]
    (loss,) = [offer for offer in found["offers"] if offer["kind"] == "loss"]
    assert loss["name"] == "energy_regularized"
    assert loss["owner"] == ours
    assert loss["target"] == "energy_plugin.loss:EnergyRegularizedLoss"
    assert loss["tasks"] == ["classification", "segmentation"]
    assert found["problems"] == []
    assert {offer["kind"] for offer in document(capsys, "list", "host")["offers"]} == {"host"}


def test_doctor_is_content_when_all_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    printed = capsys.readouterr().out
    assert f"torch          {version('torch')}" in printed
    assert "energy_plugin_timm" in printed
    assert "No problem found." in printed
    assert document(capsys, "doctor")["versions"]["pluggy"] == version("pluggy")


def test_doctor_tells_what_is_broken_and_what_to_do(
    install: Install, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    install("breaks-on-import", "import no_such_module", version="0.3")
    install("claims-ours", loss="energy_regularized")
    monkeypatch.setenv("OOD_BENCHMARK_DISABLE", "energy_plugin_timm")
    assert main(["doctor"]) == 1
    printed = capsys.readouterr().out
    for part in (
        "plug-in 'breaks_on_import' of breaks-on-import 0.3",
        "ModuleNotFoundError: No module named 'no_such_module'",
        "OOD_BENCHMARK_DISABLE=breaks_on_import",
        "The loss 'energy_regularized' has 2 owners",
        "switched off\n  energy_plugin_timm",
    ):
        assert part in printed
    found = document(capsys, "doctor", code=1)
    assert [(p["stage"], p["error"]) for p in found["problems"]] == [
        ("import", "ModuleNotFoundError"),
        ("names", None),
    ]
    assert [p["name"] for p in found["switched_off"]] == ["energy_plugin_timm"]

    assert main(["list"]) == 0  # a list is no diagnosis
    printed = capsys.readouterr().out
    assert printed.count("CLASH: two plug-ins own this name") == 2
    assert "2 problem(s): see `energy-plugin doctor`." in printed


def test_doctor_tells_what_is_missing_and_how_to_install_it(
    commands: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor"]) == 0
    lines = "  command needy\n    needs no_such_module: python -m pip install 'suite[bench]' 'two==2'\n"
    assert lines in capsys.readouterr().out
    (needy,) = [offer for offer in document(capsys, "list")["offers"] if offer["name"] == "needy"]
    assert (needy["missing"], needy["extra"]) == (["no_such_module"], "suite[bench] two==2")


def test_doctor_loads_every_target_when_asked(
    commands: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Ours alone, since the hosts and the harness take seconds to load.
    heavy = "energy_plugin_timm,energy_plugin_pytorch_ood,energy_plugin_bench"
    monkeypatch.setenv("OOD_BENCHMARK_DISABLE", heavy)
    assert main(["doctor", "--load"]) == 1
    printed = capsys.readouterr().out
    assert "The command 'broken' of the plug-in 'with_commands'" in printed
    assert "has no 'gone'" in printed
    assert printed.count("problem\n") == 1  # what is merely not installed is no problem


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"]) == 0
    assert capsys.readouterr().out == f"{version('energy-plugin')}\n"
    assert document(capsys, "version")["torch"] == version("torch")
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"energy-plugin {version('energy-plugin')}\n"


def test_a_plugin_command_runs_with_its_own_arguments(
    commands: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["greet"]) == 7
    assert main(["greet", "--name", "you"]) == 7
    assert capsys.readouterr().out == "hello world\nhello you\n"
    with pytest.raises(SystemExit) as caught:
        main(["greet", "--help"])
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    assert "usage: energy-plugin greet" in printed
    assert "--name" in printed


def test_help_lists_the_commands_of_plugins(commands: None, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "Say hello to 100% of people." in capsys.readouterr().out
    assert main([]) == 0
    assert "doctor" in capsys.readouterr().out


def test_a_command_whose_extra_is_missing_says_so(commands: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["needy", "--anything"]) == 3
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "energy-plugin: command 'needy' needs 'no_such_module'" in printed.err
    assert "pip install 'suite[bench]'" in printed.err


def test_a_broken_command_names_its_owner(commands: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["broken"]) == 3
    printed = capsys.readouterr().err
    assert (
        "the command 'broken' of the plug-in 'with_commands' of with-commands 1.0 cannot be imported"
        in printed
    )
    assert "no 'gone'" in printed


def test_a_built_in_command_cannot_be_taken_over(commands: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    printed = capsys.readouterr().out
    assert "CLASH: hidden by the built-in command" in printed
    assert "hello world" not in printed


def test_two_owners_of_a_command(
    commands: None, install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install("rival", COMMANDS)
    assert main(["greet"]) == 2
    assert "The command 'greet' has 2 owners" in capsys.readouterr().err


def test_an_unknown_command_gets_its_near_miss(commands: None, capsys: pytest.CaptureFixture[str]) -> None:
    for typed, meant in (("docter", "doctor"), ("gret", "greet")):
        with pytest.raises(SystemExit) as caught:
            main([typed])
        assert caught.value.code == 2
        assert f"no command {typed!r}. Did you mean {meant!r}" in capsys.readouterr().err


def test_a_broken_pipe_ends_quietly() -> None:
    code = (
        "import os, sys; read, write = os.pipe(); os.close(read); os.dup2(write, 1)\n"
        "from energy_plugin.cli import main; sys.exit(main(['version']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (141, "")


def test_it_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "energy_plugin", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"energy-plugin {version('energy-plugin')}\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_behind_stdout_is_told() -> None:
    command = [sys.executable, "-m", "energy_plugin", "list"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "error: [Errno 28] No space left on device\n"


def test_a_closed_stdout_is_no_error() -> None:
    script = f"exec {sys.executable} -m energy_plugin list >&-"
    done = subprocess.run(["/bin/sh", "-c", script], stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_ctrl_c_ends_a_command_without_a_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("energy_plugin.cli.default_manager", interrupted)
    assert main(["list"]) == 130
    assert capsys.readouterr().err == "interrupted\n"
