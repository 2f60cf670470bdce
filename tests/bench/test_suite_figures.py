"""The page on suites shows the figures that were measured, and they say what the page says of them."""

import importlib.util
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXPERIMENTS = ROOT / "benchmarks" / "experiments"
RESULTS = json.loads((EXPERIMENTS / "results" / "suite_figures.json").read_text())


def script():
    spec = importlib.util.spec_from_file_location("suite_figures", EXPERIMENTS / "suite_figures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_shows_what_was_measured():
    assert script().table(RESULTS) in (ROOT / "docs" / "suites.md").read_text()


@pytest.mark.parametrize("images", ["fashion_mnist", "notmnist"])
def test_figures_agree_but_for_the_reasons_given(images):
    row = RESULTS[images]
    mine = row["ours"]
    for host, way, fpr in (
        ("oodeel", "bench_metrics, step=1", "fpr95"),
        ("torch_uncertainty", "ood_criterion='energy_plugin'", "fpr95"),
        ("torch_uncertainty", "ood_criterion='energy_plugin', logits + 120", "fpr95"),
        ("detectors", "pipeline, ID positive", "fpr95_id"),
    ):
        found = row[host][way]
        assert found["auroc"] == pytest.approx(mine["auroc"], abs=2e-7)
        assert found["fpr95"] == pytest.approx(mine[fpr], abs=2e-9)
    assert row["torch_uncertainty"]["ood_criterion='energy', logits + 120"]["auroc"] == 0.5
    grid = row["oodeel"]["bench_metrics, step=4"]
    assert grid["auroc"] != pytest.approx(mine["auroc"], abs=1e-7)
