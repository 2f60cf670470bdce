"""Two plug-ins that know nothing of each other, one host: one has a detector, one has rows and a recipe."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pydantic", reason="the extra [bench] is not installed")

DETECTOR = """
from types import SimpleNamespace
import pluggy

@pluggy.HookimplMarker("ood_benchmark")
def ood_detectors():
    return [SimpleNamespace(name="margin", target="margin_detector:Margin", higher_is="id")]

class Margin:
    def score(self, logits):
        largest = logits.topk(2, dim=1).values
        return largest[:, 0] - largest[:, 1]
"""

ROWS = """
from pathlib import Path
from types import SimpleNamespace
import pluggy

hookimpl = pluggy.HookimplMarker("ood_benchmark")
FOLDER = Path(__file__).parent / "figures"

@hookimpl
def ood_published():
    return [SimpleNamespace(name="shades", target="shade_rows:FOLDER")]

@hookimpl
def ood_backbones():
    return [SimpleNamespace(name="brightness", target="shade_rows.world:Brightness")]

@hookimpl
def ood_datasets():
    return [SimpleNamespace(name="shades", target="shade_rows.world:shades")]
"""

WORLD = """
import numpy as np
import torch

class Brightness(torch.nn.Module):
    def forward(self, x):
        light = x.mean(dim=(1, 2, 3))
        return torch.stack([light, 1 - light], dim=1)

def shades(low, high, count=100):
    return [(np.full((4, 4), shade, np.float32), 0) for shade in np.linspace(low, high, count)]
"""

SOURCE = """
[source]
name = "shades"
title = "Shades of grey"
cite = "made up"

[[tables]]
place = "table 1"
network = "bright"
id_set = "ends"
ood_set = "middle"
unit = "percent"
convention = "pytorch_ood"
rows = [
  { id = "shades_energy", place = "1", method = "energy", metric = "auroc", value = 100.0 },
  { id = "shades_wrong", place = "2", method = "energy", metric = "fpr95", value = 40.0 },
]
"""

RECIPE = """
[recipe]
source = "shades"

[networks.bright]
backbone = "brightness"

[inputs.ends]
dataset = "shades"
options = { low = 0.9, high = 1.0 }

[inputs.middle]
dataset = "shades"
options = { low = 0.4, high = 0.6 }

[[protocols]]
reason = "rounding"
"""

OURS = "oe_mnist_baseline_icons50"  # rows that carried logits answer
BOTH = f"shades or {OURS}"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both distributions as an installer would leave them."""
    folder = tmp_path_factory.mktemp("site")
    files = {
        "margin_detector.py": DETECTOR,
        "shade_rows/__init__.py": ROWS,
        "shade_rows/world.py": WORLD,
        "shade_rows/figures/shades.toml": SOURCE,
        "shade_rows/figures/shades_recipe.toml": RECIPE,
    }
    for distribution, module in (("margin-detector", "margin_detector"), ("shade-rows", "shade_rows")):
        info = f"{module}-2.0.dist-info"
        files[f"{info}/METADATA"] = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 2.0\n"
        files[f"{info}/entry_points.txt"] = f"[ood_benchmark]\n{module} = {module}\n"
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def command(site: Path, *arguments: str, code: int = 0) -> Any:
    paths = [str(site), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {name: value for name, value in os.environ.items() if name != "ENERGY_PLUGIN_DATA"}
    environment |= {"PYTHONPATH": os.pathsep.join(paths), "ENERGY_PLUGIN_HOME": str(site / "home")}
    run = [sys.executable, "-m", "energy_plugin.cli", *arguments]
    done = subprocess.run(run, env=environment, cwd=site, capture_output=True, text=True, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
    return json.loads(done.stdout) if "--json" in arguments else done.stdout


def test_both_are_listed_beside_ours(site: Path) -> None:
    offers = command(site, "list", "--json")["offers"]
    owners = {(offer["kind"], offer["name"]): offer["owner"]["distribution"] for offer in offers}
    assert owners["detector", "margin"] == "margin-detector"
    assert owners["published", "shades"] == "shade-rows"
    assert owners["backbone", "brightness"] == "shade-rows"
    assert owners["detector", "energy"] == "energy-plugin"


def test_the_rows_are_reproduced_beside_ours(site: Path) -> None:
    report = command(site, "reproduce", "-k", BOTH, "--json", code=1)  # one of theirs differs
    figures = {figure["id"]: figure for figure in report["figures"]}
    assert figures["shades_energy"]["status"] == "reproduced"
    assert figures["shades_wrong"]["status"] == "differs"
    assert figures["shades_wrong"]["measured"] == 0.0
    assert figures[f"{OURS}_auroc"]["status"] == "reproduced"
    assert {figure["source"] for figure in figures.values()} == {"shades", "outlier_exposure_mnist"}


def test_the_report_has_the_rows_of_one_and_the_detector_of_the_other(site: Path) -> None:
    command(site, "report", "-k", BOTH, "--output", "both.json", code=1)
    figures = json.loads((site / "both.json").read_text(encoding="utf-8"))["figures"]
    compared = {(figure["source"], figure["method"]): figure for figure in figures}
    for source in ("shades", "outlier_exposure_mnist"):
        for method in ("margin", "energy", "msp"):
            assert (source, method) in compared
        assert "margin-detector" in json.dumps(compared[source, "margin"])
    command(site, "report", "--from", "both.json", "--output", "both.html", code=1)
    text = (site / "both.html").read_text(encoding="utf-8")
    for part in ("Shades of grey", "margin", "margin-detector"):
        assert part in text
