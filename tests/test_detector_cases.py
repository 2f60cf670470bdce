"""Runs every detector case of docs/cases.md on both implementations."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from detector_cases import CASES

from energy_plugin.detector import EnergyDetector


def theirs(model: Any, *, temperature: Any = 1.0) -> Any:
    """pytorch-ood's EnergyBased under the names of ours."""
    detectors = pytest.importorskip("pytorch_ood.detector")
    host = detectors.EnergyBased(model, t=temperature)
    return SimpleNamespace(predict=host.predict, score=host.predict_logits, fit=host.fit, itself=host)


def ours(model: Any, *, temperature: Any = 1.0) -> Any:
    detector = EnergyDetector(model, temperature)
    detector.__dict__["itself"] = detector
    return detector


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_our_detector_does(case: Any) -> None:
    assert case.run(ours) == case.ours


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_the_detector_of_pytorch_ood_does(case: Any) -> None:
    assert case.run(theirs) == case.theirs
