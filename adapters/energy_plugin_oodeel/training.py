"""Our loss by name in oodeel's training, which looks losses up in `torch.nn`.

Nothing is put into `torch.nn`: the module of the training gets a namespace that knows one name more.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from oodeel.utils import torch_training_tools
from torch import nn

from energy_plugin.loss import EnergyRegularizedLoss
from energy_plugin.registration import Change, Registration, attribute

NAME = "EnergyPluginLoss"


class _Namespace(ModuleType):
    """`torch.nn` and one name more."""

    def __init__(self, name: str, factory: Callable[[], nn.Module]) -> None:
        super().__init__("torch.nn")
        setattr(self, name, factory)

    def __getattr__(self, name: str) -> Any:
        return getattr(torch.nn, name)


def named(factory: Callable[[], nn.Module], name: str = NAME) -> Change:
    """Return the change that makes `train_torch_model(..., loss=name)` use what `factory` makes."""
    return attribute(torch_training_tools, "nn", _Namespace(name, factory))


def loss_named(loss: nn.Module, name: str = NAME) -> Registration:
    """Let `train_torch_model(..., loss=name)` use this loss; a context manager.

        with loss_named(EnergyRegularizedLoss(0.1, -25.0, -7.0)):
            train_torch_model(loader, network, num_classes=10, loss="EnergyPluginLoss")

    Args:
        loss: Any loss of (logits, targets); targets < 0 are OOD for ours.
        name: How it is asked for.
    """
    return Registration("oodeel", [named(lambda: loss, name)])


def default() -> Change:
    """Return the change that makes our loss with its defaults known."""
    return named(EnergyRegularizedLoss)
