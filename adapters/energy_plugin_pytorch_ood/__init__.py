"""Front door of the adapter to pytorch-ood; the bridge and the host are imported when the host is named."""

from __future__ import annotations

from energy_plugin.hookspecs import hookimpl
from energy_plugin.records import BackboneSpec, DatasetSpec, HostSpec
from energy_plugin_pytorch_ood.catalogue import CLASSIFICATION, SEGMENTATION

_EXTRA = "energy-plugin[pytorch-ood]"


@hookimpl
def ood_hosts() -> tuple[HostSpec, ...]:
    """Offer pytorch-ood as a host."""
    return (
        HostSpec(
            name="pytorch_ood",
            target="energy_plugin_pytorch_ood.bridge:register",
            requires=("pytorch_ood",),
            extra=_EXTRA,
            summary="Adds pytorch_ood.loss.EnergyPluginLoss and pytorch_ood.detector.EnergyPluginDetector.",
        ),
    )


@hookimpl
def ood_backbones() -> tuple[BackboneSpec, ...]:
    """Offer the networks of pytorch-ood, and those of torchvision, which it brings."""
    return (
        BackboneSpec(
            name="pytorch_ood",
            family=True,
            target="energy_plugin_pytorch_ood.backbones:create",
            tasks=("classification",),
            requires=("pytorch_ood",),
            extra=_EXTRA,
            summary="Networks of pytorch-ood's registry, and its classes.",
        ),
        BackboneSpec(
            name="torchvision",
            family=True,
            target="energy_plugin_pytorch_ood.backbones:torchvision",
            tasks=("classification",),
            requires=("torchvision", "pytorch_ood"),
            extra=_EXTRA,
            summary="Classifiers of torchvision.",
        ),
    )


@hookimpl
def ood_datasets() -> tuple[DatasetSpec, ...]:
    """Offer every data set of pytorch-ood, masks and labels in our convention."""
    kinds = {"classification": CLASSIFICATION, "segmentation": SEGMENTATION}
    return tuple(
        DatasetSpec(
            name=f"pytorch_ood/{name}",
            target=f"energy_plugin_pytorch_ood.datasets:{name}",
            tasks=(task,),
            ood="negative",
            void=(-100,) if task == "segmentation" else (),
            requires=("pytorch_ood",),
            extra=_EXTRA,
            summary=f"pytorch-ood's {name}.",
        )
        for task, names in kinds.items()
        for name in names
    )
