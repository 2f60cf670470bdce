"""The one line for torch-uncertainty: the criterion by name, in segmentation too, and our loss.

`get_ood_criterion` is imported by name where it is used, so it is replaced there, and hands every other
argument on. Without registering, pass instances: `ClassificationRoutine(..., loss=EnergyRegularizedLoss(),
ood_criterion=EnergyPluginCriterion())`, and `EnergyPluginSegmentationRoutine` for segmentation.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch_uncertainty.losses
import torch_uncertainty.ood_criteria
from torch_uncertainty.routines import classification, segmentation

from energy_plugin.loss import EnergyRegularizedLoss
from energy_plugin.registration import Registration, attribute
from energy_plugin_torch_uncertainty.criterion import EnergyPluginCriterion, squash, unsquash
from energy_plugin_torch_uncertainty.segmentation import EnergyPluginSegmentationRoutine, watched

__all__ = [
    "NAME",
    "EnergyPluginCriterion",
    "EnergyPluginSegmentationRoutine",
    "register",
    "squash",
    "unsquash",
]

NAME = "energy_plugin"
_PLACES = (torch_uncertainty.ood_criteria, classification, segmentation)


def register() -> Registration:
    """Add the criterion `energy_plugin` to both routines and our loss to the host's losses."""
    lookup = _lookup(torch_uncertainty.ood_criteria.get_ood_criterion)
    routine = segmentation.SegmentationRoutine
    return Registration(
        "torch_uncertainty",
        [
            *(attribute(place, "get_ood_criterion", lookup) for place in _PLACES),
            attribute(routine, "test_step", watched(routine.test_step)),
            attribute(torch_uncertainty.losses, "EnergyPluginLoss", EnergyRegularizedLoss),
        ],
    )


def _lookup(original: Callable[..., Any]) -> Callable[..., Any]:
    """Return their lookup with one more name."""

    @functools.wraps(original)
    def get_ood_criterion(ood_criterion: Any) -> Any:
        named = isinstance(ood_criterion, str) and ood_criterion == NAME
        return EnergyPluginCriterion() if named else original(ood_criterion)

    return get_ood_criterion
