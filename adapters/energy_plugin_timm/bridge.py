"""Our loss by name in timm's classification tasks.

timm makes losses in one function and lists their names in one tuple, and other modules import both by name.
Registering replaces them wherever a task or its user looks, and hands every other name on to timm. With soft
targets (Mixup, CutMix) the name gives `mixing.SoftTargetEnergyLoss`. Without registering, pass the loss
itself: `timm.task.ClassificationTask(model, criterion=EnergyRegularizedLoss())`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import timm.loss
import timm.task
import torch
from timm.task import classification
from torch import nn

from energy_plugin.loss import EnergyRegularizedLoss
from energy_plugin.registration import Registration, attribute
from energy_plugin_timm.mixing import SoftTargetEnergyLoss

if not hasattr(timm.loss, "create_classification_loss"):
    raise ImportError("timm makes losses by name from version 1.0.31 on")  # told with the installed version

LOSS_TYPE = "energy_regularized"
_PLACES = (
    timm.loss,
    timm.task,
    classification,
)  # only the third is where a task looks; the others are its users'


def register() -> Registration:
    """Add the loss type `energy_regularized` to timm's factory and to its list of names."""
    replacements = {
        "create_classification_loss": _factory(timm.loss.create_classification_loss),
        "LOSS_TYPES": (*timm.loss.LOSS_TYPES, LOSS_TYPE),
    }
    changes = [
        attribute(place, name, value)
        for place in _PLACES
        for name, value in replacements.items()
        if name in vars(place)
    ]
    return Registration("timm", changes)


def _factory(original: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    """Return timm's factory with one more name."""
    signature = inspect.signature(original)

    @functools.wraps(original)
    def create_classification_loss(loss_type: str | None = None, *args: Any, **options: Any) -> nn.Module:
        if loss_type != LOSS_TYPE:
            return original(loss_type, *args, **options)
        known = {name: value for name, value in options.items() if name in signature.parameters}
        theirs = signature.bind_partial(loss_type, *args, **known).arguments
        ours = {name: value for name, value in options.items() if name not in known}
        kind = SoftTargetEnergyLoss if theirs.get("soft_targets") else EnergyRegularizedLoss
        return kind(**_translated(theirs, signature), **ours)

    return create_classification_loss


def _translated(theirs: dict[str, Any], signature: inspect.Signature) -> dict[str, Any]:
    """Return the arguments of timm's factory as ours.

    timm's training script passes every argument of every loss: those of others are fine at their default.

    Raises:
        ValueError: An argument has a value that this loss has no meaning for.
    """
    if theirs.get("multi_label"):
        raise ValueError(f"Loss type {LOSS_TYPE!r} takes one class a sample (OOD < 0), not several labels.")
    soft = theirs.get("soft_targets", False)
    if soft and theirs.get("class_weight") is not None:
        raise ValueError(f"Loss type {LOSS_TYPE!r} has no class weights for soft targets.")
    # timm's Mixup smooths the targets itself, so with soft targets timm's own losses leave it alone too.
    ours: dict[str, Any] = {} if soft else {"label_smoothing": theirs.get("smoothing", 0.0)}
    if theirs.get("class_weight") is not None:
        ours["weight"] = torch.as_tensor(theirs["class_weight"], dtype=torch.float32)
    handled = {"loss_type", "multi_label", "soft_targets", "smoothing", "class_weight"}
    alien = [name for name in theirs.keys() - handled if theirs[name] != signature.parameters[name].default]
    if alien:
        raise ValueError(f"Loss type {LOSS_TYPE!r} has no use for {', '.join(sorted(alien))}.")
    return ours
