"""Energy-regularised loss and energy detector for out-of-distribution detection.

Public names are imported when they are used: importing this package does not import torch.
"""

from __future__ import annotations

import importlib
import sys
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from energy_plugin.detector import EnergyDetector
    from energy_plugin.energy import energy, group_counts
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
    "energy",
    "group_counts",
    "hookimpl",
    "register",
]

_HOMES = {
    "detector": ("EnergyDetector",),
    "energy": ("energy", "group_counts"),
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


class _Package(ModuleType):
    """This package, on which `energy` is the function and never the module of that name.

    Python binds a submodule to its package whenever somebody imports it: without this, `energy_plugin.energy`
    would be the one or the other, depending on what ran before. `from energy_plugin.energy import ...`
    reaches into the module.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if name == "energy" and isinstance(value, ModuleType):
            value = value.energy
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
