"""Segmentation in torch-uncertainty with an energy criterion, which its routine refuses."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from torch_uncertainty.routines.segmentation import SegmentationRoutine

from energy_plugin_torch_uncertainty.criterion import EnergyPluginCriterion

TestStep = Callable[..., None]


def watched(step: TestStep) -> TestStep:
    """Return a test step that lets our criterion see the logits, and is the same for every other."""

    @wraps(step)
    def test_step(self: Any, *arguments: Any, **named: Any) -> None:
        if not isinstance(self.ood_criterion, EnergyPluginCriterion):
            return step(self, *arguments, **named)
        with self.ood_criterion.watching(self.model):
            return step(self, *arguments, **named)

    return test_step


class EnergyPluginSegmentationRoutine(SegmentationRoutine):  # type: ignore[misc]  # no type information
    """Their segmentation routine, with `EnergyPluginCriterion` as a criterion that it takes.

    Masks: class indices and 255 (void); OOD pixels are -1 in training and `num_classes` or more at test:
    `energy_plugin.labels.to_host(mask, "torch_uncertainty_test", num_classes=...)` writes them.
    """

    test_step = watched(SegmentationRoutine.test_step)
