"""The experiment on margins: its pieces, and that the page shows what its results say."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from energy_plugin import margins

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def experiment():
    path = ROOT / "benchmarks" / "experiments" / "margins_mnist.py"
    spec = importlib.util.spec_from_file_location("margins_mnist", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def results():
    path = ROOT / "benchmarks" / "experiments" / "results" / "margins_mnist.json"
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture
def found():
    return margins.suggest_from_energies(torch.tensor([-18.0, -14.0]), torch.tensor([-9.0, -7.0]))


def test_the_margins_that_are_compared(experiment, found):
    pairs = {name: experiment.margin_pair(name, found) for name in experiment.MARGINS}
    narrow = margins.suggest_from_energies(torch.tensor([-16.0]), torch.tensor([-8.0]), slack=-0.25)
    assert pairs == {
        "measured": (-16.0, -8.0),
        "narrow": (narrow.margin_in, narrow.margin_out),
        "-11/-7": (-11.0, -7.0),
        "paper": (-23.0, -5.0),
    }


def test_strokes_grow_by_three_pixels_each_way(experiment):
    image = np.zeros((1, 15, 15), dtype=np.uint8)
    image[0, 7, 7] = 255
    grown = experiment.thickened(image)
    assert grown.sum() == 49 * 255
    assert grown[0, 4:11, 4:11].min() == 255


def test_shares_and_warnings_are_noted(experiment, found):
    assert experiment._checked((-16.0, -8.0), found) == {
        "id_violations": 0.5,
        "ood_violations": 0.5,
        "warned": False,
    }
    assert experiment._checked((-30.0, -5.0), found)["warned"]


def test_the_results_are_whole(experiment, results):
    runs = {(entry["outliers"], entry["margins"], entry["seed"]) for entry in results["runs"]}
    assert len(runs) == len(results["runs"])
    assert runs == {(o, m, s) for o in experiment.OUTLIERS for m in experiment.MARGINS for s in range(3)}
    assert results["before"]["error"] == pytest.approx(0.94)


def test_the_page_shows_the_results(experiment, results):
    page = (ROOT / "docs" / "margins.md").read_text(encoding="utf-8")
    assert experiment.with_table(page, results) == page, (
        "run margins_mnist.py --json ... --docs docs/margins.md"
    )
