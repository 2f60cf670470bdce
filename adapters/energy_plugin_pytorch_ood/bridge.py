"""The one line for pytorch-ood: our loss and detector under new names beside its own.

Nothing of pytorch-ood is replaced, so nobody's results change. Without registering, import the classes from
here: `Benchmark.evaluate` takes any instance of a detector, and configuration files any dotted path, such as
`energy_plugin_pytorch_ood.bridge.EnergyPluginDetector`.
"""

from __future__ import annotations

import pytorch_ood.detector
import pytorch_ood.loss

from energy_plugin.registration import Registration, attribute
from energy_plugin_pytorch_ood.benchmark import SegmentationBenchmark
from energy_plugin_pytorch_ood.detector import EnergyPluginDetector
from energy_plugin_pytorch_ood.loss import EnergyPluginLoss

__all__ = ["EnergyPluginDetector", "EnergyPluginLoss", "SegmentationBenchmark", "register"]


def register() -> Registration:
    """Add our loss and detector to pytorch-ood under their names."""
    return Registration(
        "pytorch_ood",
        [
            attribute(pytorch_ood.loss, "EnergyPluginLoss", EnergyPluginLoss),
            attribute(pytorch_ood.detector, "EnergyPluginDetector", EnergyPluginDetector),
        ],
    )
