"""Front door of the adapter to oodeel; the bridge and the host are imported when the host is named."""

from __future__ import annotations

from energy_plugin.hookspecs import hookimpl
from energy_plugin.records import HostSpec


@hookimpl
def ood_hosts() -> tuple[HostSpec, ...]:
    """Offer oodeel as a host."""
    return (
        HostSpec(
            name="oodeel",
            target="energy_plugin_oodeel.bridge:register",
            requires=("oodeel", "faiss", "torchvision"),
            extra="energy-plugin[oodeel]",
            summary="Adds oodeel.methods.EnergyPluginDetector, and EnergyPluginLoss to its training by name.",
        ),
    )
