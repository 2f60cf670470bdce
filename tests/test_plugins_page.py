"""The plug-in of the page is built, installed and used as it stands there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[1] / "docs" / "plugins.md").read_text()
FILES = ("my_ood_plugin/__init__.py", "my_ood_plugin/detector.py", "pyproject.toml")
USE = """
import json, torch
from energy_plugin import default_manager
from energy_plugin.testing import check_detector, check_plugin
check_plugin("my_ood_plugin")
spec = default_manager().get("detector", "margin")
check_detector(spec.load(), higher_is=spec.higher_is)
print(json.dumps(spec.load()().score(torch.tensor([[1.0, 4.0, 2.5]])).tolist()))
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling", reason="builds without isolation need hatchling (extra [dev])")
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site")
    for name in FILES:
        (block,) = re.findall(
            rf"^```\w+\n# {re.escape(name)}\n(.*?)^```", PAGE, flags=re.DOTALL | re.MULTILINE
        )
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_text(block)
    options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--no-compile"]
    pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", *options]
    subprocess.run([*pip, "--target", target, source], check=True)
    return target


def python(site: Path, *arguments: str) -> str:
    paths = [str(site), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *arguments], env=environment, cwd=site, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_is_listed_beside_ours(site: Path) -> None:
    offers = json.loads(python(site, "-m", "energy_plugin.cli", "list", "detector", "--json"))["offers"]
    owners = {offer["name"]: offer["owner"]["distribution"] for offer in offers}
    assert owners["margin"] == "my-ood-plugin"
    assert owners["energy"] == "energy-plugin"


def test_it_passes_its_checks_and_scores(site: Path) -> None:
    assert json.loads(python(site, "-c", USE)) == [1.5]
