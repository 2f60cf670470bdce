"""Energy-regularised loss and energy detector for out-of-distribution detection.

Public names are imported when they are used: importing this package does not import torch.
`energy_plugin.energy` is the module of the maths, and the function is `energy_plugin.energy.energy`.
"""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from energy_plugin.detector import EnergyDetector
    from energy_plugin.energy import group_counts
    from energy_plugin.hookspecs import hookimpl
    from energy_plugin.loss import EnergyRegularizedLoss, EnergyRegularizer
    from energy_plugin.manager import PluginManager, default_manager, register
    from energy_plugin.registration import Registration

__version__ = "0.1.0"

__all__ = [
    "EnergyDetector",
    "EnergyRegularizedLoss",
    "EnergyRegularizer",
    "PluginManager",
    "Registration",
    "default_manager",
    "group_counts",
    "hookimpl",
    "register",
]

_HOMES = {
    "detector": ("EnergyDetector",),
    "energy": ("group_counts",),
    "hookspecs": ("hookimpl",),
    "loss": ("EnergyRegularizedLoss", "EnergyRegularizer"),
    "manager": ("PluginManager", "default_manager", "register"),
    "registration": ("Registration",),
}


def __getattr__(name: str) -> object:
    for module, names in _HOMES.items():
        if name in names:
            value = getattr(importlib.import_module(f"{__name__}.{module}"), name)
            globals()[name] = value
            return value
    if not name.startswith("_") and find_spec(f"{__name__}.{name}"):
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
