"""docs/cases.md, made from the cases that the tests run: `python tests/cases_page.py` writes it."""

from __future__ import annotations

from pathlib import Path

import benchmark_cases
import detector_cases
import loss_cases

PAGE = Path(__file__).parents[1] / "docs" / "cases.md"

_HEAD = """\
# Case by case

What pytorch-ood 0.4.0 does and what this package does. Every line is a test that runs both on the same
input and holds what came out against this page (`tests/test_cases.py`, `tests/test_detector_cases.py`,
`tests/test_benchmark_cases.py`);
values are compared with the equations in float64. "Another value, silently" means a number that is not the
equation's, and no word about it.

The page is generated: `python tests/cases_page.py`.
"""
_BENCHMARK = """\
## In `Benchmark.evaluate`

pytorch-ood's `EnergyBased` and our `EnergyPluginDetector` in the unmodified benchmark; sets of images with
masks run in the host's benchmark and in our `SegmentationBenchmark`.
"""


def text() -> str:
    """Return the whole page."""
    loss = _table(loss_cases.CASES)
    detector = _table(detector_cases.CASES)
    benchmark = _table(benchmark_cases.CASES)
    return f"{_HEAD}\n## The loss\n\n{loss}\n## The detector\n\n{detector}\n{_BENCHMARK}\n{benchmark}"


def _table(cases: list[loss_cases.Case]) -> str:
    rows = [f"| {case.name} | {case.theirs} | {case.ours} |" for case in cases]
    return "\n".join(["| case | pytorch-ood 0.4 | energy_plugin |", "|---|---|---|", *rows]) + "\n"


if __name__ == "__main__":
    PAGE.write_text(text())
