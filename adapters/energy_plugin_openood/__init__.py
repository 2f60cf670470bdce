"""Front door of the adapter to OpenOOD; the bridge and the host are imported when the host is named."""

from __future__ import annotations

from energy_plugin.hookspecs import hookimpl
from energy_plugin.records import HostSpec


@hookimpl
def ood_hosts() -> tuple[HostSpec, ...]:
    """Offer OpenOOD as a host."""
    return (
        HostSpec(
            name="openood",
            target="energy_plugin_openood.bridge:register",
            tasks=("classification",),
            requires=("openood",),
            extra="git+https://github.com/Jingkang50/OpenOOD",  # not on the package index
            summary="Adds the postprocessor and the trainer 'energy_plugin' wherever OpenOOD looks names up.",
        ),
    )
