"""A pytest plugin: a host's own tests run with our classes in the place of the host's. Used by `.ci/hosts`.

`ENERGY_PLUGIN_IN_PLACE` names the host. What is replaced is told in the header; a replacement that no test
used would prove nothing, so how often each was made is told at the end.
"""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import pytest

DIFFERS = {
    "test_benchmark_evaluate_list_shares_logits_within_call",
    "test_benchmark_reuses_disk_cache_across_benchmark_instances",
    "test_benchmark_reuses_in_memory_cache_across_calls",
}
"""Tests of pytorch-ood that ours fails on purpose.

It runs networks in evaluation mode and knows their weights, so it neither shares the pass of a detector that
does neither nor takes scores from that one's cache.
"""

HOST = os.environ.get("ENERGY_PLUGIN_IN_PLACE", "")
made: Counter[str] = Counter()
told: list[str] = []


def counted(kind: Any, name: str) -> Any:
    """Return a subclass under the host's name that counts its instances."""

    class Counted(kind):  # type: ignore[misc, valid-type]  # a class that comes as an argument
        def __init__(self, *arguments: Any, **options: Any) -> None:
            made[name] += 1
            super().__init__(*arguments, **options)

    Counted.__name__ = Counted.__qualname__ = name
    return Counted


def put(module: Any, name: str, kind: Any) -> None:
    """Put our class where the host has its own."""
    setattr(module, name, counted(kind, name))
    told.append(f"{module.__name__}.{name} is our {kind.__name__}")


def pytorch_ood() -> None:
    """Detector and loss."""
    import pytorch_ood.detector
    import pytorch_ood.loss

    from energy_plugin_pytorch_ood.bridge import EnergyPluginDetector, EnergyPluginLoss

    put(pytorch_ood.detector, "EnergyBased", EnergyPluginDetector)
    put(pytorch_ood.loss, "EnergyRegularizedLoss", EnergyPluginLoss)


def timm() -> None:
    """Cross-entropy, which our loss is without its hinge."""
    import torch

    from energy_plugin import EnergyRegularizedLoss

    class CrossEntropy(EnergyRegularizedLoss):
        def __init__(self, *, label_smoothing: float = 0.0) -> None:
            super().__init__(alpha=0.0, label_smoothing=label_smoothing)

    put(torch.nn, "CrossEntropyLoss", CrossEntropy)


def oodeel() -> None:
    """Detector."""
    import oodeel.methods

    from energy_plugin_oodeel.bridge import EnergyPluginDetector

    put(oodeel.methods, "Energy", EnergyPluginDetector)


def pytest_configure() -> None:
    """Replace before the tests import anything."""
    if HOST:
        {"pytorch_ood": pytorch_ood, "timm": timm, "oodeel": oodeel}[HOST]()


def pytest_collection_modifyitems(items: list[Any]) -> None:
    """Expect what differs on purpose to differ."""
    for item in items:
        if item.name in DIFFERS:
            item.add_marker(pytest.mark.xfail(strict=True, reason="differs on purpose"))


def pytest_report_header() -> list[str]:
    """Say what was replaced."""
    return told


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say what was used."""
    terminalreporter.write_line(f"made in place: {dict(made) or 'nothing'}")
