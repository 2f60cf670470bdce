"""Front door of the adapter to torch-uncertainty; bridge and host are imported when the host is named."""

from __future__ import annotations

from energy_plugin.hookspecs import hookimpl
from energy_plugin.records import HostSpec


@hookimpl
def ood_hosts() -> tuple[HostSpec, ...]:
    """Offer torch-uncertainty as a host."""
    return (
        HostSpec(
            name="torch_uncertainty",
            target="energy_plugin_torch_uncertainty.bridge:register",
            requires=("torch_uncertainty", "lightning"),
            extra="energy-plugin[torch-uncertainty]",
            summary="Adds the OOD criterion 'energy_plugin' to its routines, segmentation too, and our loss.",
        ),
    )
