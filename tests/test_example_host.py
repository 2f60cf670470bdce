"""A host that has never heard of us finds the loss and the detector, whatever other plug-ins do.

The host, our wheel and five bad plug-ins are installed into a folder of their own, without a network.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HOST = Path(__file__).parent / "example_host"
ROOT = Path(__file__).parent.parent

PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "{distribution}"
version = "6.7"
[project.entry-points.ood_benchmark]
{module} = "{module}"
[tool.hatch.build.targets.wheel]
include = ["{module}.py"]
"""

# One process for all wheels, where pip would start two or three for each.
BUILD = """
import os, sys
from hatchling.build import build_wheel
folder, *sources = sys.argv[1:]
for source in sources:
    os.chdir(source)
    build_wheel(folder)
"""

MARK = 'import pluggy\nfrom types import SimpleNamespace as S\n@pluggy.HookimplMarker("ood_benchmark")\n'
BAD = {
    "bad-import": ("import a_module_that_is_not_there", "No module named 'a_module_that_is_not_there'"),
    "bad-hook": (f"{MARK}def ood_losses():\n    raise RuntimeError('no luck')", "RuntimeError: no luck"),
    "bad-spelling": (f"{MARK}def ood_loses():\n    return []", "unknown hook"),
    "bad-nonsense": (f"{MARK}def ood_detectors():\n    return [42]", "'int' object has no attribute 'name'"),
    "bad-claim": (
        f"{MARK}def ood_losses():\n    return [S(name='energy_regularized', target='json:dumps')]",
        "energy_regularized",
    ),
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling", reason="builds without isolation need hatchling (extra [dev])")
    pytest.importorskip("sklearn", reason="the host's digits come from scikit-learn (extra [dev])")
    made, target = tmp_path_factory.mktemp("bad"), tmp_path_factory.mktemp("site")
    for distribution, (source, _) in BAD.items():
        module = distribution.replace("-", "_")
        (made / distribution).mkdir()
        (made / distribution / f"{module}.py").write_text(source + "\n")
        project = PROJECT.format(distribution=distribution, module=module)
        (made / distribution / "pyproject.toml").write_text(project)
    sources = [ROOT, HOST, *(made / distribution for distribution in BAD)]
    subprocess.run([sys.executable, "-c", BUILD, made, *sources], check=True)
    wheels = sorted(made.glob("*.whl"))
    assert len(wheels) == len(sources)
    options = ["--quiet", "--no-deps", "--no-index", "--no-compile", "--disable-pip-version-check"]
    subprocess.run(
        [sys.executable, "-m", "pip", "install", *options, "--target", target, *wheels], check=True
    )
    return target


def python(
    site: Path, *arguments: str, check: bool = True, **variables: str
) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"} | variables
    run = [sys.executable, *arguments]
    done = subprocess.run(run, env=environment, cwd=site, capture_output=True, text=True, check=False)
    assert not check or done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def result(site: Path) -> Any:
    names = ("--loss", "energy_regularized", "--detector", "energy")
    return json.loads(
        python(site, "-m", "example_ood_suite", *names, "--distribution", "energy-plugin").stdout
    )


def test_the_host_has_never_heard_of_us() -> None:
    sources = [path for path in HOST.rglob("*") if path.suffix in (".py", ".toml")]
    assert len(sources) >= 4
    for path in sources:
        assert "energy" not in path.read_text().lower(), path


def test_the_host_trains_with_the_loss_and_detects_with_the_detector(result: Any, site: Path) -> None:
    assert result["loss"]["class"] == "EnergyRegularizedLoss"
    assert Path(result["loaded_from"]).is_relative_to(site)  # our wheel, not the checkout
    assert result["loss"]["last"] < 0.2 * result["loss"]["first"]
    assert result["accuracy"] > 0.9
    assert result["auroc"] > 0.8


def test_the_host_says_which_plugin_failed_and_why(result: Any) -> None:
    failures = result["failures"]
    assert len(failures) == len(BAD)
    for distribution, (_, why) in BAD.items():
        (told,) = [failure for failure in failures if f"{distribution} 6.7" in failure]
        assert why in told


def test_a_name_with_two_owners_is_not_guessed(site: Path) -> None:
    ask = "from example_ood_suite.plugins import Plugins; Plugins().get('ood_losses', 'energy_regularized')"
    done = python(site, "-c", ask, check=False)
    assert done.returncode != 0
    assert "2 plug-ins offer 'energy_regularized'" in done.stderr
    assert "energy_regularized is claimed by" in done.stderr
    for owner in ("energy-plugin", "bad-claim"):
        assert owner in done.stderr


def test_our_own_doctor_says_the_same(site: Path) -> None:
    done = python(site, "-m", "energy_plugin.cli", "doctor", "--json", check=False)
    assert done.returncode == 1, done.stderr
    report = json.loads(done.stdout)
    told = {problem["plugins"][-1]["distribution"]: problem for problem in report["problems"]}
    stages = {name: problem["stage"] for name, problem in told.items() if name.startswith("bad-")}
    assert {name: stage for name, stage in stages.items() if name != "bad-claim"} == {
        "bad-import": "import",
        "bad-hook": "records",
        "bad-spelling": "hooks",
        "bad-nonsense": "records",
    }
    (clash,) = [problem for problem in report["problems"] if problem["stage"] == "names"]
    assert {owner["distribution"] for owner in clash["plugins"]} == {"energy-plugin", "bad-claim"}
    assert len(report["problems"]) == len(BAD)


def test_switching_the_bad_ones_off_heals_everything(site: Path) -> None:
    done = python(site, "-m", "energy_plugin.cli", "doctor", OOD_BENCHMARK_DISABLE=",".join(BAD))
    assert "No problem found." in done.stdout
