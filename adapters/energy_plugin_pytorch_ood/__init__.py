"""Front door of the adapter to pytorch-ood; the bridge and the host are imported when the host is named."""

from __future__ import annotations

from energy_plugin.hookspecs import hookimpl
from energy_plugin.records import HostSpec


@hookimpl
def ood_hosts() -> tuple[HostSpec, ...]:
    """Offer pytorch-ood as a host."""
    return (
        HostSpec(
            name="pytorch_ood",
            target="energy_plugin_pytorch_ood.bridge:register",
            requires=("pytorch_ood",),
            extra="energy-plugin[pytorch-ood]",
            summary="Adds pytorch_ood.loss.EnergyPluginLoss and pytorch_ood.detector.EnergyPluginDetector.",
        ),
    )
