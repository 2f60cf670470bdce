"""Front door of the adapter to detectors; the bridge and the host are imported when the host is named."""

from __future__ import annotations

from energy_plugin.hookspecs import hookimpl
from energy_plugin.records import HostSpec


@hookimpl
def ood_hosts() -> tuple[HostSpec, ...]:
    """Offer detectors as a host."""
    return (
        HostSpec(
            name="detectors",
            target="energy_plugin_detectors.bridge:register",
            tasks=("classification",),
            requires=("detectors",),
            extra="energy-plugin detectors==0.1.11 timm==1.0.15",
            apart=True,  # no extra of ours: it breaks on import beside the timm of [timm]
            summary="Adds the method 'energy_plugin' and our loss; needs timm 1.0.15, not that of [timm].",
        ),
    )
