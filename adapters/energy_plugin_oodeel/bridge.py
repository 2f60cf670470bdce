"""The one line for oodeel: our detector among its methods, our loss in its training.

Without registering, use an instance: `EnergyPluginDetector().fit(network)`, then `score(loader)`. Its metrics
want labels 0 and 1: `energy_plugin.labels.to_host(targets, "oodeel")` writes them.
"""

from __future__ import annotations

import oodeel.methods

from energy_plugin.registration import Registration, attribute
from energy_plugin_oodeel.detector import EnergyPluginDetector
from energy_plugin_oodeel.training import default, loss_named

__all__ = ["EnergyPluginDetector", "loss_named", "register"]


def register() -> Registration:
    """Add our detector to `oodeel.methods` and our loss to what its training knows by name."""
    return Registration(
        "oodeel",
        [attribute(oodeel.methods, "EnergyPluginDetector", EnergyPluginDetector), default()],
    )
