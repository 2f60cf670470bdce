"""Runs every case of docs/cases.md on `Benchmark.evaluate` with both detectors."""

from __future__ import annotations

from typing import Any

import pytest
from benchmark_cases import CASES, VOID, Side

pytest.importorskip("pytorch_ood")

from pytorch_ood.benchmark import Benchmark
from pytorch_ood.detector import EnergyBased

from energy_plugin.labels import LabelConvention
from energy_plugin_pytorch_ood.bridge import EnergyPluginDetector, SegmentationBenchmark


class Unmodified(Benchmark):
    """The host's benchmark of some sets."""

    def __init__(self, sets: dict[str, Any]) -> None:
        self.sets, self.ood_names = sets, list(sets)

    def train_set(self) -> Any:
        return next(iter(self.sets.values()))

    def test_sets(self, known: bool = True, unknown: bool = True) -> list[Any]:
        return list(self.sets.values())


CODES = LabelConvention(name="cases", classes=(0,), ood=(-1,), void=(VOID,))
OURS = Side(EnergyPluginDetector, Unmodified, lambda sets: SegmentationBenchmark(sets, codes=CODES))
THEIRS = Side(EnergyBased, Unmodified, Unmodified)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_our_detector_does(case: Any) -> None:
    assert case.run(OURS) == case.ours


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_the_detector_of_pytorch_ood_does(case: Any) -> None:
    assert case.run(THEIRS) == case.theirs
