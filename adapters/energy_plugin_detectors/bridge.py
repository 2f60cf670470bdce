"""The one line for detectors (edadaltocg/detectors): our score and our loss by name.

There a higher score means in-distribution, and a method is a plain function or a class (nothing else is
called right). Their energy is taken over the last axis, which of a map of logits is its width.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from detectors import trainer
from detectors.methods import detectors_registry
from torch import Tensor, nn

from energy_plugin.detector import EnergyDetector
from energy_plugin.loss import EnergyRegularizedLoss
from energy_plugin.registration import Registration, attribute, item

__all__ = ["NAME", "energy_plugin", "register"]

NAME = "energy_plugin"


@torch.no_grad()
def _confidence(inputs: Tensor, model: nn.Module, temperature: float) -> Tensor:
    model.eval()
    scores: Tensor = EnergyDetector(model, temperature)(inputs)
    return -scores


def energy_plugin(x: Tensor, model: nn.Module, temperature: float = 1.0, **_ignored: Any) -> Tensor:
    """Return T logsumexp(logits / T) of inputs, in evaluation mode as their methods do; higher = more ID.

    Args:
        x: Inputs of the network.
        model: The network.
        temperature: T > 0.
        **_ignored: What their pipelines hand to every method.
    """
    return _confidence(x, model, temperature)


def register() -> Registration:
    """Add the method to their registry, and `EnergyPluginLoss` to the criteria that their trainer names."""
    criteria = _criteria(trainer.get_criterion_cls)
    return Registration(
        "detectors",
        [
            item(detectors_registry, NAME, energy_plugin),
            attribute(trainer, "get_criterion_cls", criteria),
        ],
    )


def _criteria(original: Callable[[str], Any]) -> Callable[[str], Any]:
    """Return their lookup of criteria, names of `torch.nn`, with one more name."""

    @functools.wraps(original)
    def get_criterion_cls(criterion_name: str) -> Any:
        return EnergyRegularizedLoss if criterion_name == "EnergyPluginLoss" else original(criterion_name)

    return get_criterion_cls
