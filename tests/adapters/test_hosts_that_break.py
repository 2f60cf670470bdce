"""Hosts that are absent, or break when they are imported, break neither the command nor one another."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HOSTS = {
    "detectors": "detectors",
    "oodeel": "oodeel",
    "openood": "openood",
    "pytorch_ood": "pytorch_ood",
    "timm": "timm",
    "torch_uncertainty": "torch_uncertainty",
}
BESIDE = ("faiss", "lightning")  # what two of them need besides
WAYS = (
    "raise ImportError('libmr is missing')",
    "raise ValueError('no source prefix')",
    "import json\njson.sctypes",
    "def (",
)

ABSENT = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name in {names!r} else found(name, package)
"""

REGISTER = """
import energy_plugin, json, warnings
warnings.simplefilter("error")
told = {{}}
for host in {hosts!r}:
    try:
        energy_plugin.register(host)
    except Exception as error:
        told[host] = f"{{type(error).__name__}}: {{error}}"
print(json.dumps(told))
"""


def python(code: str, site: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )


def command(*arguments: str) -> str:
    return f"from energy_plugin.cli import main\nraise SystemExit(main({list(arguments)!r}))"


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A folder with every host in it, each of which says that it was imported and breaks in its own way."""
    ways = itertools.cycle(WAYS)
    for name in (*HOSTS.values(), *BESIDE):
        (tmp_path / name).mkdir()
        way = next(ways)
        said = "" if way.startswith("def (") else f"print('imported {name}')\n"
        (tmp_path / name / "__init__.py").write_text(f"{said}{way}\n")
    return tmp_path


def test_broken_hosts_are_listed_without_being_imported(broken: Path) -> None:
    done = python(command("list", "host", "--json"), broken)
    assert done.returncode == 0, done.stderr
    assert "imported" not in done.stdout
    assert {record["name"] for record in json.loads(done.stdout)["offers"]} == set(HOSTS)


def test_registering_at_a_broken_host_says_which_and_why(broken: Path) -> None:
    done = python(REGISTER.format(hosts=sorted(HOSTS)), broken)
    told = json.loads(done.stdout.splitlines()[-1])
    assert set(told) == set(HOSTS)
    for host, message in told.items():
        assert message.startswith(f"HostMissingError: host '{host}' breaks on import of '{HOSTS[host]}'"), (
            message
        )


def test_absent_hosts_are_listed_with_what_to_install(tmp_path: Path) -> None:
    absent = ABSENT.format(names=(*HOSTS.values(), *BESIDE))
    done = python(absent + command("list", "host"), tmp_path)
    assert done.returncode == 0, done.stderr
    for host in HOSTS:
        assert f"{host} " in done.stdout
    assert done.stdout.count("needs ") >= len(HOSTS)
    told = python(absent + REGISTER.format(hosts=sorted(HOSTS)), tmp_path)
    for host, message in json.loads(told.stdout).items():
        assert message.startswith(f"HostMissingError: host '{host}' needs "), message
