"""Front door of the adapter to timm; the bridge and the host are imported when the host is named."""

from __future__ import annotations

from energy_plugin.hookspecs import hookimpl
from energy_plugin.records import BackboneSpec, HostSpec


@hookimpl
def ood_hosts() -> tuple[HostSpec, ...]:
    """Offer timm as a host."""
    return (
        HostSpec(
            name="timm",
            target="energy_plugin_timm.bridge:register",
            requires=("timm",),
            extra="energy-plugin[timm]",
            tasks=("classification",),
            summary="Adds the loss type 'energy_regularized' to timm's classification tasks.",
        ),
    )


@hookimpl
def ood_backbones() -> tuple[BackboneSpec, ...]:
    """Offer every timm model, as `timm:NAME`."""
    return (
        BackboneSpec(
            name="timm",
            target="energy_plugin_timm.backbones:create",
            family=True,
            requires=("timm",),
            extra="energy-plugin[timm]",
            tasks=("classification",),
            summary="Every timm model, as timm:NAME, as timm:resnet50.a1_in1k; also hf-hub: and folders.",
        ),
    )
